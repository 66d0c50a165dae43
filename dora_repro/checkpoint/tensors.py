"""What a file says about its tensors, checked against the bytes it has, and loaded only on demand.

A `TensorEntry` is the description: dtype, shape, size. `load()` reads the bytes. Nothing here parses a file;
that is `archive.py` (zip and legacy torch files), `safetensors_files.py` and `sharded.py` (folders of shards). Loading
always copies: a mapped file that another process shortens kills the reader (SIGBUS), and a checkpoint folder is just
where that happens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch

from dora_repro.checkpoint.guard import FileValue, Malformed

MAX_DIMENSIONS = 64
# A view may repeat its storage (`expand`: stride 0). Up to this size that is taken as meant, above it as a bomb.
MAX_REPEATED_BYTES = 1 << 28

# torch has no plain tensors of these dtypes; their bytes are shown as the integers they are made of.
QUANTIZED = {
    torch.qint8: torch.int8,
    torch.quint8: torch.uint8,
    torch.qint32: torch.int32,
    torch.quint4x2: torch.uint8,
    torch.quint2x4: torch.uint8,
}


class Source(Protocol):
    """Where the bytes of storages lie."""

    def size(self, key: str) -> int | None:
        """Bytes present for storage `key`; None where that is not known yet."""

    def load(self, key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        """The bytes of storage `key`, in this machine's byte order for elements of `dtype`."""


