"""Ordered 128-bit byte digests of leaves: equal digests stand for the same dtype, shape and bytes.

Not a norm and not an XOR: a permutation, a −0.0 for a 0.0 or a bfloat16 copy of float32 numbers has a different digest,
and bit-identical NaNs have the same one. The hash is XXH3-128 (https://github.com/Cyan4973/xxHash): about the speed of
reading the memory, and not cryptographic: it guards against accidents, not against collisions made on purpose.
"""

import marshal
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from xxhash import xxh3_128, xxh3_128_digest

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import LENGTHS_KEPT, DisableTorchFunctionSubclass, parts_of_coo

PLAIN_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
MAX_DEPTH = 100  # plain data nested deeper than this is a linked structure or contains itself: not plain
MAX_ITEMS = 20_000_000  # a list inside several lists counts in each, so that a small one cannot stand for many

# The formats of `marshal` below 3 are free of references and interning: the same value gives the same bytes.
_MARSHAL_VERSION = 2
_ORDINARY = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})


def is_plain(value: Any) -> bool:
    """Whether `value` is a number, string, bytes or None, or a list, tuple, dict or set of nothing else."""
    return _is_flat(value) or _size(value, MAX_DEPTH, {}) <= MAX_ITEMS


def _is_flat(value: Any) -> bool:
    """Whether `value` is a scalar, or a list or tuple of scalars, of any length: nothing in it has to be ordered."""
    kind = type(value)
    return kind in PLAIN_SCALARS or (kind in (list, tuple) and PLAIN_SCALARS.issuperset(map(type, value)))


def _size(value: Any, depth: int, known: dict[int, float]) -> float:
    """The number of values in plain data; infinite where something in it is not plain, too deep, or contains itself."""
    kind = type(value)
    if kind in PLAIN_SCALARS:
        return 1
    if kind not in (list, tuple, set, frozenset, dict) or depth == 0:
        return math.inf
    if id(value) not in known:
        known[id(value)] = math.inf  # until it is known: what contains itself never is
        size = float(len(value))
        for items in (value, value.values()) if kind is dict else (value,):
            if not PLAIN_SCALARS.issuperset(map(type, items)):
                for item in items:
                    size += _size(item, depth - 1, known)
                    if size > MAX_ITEMS:
                        return math.inf
        known[id(value)] = size
    return known[id(value)]


def digest_plain(value: Any) -> bytes:
    """Digest of plain data (see `is_plain`): type, order and every bit of a float count; a set has no order."""
    return _digest_flat(_ordered(value))


def _digest_flat(value: Any) -> bytes:
    return xxh3_128_digest(b"plain" + marshal.dumps(value, _MARSHAL_VERSION))


def _ordered(value: Any) -> Any:
    """The same plain data with sets as sorted tuples, marked by an Ellipsis, which plain data cannot hold."""
    if _is_flat(value):
        return value
    kind = type(value)
    if kind in (set, frozenset):
        return ..., kind.__name__, tuple(sorted(marshal.dumps(_ordered(item), _MARSHAL_VERSION) for item in value))
    if kind is dict:
        return {_ordered(key): _ordered(item) for key, item in value.items()}
    return kind([_ordered(item) for item in value])


@lru_cache(maxsize=65536)
def _header(dtype: object, shape: tuple[int, ...]) -> bytes:
    return f"{dtype}{tuple(shape)}".encode()


def digest_tensor(tensor: torch.Tensor) -> bytes:
    """Digest of a tensor of any dtype, layout and device over dtype, shape and its elements in row-major order.

    Strides, storage offset, device and `requires_grad` do not count. Elements on an accelerator are copied to the host.
    Sparse, quantised, nested and wrapped tensors are digested by their components. A meta tensor has no bytes: its
    shape counts.
    """
    if type(tensor) not in _ORDINARY:
        with DisableTorchFunctionSubclass():
            return _digest_subclass(tensor)
    return _digest_any(tensor)


def _digest_subclass(tensor: Any) -> bytes:
    if hasattr(type(tensor), "__tensor_flatten__"):
        names, context = tensor.__tensor_flatten__()  # what a subclass wraps: sharded, quantised, jagged tensors
        form: list[object] = [type(tensor).__qualname__]
        if tensor.layout is torch.jagged:  # the longest and shortest length are kept once something has asked for them
            names = [name for name in names if name not in LENGTHS_KEPT]
            form.append(context["ragged_idx"])
        return _join(f"wrapped {form} {names}", *(getattr(tensor, name) for name in names))
    return _digest_any(tensor)


def _digest_any(tensor: torch.Tensor) -> bytes:
    if tensor.layout is not torch.strided:
        return _digest_sparse(tensor)
    if tensor.is_nested:
        return _join("nested", str(tensor.dtype), *tensor.unbind())
    if tensor.is_quantized:
        return _join("quantized", tensor.int_repr(), str(tensor.qscheme()), _quantization(tensor))
    header = _header(tensor.dtype, tensor.shape)
    if tensor.is_meta:
        return xxh3_128_digest(b"meta" + header)
    return _hash(header, bytes_of(tensor))


