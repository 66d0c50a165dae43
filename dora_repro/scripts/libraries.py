"""What training libraries hold, named in their own words: `trainer/state/global_step`, `callback/EarlyStopping`.

The frames around the first training forward pass tell which library trains: its own object is the `self` of one of its
functions. By then everything is restored. So an object that the script keeps in no variable, as of
`Trainer(…).train()`, has a name, too. No library is imported here, and nothing of theirs is changed but for one method
of Accelerate's, whose object no frame has.

Read in transformers 5.24 (`trainer.py`, `trainer_callback.py`), Lightning 2.6 (`trainer/trainer.py`), Ignite 0.5
(`engine/engine.py`), Accelerate 1.15 (`accelerator.py`), peft 0.21 (`peft_model.py`), torchdata 0.11
(`stateful_dataloader.py`).
"""

import functools
import re
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from dora_repro.sides.libraries import libraries
from dora_repro.state.attributes import attributes_of, is_users_module, module_of
from dora_repro.state.parts import Part, Parts

CALLBACK, HANDLER = "callback", "handler"  # roots of what users plug into a library
ROOTS = ("trainer", "lightning", "ignite", "accelerate", "peft", CALLBACK, HANDLER)  # none is a function's name

_prepared: list[weakref.ref[Any]] = []  # accelerators of this process, in the order of their first `prepare()`


def parts_around(frame: types.FrameType | None, module: torch.nn.Module | None = None) -> dict[str, Parts]:
    """Name what the training libraries in use hold.

    Args:
        frame: from which the libraries' functions are looked for, outwards.
        module: whose forward pass begins; None where none does.

    Returns:
        root -> its parts; empty where no library is in use.
    """
    found: dict[str, Parts] = {}
    for library, held in _libraries_around(frame):
        for root, parts in _NAMED[library](held):
            if parts and root not in found:
                found[root] = Parts(parts)
    if not {"trainer", "lightning"} & found.keys() and (accelerator := _accelerator()) is not None:
        found["accelerate"] = parts_of_accelerator(accelerator)
    if module is not None and (adapter := _adapter_in(module)) is not None:
        found["peft"] = Parts(_of_adapter(adapter))
    return found


def libraries_in(found: Iterable[str]) -> dict[str, str]:
    """The libraries by what `parts_around` named.

    Returns:
        library -> the path of what shows it, as of a variable of the script's.
    """
    words = {"trainer": "trainer", "lightning": "trainer", "ignite": "trainer", "accelerate": "accelerator"}
    return {library: f"script/{words[library]}" for library in found if library in words}


def watch_accelerate() -> None:
    """Remember the accelerators whose `prepare()` is called from now on; called when accelerate has been imported."""
    from accelerate.accelerator import Accelerator

    real = Accelerator.prepare

    @functools.wraps(real)
    def prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
        if all(known() is not self for known in _prepared):
            _prepared.append(weakref.ref(self))
        return real(self, *args, **kwargs)

    Accelerator.prepare = prepare


def _accelerator() -> Any:
    alive = (known() for known in _prepared)
    return next((one for one in alive if one is not None), None)


def _libraries_around(frame: types.FrameType | None) -> Iterator[tuple[str, Any]]:
    """(library, the object of it that trains) of the functions that lead to a frame, the innermost first."""
    seen = set()
    while frame is not None:
        held = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames[:1] else None
        for library in () if held is None else libraries({"self": held}):
            if library in _NAMED and library not in seen:
                seen.add(library)
                yield library, held
        frame = frame.f_back


# --- a library each --------------------------------------------------------------------------------------------------


def _of_trainer(trainer: Any) -> Iterator[tuple[str, dict[str, Part]]]:
    names = ("state", "control", "optimizer", "lr_scheduler", "model")
    yield "trainer", _attributes(trainer, "trainer", names)
    handler = _got(trainer, "callback_handler")
    yield CALLBACK, _plugged(_got(handler, "callbacks") or (), "trainer.callback_handler.callbacks")


