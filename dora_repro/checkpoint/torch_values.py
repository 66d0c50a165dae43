"""What torch's rebuilding functions in a checkpoint's pickle are built into: tensor entries, sizes, dtypes, devices.

Source: `torch._utils._rebuild_*` and `torch.storage`, as of torch 2.13. Nothing is loaded here but by `finish`.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pickle import UnpicklingError
from types import MappingProxyType

import numpy
import torch

from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.python_values import of_type
from dora_repro.checkpoint.stub import Constructor, Stub
from dora_repro.checkpoint.tensors import (
    Finish,
    MetaTensor,
    Storage,
    StoredTensor,
    TensorEntry,
    checked_sizes,
    refuse_gradient,
    set_attributes,
    stored_tensor,
)

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
_REBUILD_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
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
    bare: dict[str, Constructor] = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor_v2,
        "torch._utils._rebuild_tensor_v3": _tensor_v3,
        "torch._utils._rebuild_meta_tensor_no_storage": _meta_tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch._utils._rebuild_nested_tensor": _nested_tensor,
        "torch._utils._rebuild_device_tensor_from_numpy": lambda array, *_: torch.from_numpy(
            of_type(array, numpy.ndarray)
        ),
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": lambda tensor, *_: tensor,
        "torch._utils._rebuild_qtensor": lambda storage, offset, shape, stride, *rest: Stub(
            "torch._utils._rebuild_qtensor", (finish(_tensor(storage, offset, shape, stride)), *rest)
        ),
    }

    def finished(value: FileValue) -> FileValue:
        return finish(value) if isinstance(value, TensorEntry) else value

    def rebuilt(function: FileValue, kind: FileValue, args: FileValue, state: FileValue) -> FileValue:
        """A tensor with attributes, or of a subclass: the tensor, with these noted; making them would run code."""
        if type(function) is not Stub or function.name not in bare:
            return Stub(_REBUILD_FROM_TYPE, (function, kind, args, state))
        return finished(_noted(bare[function.name](*_arguments(args)), function, kind, state))

    def ending(make: Constructor) -> Constructor:
        return lambda *args: finished(make(*args))

    return {
        **{name: ending(make) for name, make in bare.items()},
        _REBUILD_FROM_TYPE: rebuilt,
        "torch.storage._load_from_bytes": lambda data: nested(of_type(data, bytes)),
        "torch.nn.parameter.Parameter": ending(_parameter),
    }


def _noted(value: FileValue, function: Stub, kind: FileValue, state: FileValue) -> FileValue:
    """A tensor with the name of its class and its attributes."""
    name = kind.name if isinstance(kind, Stub) and kind.name not in _TENSOR_CLASSES else ""
    if isinstance(value, TensorEntry):
        return replace(value, kind=name, attributes=state or None)
    if isinstance(value, torch.Tensor):
        set_attributes(value, state)
        return value
    return value if not name and not state else Stub(_REBUILD_FROM_TYPE, (function, kind, value, state))


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
    return stored_tensor(storage, of_type(storage, Storage).dtype, offset, shape, stride, requires_grad, metadata)


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
    return stored_tensor(storage, dtype, offset, shape, stride, requires_grad, metadata)


def _meta_tensor(dtype: FileValue, shape: FileValue, stride: FileValue, requires_grad: FileValue = False) -> MetaTensor:
    kind, sizes, strides = of_type(dtype, torch.dtype), checked_sizes(shape), checked_sizes(stride)
    if len(sizes) != len(strides):
        raise Malformed(f"a tensor of shape {list(sizes)} has {len(strides)} strides")
    if requires_grad:
        refuse_gradient(kind)
    return MetaTensor(kind, sizes, strides, requires_grad=bool(requires_grad))


def _parameter(
    data: FileValue, requires_grad: FileValue = True, hooks: FileValue = None, state: FileValue = None
) -> FileValue:
    if isinstance(data, (TensorEntry, torch.Tensor)) and requires_grad:
        refuse_gradient(data.dtype)
    if isinstance(data, TensorEntry):
        return replace(data, requires_grad=bool(requires_grad), is_parameter=True, attributes=state or data.attributes)
    if isinstance(data, torch.Tensor):
        parameter = torch.nn.Parameter(data.detach(), bool(requires_grad))
        vars(parameter).update(vars(data))
        set_attributes(parameter, state)
        return parameter
    if isinstance(data, Stub):
        return Stub("torch._utils._rebuild_parameter_with_state", (data, requires_grad, hooks, state))
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


def _nested_tensor(buffer: FileValue, sizes: FileValue, strides: FileValue, offsets: FileValue) -> FileValue:
    """A nested tensor where its parts are loaded, as a stub where they are not; each part is a checked view."""
    parts = (buffer, sizes, strides, offsets)
    if not all(isinstance(part, torch.Tensor) for part in parts):
        return Stub("torch._utils._rebuild_nested_tensor", parts)
    whole, *places = (of_type(part, torch.Tensor) for part in parts)
    if any(part.dtype is not torch.int64 or part.dim() != dims for part, dims in zip(places, (2, 2, 1), strict=True)):
        raise Malformed("the parts of a nested tensor are not told by whole numbers")
    if len({len(part) for part in places}) != 1:
        raise Malformed("a nested tensor tells sizes, strides and places of different numbers of parts")
    views = [
        whole.as_strided(checked_sizes(size), checked_sizes(stride), *checked_sizes([offset]))
        for size, stride, offset in zip(*(part.tolist() for part in places), strict=True)
    ]
    if sum(view.numel() for view in views) > max(whole.numel(), 1):
        raise Malformed("the parts of a nested tensor lie over each other")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch may change nested tensors
        return torch.nested.nested_tensor(views, dtype=whole.dtype)


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
}
