"""Tensors and arrays that are part of another one which the run holds, too: `batch = data[position : position + 8]`.

Such a one is written to in place, since whoever was given it may have it already. What it is part of must not change by
that: it gets a memory of its own, with what it holds.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeGuard

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state.assign import Setter, put_array, put_tensor
from dora_repro.state.digest import is_dense
from dora_repro.state.leaves import Leaf, SavedLeaf
from dora_repro.state.rebuild import NotRestorable

_ROLES = ("memory", "data")  # flat parameters and moments are told by all of their parts together

Array: TypeAlias = torch.Tensor | np.ndarray


def keep_apart(slot: Leaf, value: Value, now: MutableMapping[str, Leaf], wanted: Mapping[str, SavedLeaf]) -> None:
    """Give a memory of their own to the tensors and arrays that setting a part of them would spoil.

    Args:
        slot: the leaf that is about to be set.
        value: what to.
        now: the live leaves by path; those that get another tensor are replaced in it.
        wanted: what the leaves are to be that are put back besides.

    Raises:
        NotRestorable: the holder of such a tensor takes no other.
    """
    part = slot.value
    if slot.role not in _ROLES or not _is_array(part) or not _is_array(value):
        return
    for whole in list(_around(part, now)):
        if _agree(part, value, whole, wanted.get(whole.path)):
            continue
        names = [leaf for leaf in now.values() if leaf.role == "alias" and leaf.value == f"= {whole.path}"]
        holds = [leaf.hold for leaf in (whole, *names) if leaf.hold is not None]
        if len(holds) <= len(names):
            raise NotRestorable(f"it is a part of {whole.path}, which would be changed")
        own, put = _own(whole)
        for hold in holds:
            hold(own)
        now[whole.path] = replace(whole, value=own, put=put)


def _own(whole: Leaf) -> tuple[Array, Setter]:
    """A copy of a tensor or an array, and what sets it."""
    if isinstance(whole.value, torch.Tensor):
        tensor = whole.value.detach().clone()
        return tensor, partial(put_tensor, tensor, whole.hold)
    array: np.ndarray = whole.value.copy()
    return array, partial(put_array, array, whole.hold)


def _is_array(value: Value) -> TypeGuard[Array]:
    if type(value) is np.ndarray:
        return not value.dtype.hasobject
    if type(value) is not torch.Tensor:
        return False
    return is_dense(value) and not value.requires_grad and value.device.type == "cpu"


def _around(part: Array, now: Mapping[str, Leaf]) -> Iterator[Leaf]:
    """The leaves that are larger and have the memory of this one within theirs."""
    begin, _ = _memory(part)
    for leaf in now.values():
        if leaf.role in _ROLES and _is_array(leaf.value) and leaf.value.nbytes > part.nbytes:
            first, end = _memory(leaf.value)
            if first <= begin < end:
                yield leaf


def _memory(array: Array) -> tuple[int, int]:
    """The addresses at which an array begins and ends."""
    if isinstance(array, np.ndarray):
        begin, size, strides = array.__array_interface__["data"][0], array.itemsize, array.strides
    else:
        begin, size = array.data_ptr(), array.element_size()
        strides = tuple(stride * size for stride in array.stride())
    steps = [(count - 1) * stride for count, stride in zip(array.shape, strides, strict=True)]
    return begin + sum(step for step in steps if step < 0), begin + sum(step for step in steps if step > 0) + size


def _agree(part: Array, value: Array, whole: Leaf, wanted: SavedLeaf | None) -> bool:
    """Whether the whole is to have the very values there that the part is to have."""
    intended = wanted.value if wanted is not None and wanted.kept else None
    if not isinstance(part, torch.Tensor) or not isinstance(intended, torch.Tensor):
        return False
    if (intended.shape, intended.dtype) != (whole.value.shape, part.dtype) or not whole.value.is_contiguous():
        return False
    offset = (part.data_ptr() - whole.value.data_ptr()) // part.element_size()
    there = intended.detach().contiguous().as_strided(part.shape, part.stride(), offset)
    return isinstance(value, torch.Tensor) and torch.equal(there, value.detach())
