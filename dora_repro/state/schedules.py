"""Schedules that hold others, as `SequentialLR` does: the state_dict of the outer one has the state of all."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch.optim.lr_scheduler import LRScheduler


def held_by_others(values: Iterable[Any]) -> set[int]:
    """The ids of the schedules that another one among some values holds, directly or through others."""
    found: set[int] = set()
    waiting = [value for value in values if issubclass(type(value), LRScheduler)]
    while waiting:
        inner = [held for held in _held(waiting.pop()) if id(held) not in found]
        found.update(map(id, inner))
        waiting += inner
    return found


def _held(schedule: LRScheduler) -> Iterator[LRScheduler]:
    for attribute in vars(schedule).values():
        kind = type(attribute)
        for item in kind.__iter__(attribute) if issubclass(kind, (list, tuple)) else (attribute,):
            if issubclass(type(item), LRScheduler) and item is not schedule:
                yield item
