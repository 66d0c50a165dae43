"""What `load_state_dict` of modules and optimizers got and what it returned, while a context is open.

Under `strict=False`, a key that no module has is dropped without a word: here it is noted. The calls do what they
always do; notes are plain data that JSON can hold.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch

from dora_repro.contracts import Json

MAX_KEYS = 1000  # noted of one call; `missing_count` and `unexpected_count` are the numbers of all
MAX_TEXT = 500  # characters of an exception's text

Note: TypeAlias = dict[str, Json]


class WatchedLoading(AbstractContextManager["WatchedLoading"]):
    """Watches while the context is open, on every thread.

    Attributes:
        notes: one for each call, in the order in which they ended. Of a module: `what` ("module"), `class`, `strict`,
            `given` (number of keys), `missing`, `unexpected` (keys, cut to MAX_KEYS), `missing_count`,
            `unexpected_count`. Of an optimizer: `what` ("optimizer"), `class`, `given` (number of parameters that had
            state), `parameters` (number of those that it steps), `stateless` (SGD without momentum has no state),
            `groups` (numbers of those in the state dict, and of its own), `number` (optimizers are numbered, so that
            two calls of one are told from calls of two). Of both: `error`, what the call raised; empty where it
            returned.
    """

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._numbers: weakref.WeakKeyDictionary[torch.optim.Optimizer, int] = weakref.WeakKeyDictionary()
        self._real: dict[Any, Callable[..., Any]] = {}

    def __enter__(self) -> "WatchedLoading":
        kinds: tuple[tuple[Any, Callable[..., Note]], ...] = (
            (torch.nn.Module, _of_module),
            (torch.optim.Optimizer, self._of_optimizer),
        )
        for kind, describe in kinds:
            self._real[kind] = kind.__dict__["load_state_dict"]
            kind.load_state_dict = self._around(self._real[kind], describe)
        return self

    def __exit__(self, *_: object) -> None:
        for kind, real in self._real.items():
            kind.load_state_dict = real

    def _around(self, real: Callable[..., Any], describe: Callable[..., Note]) -> Callable[..., Any]:
        @functools.wraps(real)
        def load_state_dict(*args: Any, **kwargs: Any) -> Any:
            note = _quietly(lambda: describe(*args, **kwargs))
            try:
                returned = real(*args, **kwargs)
            except BaseException as error:
                self._note(note, {"error": f"{type(error).__name__}: {error}"[:MAX_TEXT]})
                raise
            self._note(note, _quietly(lambda: _returned(returned)))
            return returned

        return load_state_dict

    def _of_optimizer(self, optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> Note:
        number = self._numbers.setdefault(optimizer, len(self._numbers))
        return _of_optimizer(optimizer, state_dict) | {"number": number}

    def _note(self, note: Note, more: Note) -> None:
        if note:
            self.notes.append(note | {"error": ""} | more)


def _quietly(describe: Callable[[], Note]) -> Note:
    """A description; empty where it raises, for describing a load must not stop it."""
    try:
        return describe()
    except Exception:
        return {}


def _of_module(
    module: torch.nn.Module, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
) -> Note:
    note: Note = {"what": "module", "class": type(module).__name__, "strict": bool(strict), "given": len(state_dict)}
    return note | _keys((), ())


def _of_optimizer(optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> Note:
    groups = optimizer.param_groups
    return {
        "what": "optimizer",
        "class": type(optimizer).__name__,
        "given": len(state_dict["state"]),
        "parameters": sum(len(group["params"]) for group in groups),
        "stateless": isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in groups),
        "groups": [len(state_dict["param_groups"]), len(groups)],
    }


def _returned(returned: Any) -> Note:
    """The keys that a module's call returned; an optimizer's returns nothing."""
    if not (hasattr(returned, "missing_keys") and hasattr(returned, "unexpected_keys")):
        return {}
    return _keys(returned.missing_keys, returned.unexpected_keys)


def _keys(missing: Iterable[str], unexpected: Iterable[str]) -> Note:
    note: Note = {}
    for name, keys in (("missing", list(map(str, missing))), ("unexpected", list(map(str, unexpected)))):
        note[name], note[f"{name}_count"] = [*keys[:MAX_KEYS]], len(keys)
    return note
