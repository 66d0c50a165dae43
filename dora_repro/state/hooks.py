"""Hooks that a run has registered on its modules, optimizers and parameters: what they keep is state of the run.

A function may keep something in its closure, an object in its attributes. A hook is named after its event and its place
among those of the run: `step_post_hooks.0`. What watches the run is not among them.
"""

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import MODULE_HOOKS, OPTIMIZER_HOOKS, TENSOR_HOOKS

_WATCHING = "dora_repro.recording."


def hooks_of(holder: Value) -> Iterator[tuple[str, dict[Any, Value], Any]]:
    """(name, live dict, key in it) of every hook of a module, an optimizer or a tensor."""
    for attribute in _attributes(holder):
        hooks = getattr(holder, attribute, None)
        if hooks:
            own = [key for key, hook in hooks.items() if not _is_watching(hook)]
            yield from ((f"{_event(attribute)}.{index}", hooks, key) for index, key in enumerate(own))


def names_hook(holder: Value, name: str) -> bool:
    """Whether a name is that of a hook which the holder has or could have."""
    event, _, index = name.rpartition(".")
    return index.isdigit() and any(_event(attribute) == event for attribute in _attributes(holder))


def add_hook(holder: Any, name: str, hook: Any) -> None:
    """Register a hook after those that are there, by the event in its name."""
    event = name.rpartition(".")[0]
    attribute = next(attribute for attribute in _attributes(holder) if _event(attribute) == event)
    if isinstance(holder, torch.Tensor):
        register = holder.register_hook if attribute == TENSOR_HOOKS[0] else holder.register_post_accumulate_grad_hook
        register(hook)
        return
    hooks = getattr(holder, attribute)
    hooks[RemovableHandle(hooks).id] = hook


def remove_hook(holder: Value, name: str) -> None:
    """Take a hook away.

    Raises:
        KeyError: there is none of that name.
    """
    for other, hooks, key in hooks_of(holder):
        if other == name:
            del hooks[key]
            return
    raise KeyError(name)


def _attributes(holder: Value) -> tuple[str, ...]:
    if isinstance(holder, torch.nn.Module):
        return MODULE_HOOKS
    if isinstance(holder, torch.optim.Optimizer):
        return OPTIMIZER_HOOKS
    return TENSOR_HOOKS if isinstance(holder, torch.Tensor) else ()


def _event(attribute: str) -> str:
    return attribute.removeprefix("_optimizer").removeprefix("_")


def _is_watching(hook: Value) -> bool:
    return type(hook) is FunctionType and hook.__module__.startswith(_WATCHING)
