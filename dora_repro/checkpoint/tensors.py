"""What a file says about its tensors, checked against the bytes it has, and loaded only on demand.

A `TensorEntry` is the description: dtype, shape, size. `load()` reads the bytes. Nothing here parses a file;
that is `archive.py` (zip and legacy torch files), `safetensors_files.py` and `sharded.py` (folders of shards). Loading
always copies: a mapped file that another process shortens kills the reader (SIGBUS), and a checkpoint folder is just
where that happens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.private_names.of_torch import negative_view

MAX_DIMENSIONS = 64
# A view may repeat its storage (`expand`: stride 0). Up to this size that is taken as meant, above it as a bomb.
MAX_REPEATED_BYTES = 1 << 27
KEPT = 1 << 24  # bytes of storages that are kept while leaves are read one after the other

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

    def part(self, key: str, start: int, length: int) -> torch.UntypedStorage | None:
        """Some bytes of storage `key`; None where the whole has to be read for them."""


class Keeping:
    """A source that keeps storages it loaded, so that views share theirs and are not read again for each.

    Args:
        source: where the storages lie.
        keep: how many bytes of them, beside the last one; None for all.
        budget: what reading them may take.
    """

    def __init__(self, source: Source, keep: int | None, budget: Budget) -> None:
        self.source, self.keep, self.budget = source, keep, budget
        self.loaded: dict[tuple[str, torch.dtype], torch.UntypedStorage] = {}
        self._held = 0  # bytes

    def size(self, key: str) -> int | None:
        """Bytes present for storage `key`; None where that is not known yet."""
        return self.source.size(key)

    def load(self, key: str, dtype: torch.dtype, start: int, length: int) -> tuple[torch.UntypedStorage, int]:
        """A storage that holds some bytes of storage `key`, and where in it they begin.

        Args:
            key: of the storage.
            dtype: of its elements.
            start: of the bytes that are asked for.
            length: how many they are.
        """
        if (key, dtype) in self.loaded:
            self.loaded[key, dtype] = storage = self.loaded.pop((key, dtype))  # the last that was used
            return storage, start
        size = self.source.size(key) or 0
        if self.keep is not None and size > self.keep and 2 * length < size:
            self.budget.take_bytes(length)
            part = self.source.part(key, start, length)
            if part is not None:
                return part, 0
        self.budget.take_bytes(size)
        while self.keep is not None and self.loaded and self._held + size > self.keep:
            self._held -= self.loaded.pop(next(iter(self.loaded))).nbytes()
        self.loaded[key, dtype] = storage = self.source.load(key, dtype)
        self._held += storage.nbytes()
        return storage, start


@dataclass(frozen=True, eq=False, repr=False)
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

    source: Keeping
    key: str
    dtype: torch.dtype
    nbytes: int
    start: int = 0
    location: str = "cpu"

    def load(self, start: int, length: int) -> tuple[torch.UntypedStorage, int]:
        """A storage that holds some bytes of the window, and where in it they begin.

        Args:
            start: of the bytes in the window.
            length: how many they are.
        """
        size = self.source.size(self.key) or 0
        if self.start + self.nbytes > size:
            raise Malformed(f"storage {self.key} claims {self.nbytes} bytes at {self.start}, has {size}")
        return self.source.load(self.key, self.dtype, self.start + start, length)

    def __repr__(self) -> str:  # a key of a dict may be one: no addresses
        return f"storage {self.key} at {self.start}"


@dataclass(frozen=True, eq=False, repr=False)
class TensorEntry:
    """A tensor that was not loaded. Subclasses say how to.

    Attributes:
        dtype: of its elements.
        shape: its sizes.
        requires_grad: as it was saved.
        is_parameter: whether it was saved as a `torch.nn.Parameter`.
        kind: name of the class of the user's own that it was of; empty for torch's.
        attributes: that were set on it, as the file holds them; None where there are none.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    requires_grad: bool = field(default=False, kw_only=True)
    is_parameter: bool = field(default=False, kw_only=True)
    kind: str = field(default="", kw_only=True)
    attributes: FileValue = field(default=None, kw_only=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's elements (of which a view may share some)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> torch.Tensor:
        """The tensor, on the CPU. Tensors that share a storage in the file may share it here."""
        return self._dressed(self._load())

    def _load(self) -> torch.Tensor:
        """The bare tensor."""
        raise NotImplementedError

    def _dressed(self, tensor: torch.Tensor) -> torch.Tensor:
        """A bare tensor as it was saved: a parameter, with its attributes; of no class of the user's own."""
        if self.is_parameter:
            tensor = torch.nn.Parameter(tensor, self.requires_grad)
        elif self.requires_grad:
            tensor.requires_grad_(True)
        set_attributes(tensor, self.attributes)
        return tensor

    def __repr__(self) -> str:  # a key of a dict may be one: no addresses
        return f"tensor {str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


def set_attributes(tensor: torch.Tensor, attributes: FileValue) -> None:
    """Set what a file says was set on a tensor, but for names that `torch.Tensor` has itself: no method is hidden, and
    nothing runs.

    Args:
        tensor: that was just made.
        attributes: a dict by name; slots, which come otherwise, are left out with the class that has them.
    """
    if isinstance(attributes, dict):
        for name, value in attributes.items():
            if isinstance(name, str) and not hasattr(torch.nn.Parameter, name):
                vars(tensor)[name] = value


Finish: TypeAlias = Callable[[TensorEntry], FileValue]
"""Makes what stands for a tensor among the values of a file: its entry (`as_entry`), or the tensor, loaded."""


def as_entry(entry: TensorEntry) -> FileValue:
    """Leave a tensor as its entry: nothing is loaded."""
    return entry


def loaded(entry: TensorEntry) -> FileValue:
    """Load a tensor at once."""
    return entry.load()


@dataclass(frozen=True, eq=False, repr=False)
class StoredTensor(TensorEntry):
    """A strided view of one storage.

    Attributes:
        storage: that it is a view of.
        stride: of each dimension, in elements.
        offset: of its first element in the storage, in elements.
        conjugated: whether its numbers are the conjugates of those that are stored.
        negated: whether they are those with the other sign.
    """

    storage: Storage
    stride: tuple[int, ...]
    offset: int = 0
    conjugated: bool = False
    negated: bool = False

    def _load(self) -> torch.Tensor:
        width = self.dtype.itemsize
        steps = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        count = steps + 1 if math.prod(self.shape) else 0
        storage, start = self.storage.load(self.offset * width, count * width)
        tensor = torch.empty(0, dtype=self.dtype)
        tensor.set_(storage, start // width if count else 0, self.shape, self.stride)
        tensor = tensor.conj() if self.conjugated else tensor
        return negative_view(tensor) if self.negated else tensor

    def __repr__(self) -> str:
        return f"{super().__repr__()} in {self.storage!r} at {self.offset}"


@dataclass(frozen=True, eq=False, repr=False)
class MetaTensor(TensorEntry):
    """A tensor that was saved without bytes (device "meta").

    Attributes:
        stride: of each dimension, in elements.
    """

    stride: tuple[int, ...]

    def _load(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


def stored_tensor(
    storage: FileValue,
    dtype: FileValue,
    offset: FileValue,
    shape: FileValue,
    stride: FileValue,
    requires_grad: FileValue = False,
    metadata: FileValue = None,
) -> StoredTensor:
    """A checked view of `storage`; the arguments are a file's, and may be anything.

    Args:
        storage: a `Storage`.
        dtype: a `torch.dtype`.
        offset: of the first element, in elements.
        shape: sizes.
        stride: as many, in elements.
        requires_grad: of real and complex floats alone.
        metadata: `{"conj": True}`, `{"neg": True}` or both, of views that torch reads otherwise than they are stored.

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
    if requires_grad:
        refuse_gradient(dtype)
    conjugated, negated = _bits(metadata, dtype)
    return StoredTensor(dtype, sizes, storage, strides, first, conjugated, negated, requires_grad=bool(requires_grad))


def refuse_gradient(dtype: torch.dtype) -> None:
    """Refuse tensors that no gradient can reach, and are said to ask for one.

    Raises:
        Malformed: the dtype is neither real nor complex.
    """
    if not (dtype.is_floating_point or dtype.is_complex):
        raise Malformed(f"a tensor of {dtype} requires grad, which no tensor of this dtype can")


def _bits(metadata: FileValue, dtype: torch.dtype) -> tuple[bool, bool]:
    """(conjugated, negated), as torch notes them beside a view."""
    if metadata is None:
        return False, False
    if not isinstance(metadata, dict) or not metadata.keys() <= {"conj", "neg"}:
        raise Malformed(f"a tensor has a note that is not known here: {str(metadata)[:80]}")
    conjugated, negated = bool(metadata.get("conj")), bool(metadata.get("neg"))
    if (conjugated and not dtype.is_complex) or (negated and dtype is torch.bool):
        raise Malformed(f"a tensor of {dtype} is said to be conjugated or negated, which none of this dtype can be")
    return conjugated, negated


def checked_sizes(sizes: FileValue) -> tuple[int, ...]:
    """Sizes, strides or offsets as a tuple of numbers that torch can count with.

    Raises:
        Malformed: negative or absurd numbers, too many of them, or no numbers.
    """
    if not isinstance(sizes, (tuple, list)) or len(sizes) > MAX_DIMENSIONS:
        raise Malformed("the sizes of a tensor are not a short list of numbers")
    product = 1
    for n in sizes:
        if type(n) is not int or n < 0:
            raise Malformed(f"the sizes of a tensor are not whole numbers from 0: {str(sizes)[:80]}")
        product *= n or 1
    if product >= 1 << 60:
        raise Malformed(f"a tensor claims the sizes {str(list(sizes))[:80]}, more than any machine holds")
    return tuple(sizes)
