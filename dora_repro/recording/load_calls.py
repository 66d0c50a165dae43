"""What `load_state_dict` of modules and optimizers got and what it returned, while a context is open.

A key that no module has is dropped without a word under `strict=False`: here it is noted. The calls do what they always
did; notes are plain data that JSON can hold.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

import torch

MAX_KEYS = 1000  # noted of one call; `missing_count` and `unexpected_count` tell how many there were
MAX_TEXT = 500  # characters of an exception's text


class WatchedLoading(AbstractContextManager):
    """Watches while the context is open, on every thread.

    Attributes:
        notes: one for each call, in the order in which they came to an end. Of a module: `what` ("module"), `class`,
            `strict`, `given` (keys it got), `missing`, `unexpected` (keys, cut to MAX_KEYS), `missing_count`,
            `unexpected_count`. Of an optimizer: `what` ("optimizer"), `class`, `given` (parameters that had state),
            `parameters` (that it steps), `stateless` (SGD without momentum has none), `groups` (of the state dict, and
            its own). `error`: what the call raised; empty where it returned.
    """

    def __init__(self) -> None:
        self.notes: list[dict] = []
        self._real: dict[type, Callable] = {}

    def __enter__(self) -> "WatchedLoading":
        for kind, tell in ((torch.nn.Module, _of_module), (torch.optim.Optimizer, _of_optimizer)):
            self._real[kind] = kind.__dict__["load_state_dict"]
            kind.load_state_dict = self._around(self._real[kind], tell)
        return self

    def __exit__(self, *_: object) -> None:
        for kind, real in self._real.items():
            kind.load_state_dict = real

    def _around(self, real: Callable, tell: Callable) -> Callable:
        @functools.wraps(real)
        def load_state_dict(*args, **kwargs):
            note = _quietly(lambda: tell(*args, **kwargs))
            try:
                returned = real(*args, **kwargs)
            except BaseException as error:
                self._note(note, {"error": f"{type(error).__name__}: {error}"[:MAX_TEXT]})
                raise
            self._note(note, _quietly(lambda: _returned(returned)))
            return returned

        return load_state_dict

    def _note(self, note: dict, more: dict) -> None:
        if note:
            self.notes.append(note | {"error": ""} | more)


def _quietly(look: Callable[[], dict]) -> dict:
    """What a look gives; nothing where it raises: it is not for a look to stop a load."""
    try:
        return look()
    except Exception:
        return {}


def _of_module(module: torch.nn.Module, state_dict: Mapping, strict: bool = True, assign: bool = False) -> dict:
    return {"what": "module", "class": type(module).__name__, "strict": bool(strict), "given": len(state_dict)} | _keys(
        (), ()
    )


def _of_optimizer(optimizer: torch.optim.Optimizer, state_dict: Mapping) -> dict:
    groups = optimizer.param_groups
    return {
        "what": "optimizer",
        "class": type(optimizer).__name__,
        "given": len(state_dict["state"]),
        "parameters": sum(len(group["params"]) for group in groups),
        "stateless": isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in groups),
        "groups": [len(state_dict["param_groups"]), len(groups)],
    }


def _returned(returned: object) -> dict:
    """What a module's call told; an optimizer's tells nothing."""
    if not (hasattr(returned, "missing_keys") and hasattr(returned, "unexpected_keys")):
        return {}
    return _keys(returned.missing_keys, returned.unexpected_keys)


def _keys(missing: Iterable[str], unexpected: Iterable[str]) -> dict:
    told = {"missing": [str(key) for key in missing], "unexpected": [str(key) for key in unexpected]}
    counts = {f"{name}_count": len(keys) for name, keys in told.items()}
    return {name: keys[:MAX_KEYS] for name, keys in told.items()} | counts