def _of_lightning(trainer: Any) -> Iterator[tuple[str, dict[str, Part]]]:
    names = ("optimizers", "lr_scheduler_configs", "fit_loop", "scaler", "train_dataloader", "lightning_module")
    # The rest of it last: else it is named as an attribute of the module, which refers to its trainer.
    yield "lightning", {**_attributes(trainer, "trainer", names), "trainer": Part(trainer, "trainer")}
    yield CALLBACK, _plugged(_got(trainer, "callbacks") or (), "trainer.callbacks")


def _of_ignite(engine: Any) -> Iterator[tuple[str, dict[str, Part]]]:
    yield "ignite", _attributes(engine, "trainer", ("state",))
    handlers: Any = (attributes_of(engine) or {}).get("_event_handlers") or {}
    plugged = [_owner(handler) for each in handlers.values() for handler, *_ in each]
    yield HANDLER, _plugged([one for one in plugged if one is not engine], "")


def parts_of_accelerator(accelerator: Any) -> Parts:
    """Name what an `accelerate.Accelerator` holds."""
    held: Any = attributes_of(accelerator) or {}
    words = {"_optimizers": "optimizers", "_schedulers": "schedulers", "_custom_objects": "custom_objects"}
    parts = {word: Part(held[name], f"accelerator.{name}") for name, word in words.items() if held.get(name)}
    more = _attributes(accelerator, "accelerator", ("step", "scaler", "gradient_state"))
    models = {"models": Part(held["_models"], "accelerator._models")} if held.get("_models") else {}
    return Parts({**parts, **more, **models})


def _of_adapter(model: Any) -> dict[str, Part]:
    return _attributes(model, "model", ("peft_config", "active_adapter"))


_NAMED: dict[str, Callable[[Any], Iterator[tuple[str, dict[str, Part]]]]] = {
    "trainer": _of_trainer,
    "lightning": _of_lightning,
    "ignite": _of_ignite,
}


def _adapter_in(module: torch.nn.Module) -> Any:
    """The model of peft's that a module is, or that is in it."""
    return next((one for one in module.modules() if "peft" in libraries({"model": one})), None)


def _attributes(holder: Any, code: str, names: Iterable[str]) -> dict[str, Part]:
    """Attributes of a library's object as parts, and what a class of the user's that is derived from it has besides."""
    own = attributes_of(holder) or {}
    parts = {}
    for name in (*names, *_added(holder)):
        if name not in parts and (value := _got(holder, name)) is not None:
            parts[name] = Part(value, f"{code}.{name}", *((holder, name) if name in own else ()))
    return parts


def _added(holder: Any) -> list[str]:
    """The attributes of an object that code of the user's own classes names."""
    codes = (
        item.__code__
        for kind in type(holder).__mro__
        if is_users_module(module_of(kind))
        for item in vars(kind).values()
        if isinstance(item, types.FunctionType)
    )
    named = {name for code in codes for name in code.co_names}
    return sorted(named & {str(name) for name in attributes_of(holder) or {}})


def _plugged(objects: Iterable[Any], code: str) -> dict[str, Part]:
    """Objects by the names of their classes; several of one class are numbered."""
    parts: dict[str, Part] = {}
    for index, one in enumerate(objects):
        kind = getattr(one, "__qualname__", "") if isinstance(one, types.FunctionType) else type(one).__name__
        if any(part.value is one for part in parts.values()):
            continue
        numbers = range(1, len(parts) + 2)
        name = next(free for n in numbers if (free := kind if n == 1 else f"{kind}#{n}") not in parts)
        parts[name] = Part(one, f"{code}[{index}]" if code else _as_variable(kind))
    return parts


def _as_variable(name: str) -> str:
    """`EarlyStopping` as `early_stopping`: what one would call the variable that it is kept in."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2]).lower()


def _owner(handler: Any) -> Any:
    """The object whose method a handler is; without the wrapper that Ignite puts around what an event filters."""
    parent = getattr(handler, "_parent", None)
    handler = handler if parent is None else parent()
    return getattr(handler, "__self__", handler)


def _got(holder: Any, name: str) -> Any:
    """An attribute, or what a property gives; None where there is none, or it raises."""
    try:
        return getattr(holder, name)
    except Exception:  # of a library's property: what it gives may not be there yet
        return None