def _hash(header: bytes, elements: Any) -> bytes:  # of an array: its buffer has no type before Python 3.12
    hasher = xxh3_128(header)
    hasher.update(elements)
    return hasher.digest()


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether shape, dtype and strides say where its elements are: not sparse, quantised or nested.

    A nested tensor calls itself strided, and has no shape.
    """
    return tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_quantized)


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """The elements of a strided tensor as a one-dimensional array over its bytes or elements, row-major, on the host.

    Shares memory with the tensor where that is contiguous and on the CPU. Do not write into it.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not tensor.is_cpu:  # asking is a tenth of what the call takes, and small tensors are many
        tensor = tensor.cpu()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    try:
        return tensor.numpy().ravel()
    except TypeError:  # bfloat16, float8 and other dtypes that numpy lacks
        return tensor.reshape(-1).view(torch.uint8).numpy()


def reader(tensor: torch.Tensor) -> Callable[[], bytes]:
    """A function that gives the digest of one live tensor, for tensors that are read at every step.

    It keeps a view of the bytes of an ordinary tensor on the host, which saves most of the time for small ones. The
    view is made anew when the tensor gets other storage, shape or dtype.
    """
    return _Reader(tensor) if type(tensor) in _ORDINARY else partial(digest_tensor, tensor)


class _Reader:
    __slots__ = ("_address", "_bytes", "_dtype", "_header", "_shape", "_tensor")

    def __init__(self, tensor: torch.Tensor):
        self._tensor = tensor
        self._address: int | None = None  # of the bytes that were seen last; None where there is no view of them
        self._bytes: np.ndarray
        self._header: bytes
        self._shape: torch.Size
        self._dtype: torch.dtype

    def __call__(self) -> bytes:
        tensor = self._tensor
        if (
            tensor.layout is torch.strided
            and self._address == tensor.data_ptr()
            and self._shape == tensor.shape
            and self._dtype is tensor.dtype
            and tensor.is_contiguous()
            and not (tensor.is_conj() or tensor.is_neg())
        ):
            return _hash(self._header, self._bytes)
        self._address = None
        if _is_bytes_alone(tensor):
            self._bytes = bytes_of(tensor)
            self._header = _header(tensor.dtype, tensor.shape)
            self._address, self._shape, self._dtype = tensor.data_ptr(), tensor.shape, tensor.dtype
        return digest_tensor(tensor)


def _is_bytes_alone(tensor: torch.Tensor) -> bool:
    """Whether dtype, shape and the bytes at its address in the host's memory are all that a tensor is."""
    lazy = tensor.is_conj() or tensor.is_neg()
    return is_dense(tensor) and tensor.is_cpu and tensor.is_contiguous() and not lazy


def _digest_sparse(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach()
    shape = list(tensor.shape)
    if tensor.layout is torch.sparse_coo:
        # An uncoalesced tensor may list an index twice, in any order: its bytes are those of the lists.
        return _join("sparse_coo", shape, tensor.is_coalesced(), *parts_of_coo(tensor))
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return _join(str(tensor.layout), shape, tensor.crow_indices(), tensor.col_indices(), tensor.values())
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return _join(str(tensor.layout), shape, tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    return _join(str(tensor.layout), tensor.to_dense())  # mkldnn


def _quantization(tensor: torch.Tensor) -> bytes:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return _join("per_tensor", tensor.q_scale(), tensor.q_zero_point())
    scales, zeros = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return _join("per_channel", scales, zeros, tensor.q_per_channel_axis())


def _join(*parts: Value) -> bytes:
    return xxh3_128_digest(b"".join(digest(part) for part in parts))


def digest_array(array: np.ndarray) -> bytes:
    """Digest of a numpy array over dtype (with its byte order), shape and elements in row-major order.

    Raises:
        TypeError: for arrays of Python objects, whose bytes are addresses.
    """
    if array.dtype.hasobject:
        raise TypeError(f"an array of dtype {array.dtype} holds addresses, not values")
    if isinstance(array, np.ma.MaskedArray):
        shown = array.view()  # which keeps the number that it fills holes with, once it is asked for it
        return _join(
            "masked", np.asarray(array.data), np.ma.getmaskarray(array), np.asarray(shown.fill_value), array.hardmask
        )
    # The short name of a structured dtype leaves out its fields.
    name = array.dtype.str if array.dtype.names is None else repr(array.dtype)
    return _hash(b"numpy" + _header(name, array.shape), np.asarray(array).ravel().view(np.uint8))


def digest(value: Any) -> bytes:
    """Digest of a tensor, a numpy array or plain data.

    Raises:
        TypeError: for anything else.
    """
    if _is_flat(value):
        return _digest_flat(value)
    if isinstance(value, torch.Tensor):
        return digest_tensor(value)
    if isinstance(value, np.ndarray):
        return digest_array(value)
    if is_plain(value):
        return digest_plain(value)
    raise TypeError(f"no digest for a {type(value).__name__}")
