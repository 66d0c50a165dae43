"""Values that a training function took from its own data for the next step: they follow from a place that it keeps."""

import numpy as np
import torch

from dora_repro.state.digest import is_dense
from dora_repro.state.snapshot import Snapshot

_LARGEST = 1 << 26  # bytes of data that are looked through


def taken_from(path: str, saved: Snapshot, loaded: Snapshot) -> str | None:
    """The leaf of which a tensor has rows, where that leaf is the same in both runs: what differs is which rows.

    Args:
        path: of the tensor.
        saved: the reference's state at the save.
        loaded: the resumed run's state after loading.

    Returns:
        the path; None where it is no such tensor.
    """
    part = _rows(path, saved)
    if not part:
        return None
    for other, leaf in saved.items():
        if leaf.role not in ("memory", "data") or other not in loaded or loaded[other].digest != leaf.digest:
            continue
        whole = _rows(other, saved)
        if len(whole) > len(part) and len(whole[0]) == len(part[0]) and set(part) <= set(whole):
            return other
    return None


def _rows(path: str, snapshot: Snapshot) -> list[bytes]:
    """The bytes of each row of a tensor or an array; none for what is neither, or large."""
    leaf = snapshot.get(path)
    value = leaf.value if leaf is not None and leaf.kept else None
    if isinstance(value, torch.Tensor) and is_dense(value):
        if not value.dim() or not value.numel():
            return []
        value = value.detach().cpu().contiguous().reshape(len(value), -1).view(torch.uint8).numpy()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject or not value.ndim or value.nbytes > _LARGEST:
        return []
    return [row.tobytes() for row in value]
