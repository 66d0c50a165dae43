"""What an operator gets and what it writes to: its arguments taken apart, and digests of what can be read.

Its schema says which arguments it changes. What lies in memory that nothing was written to yet is no result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from dora_repro.contracts import Plain, Value
from dora_repro.private_names.of_torch import (
    OPERATORS_RESERVING,
    OPERATORS_WRITING_OVER,
    identity_of_storage,
    schema_of,
)
from dora_repro.recording.user_frames import Operation, draws_random_numbers
from dora_repro.state.digest import PLAIN_SCALARS, digest, digest_plain, digest_tensor, is_dense
from dora_repro.state.tree import flatten

T = TypeVar("T")

# Operators that write over all of their first argument, whose bytes before do not matter.
_OVERWRITING = {
    *("copy_", "fill_", "zero_", "random_", "uniform_", "normal_", "bernoulli_", "exponential_", "geometric_"),
    *("cauchy_", "log_normal_", *OPERATORS_WRITING_OVER),
}
# Operators that change arguments (the running statistics) without their schema saying so.
_WRITING_UNSAID = {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}
# A tensor gets memory that comes from elsewhere (a file, a worker): what is in it is no operator's result.
_NO_COMPUTATION = ("profiler.", "aten.set_.")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an operator.

    Attributes:
        name: as `aten.addmm.default`.
        left_out: whether it computes nothing, so that it is not logged.
        reserves: whether it reserves memory.
        random: whether it draws random numbers.
        writes_unsaid: whether it changes arguments without its schema saying so.
        ways: position or name of an argument -> `in` (changed in place) or `over` (written over).
    """

    name: str
    left_out: bool
    reserves: bool
    random: bool
    writes_unsaid: bool
    ways: dict[int | str, str]


@cache
def known_of(func: Operation) -> Known:
    """What is known of an operator; read once for each."""
    name = str(func)
    base = name.split(".")[1] if "." in name else name
    reserves = base.startswith(OPERATORS_RESERVING)
    left_out = reserves or name.startswith(_NO_COMPUTATION) or bool(getattr(func, "is_view", False))
    ways: dict[int | str, str] = {}
    schema = schema_of(func)
    for index, argument in enumerate(schema.arguments if schema is not None else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            over = argument.kwarg_only or (index == 0 and base in _OVERWRITING)
            ways[index] = ways[argument.name] = "over" if over else "in"
    return Known(name, left_out, reserves, draws_random_numbers(func), base in _WRITING_UNSAID, ways)


def split_arguments(
    known: Known, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[tuple[torch.Tensor, str]], list[Plain]]:
    """The tensors of a call, each with the way that it is written to, and its other arguments as plain data."""
    tensors: list[tuple[torch.Tensor, str]] = []
    plain: list[Plain] = []
    every: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for key, value in every:
        way = known.ways.get(key, "")
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, torch.Tensor):
                tensors.append((item, way))
            elif not isinstance(item, torch.Generator):
                plain.append((key, item if type(item) in PLAIN_SCALARS else _word(item)))
    return tensors, plain


def _word(value: Value) -> str:
    """A dtype, device or layout by its name; anything else by its type, since its text may hold an address."""
    known = (torch.dtype, torch.device, torch.layout, torch.memory_format)
    return str(value) if isinstance(value, known) else type(value).__name__


def tensors_in(value: Value) -> Iterator[torch.Tensor]:
    """The tensors of what an operator returned."""
    return (item for _, item in flatten(value) if isinstance(item, torch.Tensor))


def digests_in(value: Value) -> tuple[str, ...]:
    """Digests of all tensors and plain values in what a module got or returned."""
    return tuple([read_or_not(digest_of, item) for _, item in flatten(value)])


def read_or_not(read: Callable[[T], bytes], value: T) -> str:
    """A digest as hexadecimal digits; empty where the value cannot be read."""
    try:
        return read(value).hex()
    except (TypeError, ValueError, RuntimeError, NotImplementedError):  # of a kind that has no bytes to be read
        return ""


def digest_of(value: Value) -> bytes:
    """Digest of a tensor, an array or plain data."""
    return digest_tensor(value) if isinstance(value, torch.Tensor) else digest(value)


def form_of(tensor: torch.Tensor) -> bytes:
    """In place of the bytes, where there are none yet."""
    return digest_plain((str(tensor.dtype), tuple(tensor.shape)))


def strides_of(tensors: list[torch.Tensor]) -> bytes:
    """How tensors lie in memory, on which the order of a sum can depend."""
    return digest_plain([tensor.stride() for tensor in tensors if is_dense(tensor)])


class Blank:
    """Memory that was reserved and not written to yet: whatever is in it, it is no operator's result."""

    def __init__(self) -> None:
        # address -> (a weak reference to the storage, so that no other gets its address; bytes still to be written)
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def reserved(self, tensors: Iterator[torch.Tensor]) -> None:
        """Note that the storages of some tensors were reserved."""
        for tensor in tensors:
            if (storage := _storage(tensor)) is not None and storage.nbytes():
                self._storages[identity_of_storage(storage)] = StorageWeakRef(storage), storage.nbytes()

    def holds(self, value: Value) -> bool:
        """Whether nothing was written yet to the storage of a tensor."""
        if not self._storages or not isinstance(value, torch.Tensor):
            return False
        storage = _storage(value)
        return storage is not None and identity_of_storage(storage) in self._storages

    def written(self, tensor: torch.Tensor) -> None:
        """Note that all of a tensor was written over, which may be a part of its storage."""
        if not self._storages or (storage := _storage(tensor)) is None:
            return
        address = identity_of_storage(storage)
        if address in self._storages:
            reference, rest = self._storages.pop(address)
            if rest > tensor.nbytes:
                self._storages[address] = reference, rest - tensor.nbytes


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    try:
        return tensor.untyped_storage() if tensor.layout is torch.strided else None
    except (RuntimeError, NotImplementedError):  # nested tensors and wrappers
        return None
