"""Generators that look ahead: what they have fetched from a loader for a later step.

In `for batch in prefetch(loader)` the generator lies on the stack of the loop, where no name reaches it. Its frame is
met while it fetches a batch; what it holds of those that no step has begun to work on can be replaced by another run's.
"""

import contextlib
import copy
import dis
import inspect
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dora_repro.contracts import Value
from dora_repro.state.attributes import attributes_of
from dora_repro.state.digest import digest
from dora_repro.state.frames import is_machinery, set_variable
from dora_repro.state.tree import flatten

_CONTAINERS = (list, tuple, dict, deque)
_NO_PLACE = (DataLoader, Dataset, torch.nn.Module)  # where no batch is that waits
_DEEP = 3  # in what a variable holds: an object's attribute, a queue there, a batch in it


def generators_above(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    """The generators of a program and its libraries that lead to a frame, the innermost first."""
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_GENERATOR and not is_machinery(frame):
            yield frame
        frame = frame.f_back


def hand_over(frames: Iterable[types.FrameType], own: Sequence[Value], others: Sequence[Value]) -> None:
    """Replace what generators hold of the youngest batches by what another run holds of its own.

    Args:
        frames: of the generators; one that does not wait at a `yield` is left as it is.
        own: batches that loaders have handed out, the youngest last.
        others: those of the other run.
    """
    pairs = [*_pairs(own, others)]
    # A copy takes what its memo has for an object in place of a copy of it.
    memo = {id(mine): theirs for mine, theirs in pairs}
    filling = {_digests(mine): (mine, theirs) for mine, theirs in reversed(pairs)}  # of equal ones the youngest
    for frame in frames:
        for name, value in frame.f_locals.items() if _waits(frame) else ():
            if _holds(value, memo.keys()):
                with contextlib.suppress(Exception):  # beside the batch something that cannot be copied
                    set_variable(frame, name, copy.deepcopy(value, dict(memo)))
            else:
                _fill(value, filling)


def _fill(value: Any, filling: Mapping[tuple[bytes, ...], tuple[Value, Value]], depth: int = 0) -> None:
    """Fill copies of batches, as on their way to a device, with those of the other run."""
    if depth > _DEEP or isinstance(value, _NO_PLACE):
        return
    if found := filling.get(_digests(value)):
        for own, mine, theirs in zip(*map(_tensors, (value, *found)), strict=False):
            # What shares the batch's memory may be the data set's.
            if own.shape == theirs.shape and own.data_ptr() != mine.data_ptr():
                with torch.no_grad():
                    own.copy_(theirs)
    elif isinstance(value, _CONTAINERS):
        for item in list(value.values() if isinstance(value, dict) else value):
            _fill(item, filling, depth + 1)
    elif not isinstance(value, torch.Tensor):
        for item in list((attributes_of(value) or {}).values()):
            _fill(item, filling, depth + 1)


def _tensors(value: Value) -> list[torch.Tensor]:
    """The tensors of a batch, in order; none of anything else."""
    if not isinstance(value, (torch.Tensor, *_CONTAINERS)):
        return []
    return [item for _, item in flatten(value) if isinstance(item, torch.Tensor)]


def _digests(value: Value) -> tuple[bytes, ...]:
    return tuple(map(digest, _tensors(value)))


def _pairs(own: Sequence[Value], others: Sequence[Value]) -> Iterator[tuple[Value, Value]]:
    """Batches, and what they consist of, each with that of the other run in the same place, counted from the last."""
    for mine, theirs in zip(reversed(own), reversed(others), strict=False):
        yield mine, theirs
        there = dict(flatten(theirs))
        for path, value in flatten(mine):
            if isinstance(value, torch.Tensor) and path in there:
                yield value, there[path]


def _holds(value: Value, ids: Iterable[int]) -> bool:
    """Whether a variable is such a batch or a part of one, or a container that has it."""
    if id(value) in ids:
        return True
    inside = value if not isinstance(value, deque) else list(value)
    return isinstance(value, _CONTAINERS) and any(id(item) in ids for _, item in flatten(inside))


def _waits(frame: types.FrameType) -> bool:
    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) and dis.opname[code[frame.f_lasti]] == "YIELD_VALUE"
