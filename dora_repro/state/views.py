"""Tensors that are part of another one which the run holds, too: `batch = data[position : position + 8]`.

Such a one is written to in place, since whoever was given it may have it already. What it is part of must not change by
that: it gets a storage of its own, with what it holds.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import partial

import torch

from dora_repro.contracts import Value
from dora_repro.state.assign import put_tensor
from dora_repro.state.leaves import Leaf, SavedLeaf
from dora_repro.state.rebuild import NotRestorable

_ROLES = ("memory", "data")  # flat parameters and moments are told by all of their parts together


def keep_apart(slot: Leaf, value: Value, now: MutableMapping[str, Leaf], wanted: Mapping[str, SavedLeaf]) -> None:
    """Give a storage of their own to the tensors that setting a part of them would spoil.

    Args:
        slot: the leaf that is about to be set.
        value: what to.
        now: the live leaves by path; those that get another tensor are replaced in it.
        wanted: what the leaves are to be that are put back besides.

    Raises:
        NotRestorable: the holder of such a tensor takes no other.
    """
    part = slot.value
    if slot.role not in _ROLES or not _is_part(part) or not isinstance(value, torch.Tensor):
        return
    for whole in list(_around(part, now)):
        if _agree(part, value, whole, wanted.get(whole.path)):
            continue
        names = [leaf for leaf in now.values() if leaf.role == "alias" and leaf.value == f"= {whole.path}"]
        holds = [leaf.hold for leaf in (whole, *names) if leaf.hold is not None]
        if len(holds) <= len(names):
            raise NotRestorable(f"it is a part of {whole.path}, which would be changed")
        own = whole.value.detach().clone()
        for hold in holds:
            hold(own)
        now[whole.path] = replace(whole, value=own, put=partial(put_tensor, own, whole.hold))


def _is_part(tensor: Value) -> bool:
    return (
        type(tensor) is torch.Tensor
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and tensor.nbytes < tensor.untyped_storage().nbytes()
    )


def _around(part: torch.Tensor, now: Mapping[str, Leaf]) -> Iterator[Leaf]:
    """The leaves that are larger tensors in the same storage, a part of which this is."""
    storage, begin = part.untyped_storage().data_ptr(), part.data_ptr()
    for leaf in now.values():
        whole = leaf.value
        if type(whole) is not torch.Tensor or whole.layout is not torch.strided or whole.nbytes <= part.nbytes:
            continue
        if whole.untyped_storage().data_ptr() == storage and whole.data_ptr() <= begin < whole.data_ptr() + _extent(
            whole
        ):
            yield leaf


def _extent(tensor: torch.Tensor) -> int:
    """Bytes from the first element to the end of the last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _agree(part: torch.Tensor, value: torch.Tensor, whole: Leaf, wanted: SavedLeaf | None) -> bool:
    """Whether the whole is to have the very values there that the part is to have."""
    intended = wanted.value if wanted is not None and wanted.kept else None
    if not isinstance(intended, torch.Tensor) or (intended.shape, intended.dtype) != (whole.value.shape, part.dtype):
        return False
    if not whole.value.is_contiguous():
        return False
    offset = part.storage_offset() - whole.value.storage_offset()
    there = intended.detach().contiguous().as_strided(part.shape, part.stride(), offset)
    return torch.equal(there, value.detach())
