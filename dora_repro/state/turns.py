"""In which order the variables of a function are met, and so which of several names an object has.

As with a run's attributes, a parameter has the name that its module gives it, a group that of its optimizer, a schedule
that of the one which holds it, whatever else refers to it; and nothing has a name that it has in some processes alone,
as the variable of a loop that is over.
"""

import contextlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import buffers_of, modules_of, parameters_of
from dora_repro.state.attributes import attributes_of, is_users_module, module_of
from dora_repro.state.bytecode_names import names_of_loops
from dora_repro.state.schedules import held_by_others

_MANY = 10_000  # items of a container that is not looked into


def turns(code: types.CodeType, local: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The variables in the order in which they are to be met, and how often each is put off until all else was met.

    Args:
        code: of the function.
        local: its variables.
    """
    owned, looped, inner = _owned(local), _only_by_loops(code, local), held_by_others(local.values())
    for name, item in sorted(local.items(), key=lambda named: _rank(named[1])):
        if _is_group(item) or owned & {*_identity(item)}:
            yield name, 2  # after optimizers, which wait for the names of parameters
        else:
            late = name in looped or id(item) in inner or _is_made_by_the_run(item) or _is_checkpoint(item)
            yield name, int(late)


def _rank(value: Value) -> int:
    kind = type(value)
    return 0 if issubclass(kind, torch.nn.Module) else 1 if issubclass(kind, torch.optim.Optimizer) else 2


def _owned(local: Mapping[str, Any]) -> set[int]:
    """The identities of what modules and optimizers among some variables give its name: tensors, and the state of a
    parameter as a loop over `optimizer.state.values()` leaves it. A tensor of the function's own has the variable's
    name, wherever else it is held, as in the checkpoint that it was read from."""
    own: set[int] = set()
    for item in _with_attributes(local.values()):
        if issubclass(type(item), torch.nn.Module):
            for inner in _modules_in(item):
                held = (*parameters_of(inner).values(), *buffers_of(inner).values())
                own.update(key for one in held if one is not None for key in _identity(one))
        elif issubclass(type(item), torch.optim.Optimizer):
            states = [state for state in item.state.values() if type(state) is dict]
            own |= {id(item.state), id(item.param_groups), *map(id, states)}
            moments = (one for state in states for one in state.values() if issubclass(type(one), torch.Tensor))
            own.update(key for one in moments for key in _identity(one))
    return own


def _only_by_loops(code: types.CodeType, local: Mapping[str, Any]) -> set[str]:
    """The variables that a loop over other variables has left, as `for optimizer in optimizers.values()` does: there is
    none before the loop, so that what it holds has the name that the container gives it."""
    left = {name: local[name] for name in names_of_loops(code) & local.keys() if _is_object(local[name])}
    if not left:
        return set()
    held = {id(one) for name, item in local.items() if name not in left for one in _held(item)}
    return {name for name, item in left.items() if id(item) in held}


def _is_object(value: Any) -> bool:
    """Whether its identity matters, and it is no tensor: a tensor has the name of its variable."""
    kind = type(value)
    return issubclass(kind, (list, dict)) or (
        kind.__dictoffset__ != 0 and not issubclass(kind, (torch.Tensor, type, types.FunctionType, types.ModuleType))
    )


def _held(item: Any) -> Iterator[Any]:
    """What a variable holds, and what is in the containers and objects of the user's among that."""
    for one in (item, *_inside(item)):
        yield one
        yield from _inside(one)


def _inside(item: Any) -> Iterable[Any]:
    kind = type(item)
    if issubclass(kind, dict):
        return [*dict.values(item)] if dict.__len__(item) <= _MANY else ()
    if issubclass(kind, (list, tuple)):
        return kind.__iter__(item) if len(item) <= _MANY else ()
    if issubclass(kind, torch.nn.Module):
        return [*modules_of(item).values()] if "_modules" in item.__dict__ else ()
    if is_users_module(module_of(kind)) and not issubclass(kind, torch.Tensor):
        return (attributes_of(item) or {}).values()
    return ()


def _is_made_by_the_run(value: Any) -> bool:
    """Whether it is a tensor that something else gives its name, if anything else holds it: a parameter, an output."""
    return issubclass(type(value), torch.Tensor) and (value.requires_grad or not value.is_leaf)


def _with_attributes(values: Iterable[Any]) -> Iterator[Any]:
    """Some values, and what objects of the user's among them hold: a method's `self` may have the optimizer."""
    for item in values:
        yield item
        if is_users_module(module_of(type(item))) and not issubclass(type(item), (torch.nn.Module, torch.Tensor)):
            yield from (attributes_of(item) or {}).values()


def _identity(value: Any) -> Iterator[int]:
    """The id of a value, and where the elements of a tensor begin: `state_dict()` gives others over the same ones."""
    yield id(value)
    if issubclass(type(value), torch.Tensor):
        with contextlib.suppress(RuntimeError):  # wrapper subclasses and meta tensors without storage
            if address := value.data_ptr():
                yield -address  # no id is negative


def _modules_in(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    seen: dict[int, torch.nn.Module] = {}
    waiting: list[torch.nn.Module] = [module]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and "_modules" in one.__dict__:
            seen[id(one)] = one
            waiting += [inner for inner in modules_of(one).values() if inner is not None]
    yield from seen.values()


def _is_group(value: Any) -> bool:
    """Whether it is a group of an optimizer, as a loop over them leaves it in a variable."""
    if type(value) is not dict or "lr" not in value or type(value.get("params")) is not list:
        return False
    return all(issubclass(type(item), torch.Tensor) for item in value["params"])


def _is_checkpoint(value: Any) -> bool:
    """Whether it is what a checkpoint consists of, as it stays in a variable once it was read: what was taken out of it
    has the name that the run gives it."""
    if type(value) is not dict:
        return False
    parts = [part for part in value.values() if issubclass(type(part), dict)]
    return any("param_groups" in part or _has_tensors(part) for part in parts)


def _has_tensors(part: dict[Any, Any]) -> bool:
    return any(issubclass(type(item), torch.Tensor) for item in part.values())
