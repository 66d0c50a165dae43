"""The code that the objects of a run bring along: their classes, and the functions that are held in attributes.

What a run's own class names is not all that it runs: a model that was built elsewhere and handed in, a transform in a
data set, a function in a `functools.partial`. Their code may keep things in modules, as the run's may.
"""

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state.attributes import attributes_of
from dora_repro.state.digest import PLAIN_SCALARS
from dora_repro.state.per_type import per_type

Code: TypeAlias = frozenset[types.FunctionType | type]

_MOST_OBJECTS, _MOST_ITEMS, _DEEPEST = 2000, 100, 5
_NO_CODE = (torch.Tensor, np.ndarray, np.generic, torch.Generator, types.ModuleType, *PLAIN_SCALARS)

_known: dict[int, tuple[tuple[tuple[int, type], ...], Code]] = {}  # id of a run -> what it held, and the code of that
_MOST_RUNS = 64


def held_code(run: Value, attributes: Mapping[str, Value]) -> Code:
    """The classes and functions of what a run holds; found anew where its attributes are other objects.

    Args:
        run: the run.
        attributes: its attributes by name.
    """
    held = tuple([(id(value), type(value)) for value in attributes.values() if _may_hold(type(value))])
    known = _known.get(id(run))
    if known is None or known[0] != held:
        if len(_known) >= _MOST_RUNS:
            _known.clear()
        _known[id(run)] = known = held, frozenset(_met(attributes))
    return known[1]


@per_type
def _may_hold(kind: type) -> bool:
    """Whether objects of a type may bring code along."""
    return not issubclass(kind, _NO_CODE)


def _met(attributes: Mapping[str, Value]) -> Iterator[types.FunctionType | type]:
    waiting: deque[tuple[Any, int]] = deque((value, 0) for value in attributes.values())
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_OBJECTS:
        value, depth = waiting.popleft()
        kind = type(value)
        if not _may_hold(kind) or id(value) in seen or depth > _DEEPEST:
            continue
        seen.add(id(value))
        if issubclass(kind, types.FunctionType):
            yield value
        elif issubclass(kind, type):
            yield value
            continue
        else:
            yield kind
        waiting.extend((item, depth + 1) for item in _inside(value, kind))


def _inside(value: Any, kind: type) -> list[Any]:
    """What an object holds; of long containers nothing, for they hold data."""
    if issubclass(kind, types.FunctionType):
        return [*(_content(cell) for cell in value.__closure__ or ()), *value.__dict__.values()]
    if issubclass(kind, types.MethodType):
        return [value.__func__, value.__self__]
    if issubclass(kind, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if issubclass(kind, torch.nn.Module):
        return [*value.__dict__.get("_modules", {}).values(), *value.__dict__.values()]
    held: list[Any] = []
    if issubclass(kind, (list, tuple, set, frozenset, deque)):
        base: Any = next(base for base in (list, tuple, set, frozenset, deque) if issubclass(kind, base))
        held += base.__iter__(value) if base.__len__(value) <= _MOST_ITEMS else ()
    elif issubclass(kind, dict):
        held += dict.values(value) if dict.__len__(value) <= _MOST_ITEMS else ()
    return [*held, *(attributes_of(value) or {}).values()]


def _content(cell: types.CellType) -> Value:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
