"""What numpy's arrays, numbers and dtypes in a checkpoint's pickle are built into: arrays of plain dtypes.

Arrays of objects or of records stay stubs. Source: `numpy.ndarray.__reduce__` and its kin, as of numpy 2.4 (the names
of numpy 1 are renamed in `pickle_machine.py`).
"""

import math
import re
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Literal, TypeAlias

import numpy

from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.python_values import bytes_of
from dora_repro.checkpoint.stub import Constructor, Stub
from dora_repro.checkpoint.tensors import checked_sizes

_PLAIN_DTYPE = re.compile(r"[<>=|]?(?:[?bBhHiIlLqQefdgFDG]|[biufc]\d{1,2}|[mM]8|[SU]\d{1,7})")
_Order: TypeAlias = Literal["<", ">", "|", "="]
_ORDERS: Mapping[FileValue, _Order] = {"<": "<", ">": ">", "|": "|", "=": "="}
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")


def _dtype(text: FileValue, align: FileValue = False, copy: FileValue = False) -> FileValue:
    if type(text) is not str or not _PLAIN_DTYPE.fullmatch(text):
        return Stub("numpy.dtype", (text,))
    return numpy.dtype(text)


def _array(data: bytes, dtype: numpy.dtype, shape: FileValue, order: str) -> numpy.ndarray:
    sizes = checked_sizes(shape)
    if len(data) != math.prod(sizes) * dtype.itemsize or not dtype.itemsize:
        raise Malformed(f"a numpy array of {dtype}{list(sizes)} with {len(data)} bytes")
    fortran = order == "F"
    return numpy.frombuffer(data, dtype).reshape(sizes, order="F" if fortran else "C").copy("F" if fortran else "C")


def _scalar(dtype: FileValue, data: FileValue = None) -> FileValue:
    if not isinstance(dtype, numpy.dtype) or not isinstance(data, bytes):
        return Stub("numpy._core.multiarray.scalar", (dtype, data))
    number: FileValue = _array(data, dtype, (1,), "C")[0]
    return number


def _reconstruct(kind: FileValue, shape: FileValue = (0,), code: FileValue = b"b") -> FileValue:
    if not isinstance(kind, Stub) or kind.name != "numpy.ndarray":
        return Stub("numpy._core.multiarray._reconstruct", (kind, shape, code))
    return numpy.empty(0, numpy.uint8)  # BUILD brings the array itself


def _from_buffer(data: FileValue, dtype: FileValue, shape: FileValue, order: FileValue = "C") -> FileValue:
    if not isinstance(dtype, numpy.dtype) or order not in ("C", "F"):
        return Stub("numpy._core.numeric._frombuffer", (data, dtype, shape, order))
    return _array(bytes_of(data), dtype, shape, str(order))


def build_array(state: FileValue) -> FileValue:
    """The array that a BUILD on an empty one stands for: (version, shape, dtype, Fortran order, bytes).

    Raises:
        Malformed: the bytes are not as many as the shape says; TypeError, ValueError: no such state.
    """
    if not isinstance(state, (tuple, list)):
        raise UnpicklingError("a numpy array with an unknown state")
    _, shape, dtype, fortran, data = state
    if isinstance(dtype, numpy.dtype) and isinstance(data, (bytes, str)):
        data = data.encode("latin-1") if isinstance(data, str) else data
        return _array(data, dtype, shape, "F" if fortran else "C")
    return Stub("numpy.ndarray", (shape, dtype, data))  # arrays of objects or of records


def build_dtype(value: numpy.dtype, state: FileValue) -> FileValue:
    """The dtype that a BUILD makes of a plain one: its byte order, and the unit of dates.

    Raises:
        UnpicklingError: the state is that of no plain dtype.
    """
    order = _ORDERS.get(state[1]) if isinstance(state, tuple) and len(state) >= 5 and state[2] is None else None
    if not isinstance(state, tuple) or order is None:
        raise UnpicklingError("a numpy dtype with an unknown state")
    # Dates carry their unit in a ninth place; without it they would change meaning.
    if len(state) > 8 and state[8] and value.kind in "mM":
        return _dated(value, state, order)
    return value.newbyteorder(order)


def _dated(value: numpy.dtype, state: tuple[FileValue, ...], order: _Order) -> FileValue:
    metadata = state[8]
    unit, count = None, None
    if isinstance(metadata, tuple) and isinstance(metadata[1], tuple):
        unit, count = metadata[1][:2]
    unit = unit.decode("ascii") if isinstance(unit, bytes) else unit
    if unit not in _UNITS or count != 1:
        return Stub("numpy.dtype", (value.str, state))
    return numpy.dtype(f"{value.kind}8[{unit}]").newbyteorder(order)


NUMPY: Mapping[str, Constructor] = {
    "numpy.dtype": _dtype,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
