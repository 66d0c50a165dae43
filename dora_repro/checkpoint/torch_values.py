"""What torch's rebuilding functions in a checkpoint's pickle are built into: tensor entries, sizes, dtypes, devices.

Source: `torch._utils._rebuild_*` and `torch.storage`, as of torch 2.13. Nothing is loaded here but by `finish`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pickle import UnpicklingError
from types import MappingProxyType

import numpy
import torch

from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.python_values import of_type
from dora_repro.checkpoint.tensors import Finish, MetaTensor, Storage, StoredTensor, checked_sizes, stored_tensor
from dora_repro.checkpoint.unpickling import Constructor, Stub

STORAGE_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}
DTYPES = MappingProxyType({str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)})
_TENSOR_CLASSES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
_LAYOUTS = {str(value): value for value in vars(torch).values() if isinstance(value, torch.layout)}


def storage_dtype(kind: FileValue) -> torch.dtype:
    """The dtype of a storage class as a file names it (`torch.FloatStorage`); untyped ones count bytes.

    Raises:
        Malformed: no storage class of torch.
    """
    name = kind.name.rpartition(".")[2] if isinstance(kind, Stub) else ""
    if name in ("UntypedStorage", "TypedStorage"):
        return torch.uint8
    try:
        return STORAGE_DTYPES[name.removesuffix("Storage")]
    except KeyError:
        raise Malformed(f"storages of the unknown kind {kind!r}") from None


def tensor_constructors(finish: Finish, nested: Callable[[bytes], FileValue]) -> dict[str, Constructor]:
    """The functions that rebuild tensors, by name.

    Args:
        finish: makes what stands for a tensor, out of its entry.
        nested: reads a torch file that a pickle holds as bytes.
    """
    tensors: dict[str, Constructor] = {
        "torch._utils._rebuild_tensor": lambda *args: finish(_tensor(*args)),
        "torch._utils._rebuild_tensor_v2": lambda *args: finish(_tensor_v2(*args)),
        "torch._utils._rebuild_tensor_v3": lambda *args: finish(_tensor_v3(*args)),
        "torch._utils._rebuild_meta_tensor_no_storage": lambda *args: finish(_meta_tensor(*args)),
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch._utils._rebuild_device_tensor_from_numpy": lambda array, *_: torch.from_numpy(
            of_type(array, numpy.ndarray)
        ),
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": lambda tensor, *_: tensor,
        "torch._utils._rebuild_qtensor": lambda storage, offset, shape, stride, *rest: Stub(
            "torch._utils._rebuild_qtensor", (finish(_tensor(storage, offset, shape, stride)), *rest)
        ),
        "torch.storage._load_from_bytes": lambda data: nested(of_type(data, bytes)),
    }

    def rebuilt(function: FileValue, kind: FileValue, args: FileValue, state: FileValue) -> FileValue:
        """A tensor with attributes, or of a subclass: the tensor, with these noted; making them would run code."""
        if type(function) is not Stub or function.name not in tensors:
            return Stub("torch._tensor._rebuild_from_type_v2", (function, kind, args, state))
        return _noted(tensors[function.name](*_arguments(args)), kind, state)

    return {**tensors, "torch._tensor._rebuild_from_type_v2": rebuilt}


def _noted(value: FileValue, kind: FileValue, state: FileValue) -> FileValue:
    """A tensor that is not loaded, with the name of its class and its attributes."""
    if not isinstance(value, StoredTensor):
        return value
    name = kind.name if isinstance(kind, Stub) and kind.name not in _TENSOR_CLASSES else ""
    return replace(value, kind=name, attributes=state or None)


def _arguments(args: FileValue) -> tuple[FileValue, ...]:
    if not isinstance(args, (tuple, list)):
        raise UnpicklingError(f"a call with a {type(args).__name__}")
    return tuple(args)


def _tensor(storage: FileValue, offset: FileValue, shape: FileValue, stride: FileValue) -> StoredTensor:
    return stored_tensor(storage, of_type(storage, Storage).dtype, offset, shape, stride)


def _tensor_v2(
    storage: FileValue,
    offset: FileValue,
    shape: FileValue,
    stride: FileValue,
    requires_grad: FileValue = False,
    hooks: FileValue = None,
    metadata: FileValue = None,
) -> StoredTensor:
    return stored_tensor(storage, of_type(storage, Storage).dtype, offset, shape, stride, requires_grad)


def _tensor_v3(
    storage: FileValue,
    offset: FileValue,
    shape: FileValue,
    stride: FileValue,
    requires_grad: FileValue,
    hooks: FileValue,
    dtype: FileValue,
    metadata: FileValue = None,
) -> StoredTensor:
    return stored_tensor(storage, dtype, offset, shape, stride, requires_grad)


def _meta_tensor(
    dtype: FileValue, shape: FileValue, stride: FileValue, requires_grad: FileValue = False
) -> MetaTensor:
    return MetaTensor(of_type(dtype, torch.dtype), checked_sizes(shape), checked_sizes(stride))


def _parameter(
    data: FileValue, requires_grad: FileValue = True, hooks: FileValue = None, state: FileValue = None
) -> FileValue:
    if isinstance(data, StoredTensor):
        entry = replace(data, requires_grad=bool(requires_grad), is_parameter=True)
        return replace(entry, attributes=state) if state else entry
    if isinstance(data, torch.Tensor):
        return torch.nn.Parameter(data.detach(), bool(requires_grad))
    if isinstance(data, (MetaTensor, Stub)):
        return data
    raise UnpicklingError(f"a parameter made of a {type(data).__name__}")


def _sparse(layout: FileValue, data: FileValue) -> FileValue:
    """A sparse COO tensor where its parts are loaded; other layouts, and parts that are not loaded, as a stub."""
    parts = _arguments(data)
    if layout is torch.sparse_coo and all(isinstance(part, torch.Tensor) for part in parts[:2]):
        indices, values, sizes, coalesced = parts[:4]
        return torch.sparse_coo_tensor(
            of_type(indices, torch.Tensor),
            of_type(values, torch.Tensor),
            checked_sizes(sizes),
            is_coalesced=None if coalesced is None else bool(coalesced),
            check_invariants=True,
        )
    return Stub("torch._utils._rebuild_sparse_tensor", (layout, data))


def _size(sizes: FileValue = ()) -> torch.Size:
    return torch.Size(checked_sizes(sizes))


def _device(kind: FileValue, index: FileValue = None) -> torch.device:
    # A file may name a device by its number alone, as torch does.
    if index is None:
        return torch.device(kind) if isinstance(kind, int) else torch.device(of_type(kind, str))
    return torch.device(of_type(kind, str), of_type(index, int))


def _layout(name: FileValue) -> torch.layout:
    return _LAYOUTS[of_type(name, str)]


TORCH: Mapping[str, Constructor] = {
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
    "torch.nn.parameter.Parameter": _parameter,
}