class Keeping:
    """A source that keeps the last storages it loaded, so that views share theirs.

    Args:
        source: where the storages lie.
        keep: how many of them; None for all.
    """

    def __init__(self, source: Source, keep: int | None) -> None:
        self.source, self.keep = source, keep
        self.loaded: dict[tuple[str, torch.dtype], torch.UntypedStorage] = {}

    def size(self, key: str) -> int | None:
        return self.source.size(key)

    def load(self, key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        if (key, dtype) not in self.loaded:
            while self.keep is not None and len(self.loaded) >= self.keep:
                del self.loaded[next(iter(self.loaded))]
            self.loaded[key, dtype] = self.source.load(key, dtype)
        return self.loaded[key, dtype]


@dataclass(frozen=True, eq=False)
class Storage:
    """A storage of a file, or a window of one.

    Attributes:
        source: where its bytes lie.
        key: its name there.
        dtype: of its elements.
        nbytes: bytes of the window.
        start: where in the storage the window begins, in bytes.
        location: the device that it was saved from, as the file names it.
    """

    source: Source
    key: str
    dtype: torch.dtype
    nbytes: int
    start: int = 0
    location: str = "cpu"

    def load(self) -> torch.UntypedStorage:
        whole = self.source.load(self.key, self.dtype)
        if self.start + self.nbytes > whole.nbytes():
            raise Malformed(f"storage {self.key} claims {self.nbytes} bytes at {self.start}, has {whole.nbytes()}")
        return whole


@dataclass(frozen=True, eq=False)
class TensorEntry:
    """A tensor that was not loaded. Subclasses say how to.

    Attributes:
        dtype: of its elements.
        shape: its sizes.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's elements (of which a view may share some)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> torch.Tensor:
        """The tensor, on the CPU. Tensors that share a storage in the file may share it here."""
        raise NotImplementedError


Finish: TypeAlias = Callable[[TensorEntry], FileValue]
"""Makes what stands for a tensor among the values of a file: its entry (`as_entry`), or the tensor, loaded."""


def as_entry(entry: TensorEntry) -> FileValue:
    """Leave a tensor as its entry: nothing is loaded."""
    return entry


def loaded(entry: TensorEntry) -> FileValue:
    """Load a tensor at once."""
    return entry.load()


@dataclass(frozen=True, eq=False)
class StoredTensor(TensorEntry):
    """A strided view of one storage.

    Attributes:
        storage: that it is a view of.
        stride: of each dimension, in elements.
        offset: of its first element in the storage, in elements.
        requires_grad: as it was saved.
        is_parameter: whether it was saved as a `torch.nn.Parameter`.
        kind: name of the class of the user's own that it was of; empty for torch's.
        attributes: that were set on it, as the file holds them; None where there are none. Loading leaves them out.
    """

    storage: Storage
    stride: tuple[int, ...]
    offset: int = 0
    requires_grad: bool = False
    is_parameter: bool = False
    kind: str = ""
    attributes: FileValue = None

    def load(self) -> torch.Tensor:
        start = self.storage.start // self.dtype.itemsize
        tensor = torch.empty(0, dtype=self.dtype)
        tensor.set_(self.storage.load(), start + self.offset, self.shape, self.stride)
        if self.is_parameter:
            return torch.nn.Parameter(tensor, self.requires_grad)
        return tensor.requires_grad_(self.requires_grad)


@dataclass(frozen=True, eq=False)
class MetaTensor(TensorEntry):
    """A tensor that was saved without bytes (device "meta").

    Attributes:
        stride: of each dimension, in elements.
    """

    stride: tuple[int, ...]

    def load(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


def stored_tensor(
    storage: FileValue,
    dtype: FileValue,
    offset: FileValue,
    shape: FileValue,
    stride: FileValue,
    requires_grad: FileValue = False,
) -> StoredTensor:
    """A checked view of `storage`; the arguments are a file's, and may be anything.

    Args:
        storage: a `Storage`.
        dtype: a `torch.dtype`.
        offset: of the first element, in elements.
        shape: sizes.
        stride: as many, in elements.
        requires_grad: holds for real and complex floats alone.

    Raises:
        Malformed: negative or absurd sizes, or elements outside of the storage.
    """
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise Malformed(
            f"a tensor needs a storage and a dtype; got {type(storage).__name__} and {type(dtype).__name__}"
        )
    dtype = QUANTIZED.get(dtype, dtype)
    sizes, strides = checked_sizes(shape), checked_sizes(stride)
    (first,) = checked_sizes((offset,))
    if len(sizes) != len(strides):
        raise Malformed(f"a tensor of shape {list(sizes)} has {len(strides)} strides")
    count = math.prod(sizes)
    if storage.start % dtype.itemsize:
        raise Malformed(f"a tensor of {dtype} starts at byte {storage.start} of its storage, between two elements")
    last = first + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1 if count else 0
    if last * dtype.itemsize > storage.nbytes:
        raise Malformed(
            f"a tensor of {dtype}{list(sizes)} needs {last * dtype.itemsize} bytes of storage {storage.key}, "
            f"which has {storage.nbytes}"
        )
    if count * dtype.itemsize > max(storage.nbytes, MAX_REPEATED_BYTES):
        raise Malformed(
            f"a tensor of {dtype}{list(sizes)} repeats the {storage.nbytes} bytes of storage {storage.key} "
            f"to {count * dtype.itemsize}"
        )
    grad = bool(requires_grad) and (dtype.is_floating_point or dtype.is_complex)
    return StoredTensor(dtype, sizes, storage, strides, first, grad)


def checked_sizes(sizes: FileValue) -> tuple[int, ...]:
    """Sizes, strides or offsets as a tuple of numbers that torch can count with.

    Raises:
        Malformed: negative or absurd numbers, too many of them, or no numbers.
    """
    if not isinstance(sizes, (tuple, list)) or len(sizes) > MAX_DIMENSIONS:
        raise Malformed("the sizes of a tensor are not a short list of numbers")
    if any(type(n) is not int or n < 0 for n in sizes):
        raise Malformed(f"the sizes of a tensor are not whole numbers from 0: {str(sizes)[:80]}")
    if math.prod(n for n in sizes if n) >= 1 << 60:
        raise Malformed(f"a tensor claims the sizes {str(list(sizes))[:80]}, more than any machine holds")
    return tuple(sizes)
