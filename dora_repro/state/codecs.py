"""Values encoded as plain data, and decoded again.

Two steps, each with its inverse. `codec_of` encodes a single value that is not plain data (a dtype, a path, a date, a
member of an enum, a numpy scalar, a float of a user's own class) as text or numbers that say all of it. `to_json`
encodes plain data, with its tuples, sets, bytes and arrays, as what JSON can hold.

No serialiser for objects: containers and objects are walked (`leaves.py`), and what is not plain data is refused.
"""

import array
import ast
import base64
import datetime
import decimal
import enum
import fractions
import itertools
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Json, Plain, Value
from dora_repro.state.digest import PLAIN_SCALARS
from dora_repro.state.per_type import per_type

Encoded: TypeAlias = "Plain | np.ndarray"


class Codec(NamedTuple):
    """How the values of one type are encoded.

    Values and types are `Any` here: each codec is called with those of the one type that it is listed for.

    Attributes:
        encode: the value as plain data.
        decode: the value, from its type and the plain data; None where the encoding does not say enough.
    """

    encode: Callable[[Any], Encoded]
    decode: Callable[[Any, Any], object] | None


def _as_text(decode: Callable[[Any, str], object] | None = None) -> Codec:
    """`TYPE text`; `decode` builds the value from its type and the text."""

    def encode(value: object) -> str:
        return f"{type(value).__name__} {value}"

    if decode is None:
        return Codec(encode, None)
    return Codec(encode, lambda kind, encoded: decode(kind, encoded.partition(" ")[2]))


def _call(kind: Callable[[Any], object], encoded: Plain) -> object:
    return kind(encoded)


def _constant_of_torch(kind: type, text: str) -> object:
    return getattr(torch, text.removeprefix("torch."))


def _count(kind: type[itertools.count], text: str) -> object:
    """From `count(5)` or `count(5, 2)`: numbers alone."""
    return kind(*ast.literal_eval(f"({text.removeprefix('count(').removesuffix(')')},)"))


def _seeds(kind: type[np.random.SeedSequence], text: str) -> object:
    """From the text of a call with numbers and tuples of them alone: how many it has spawned is among them."""
    call = ast.parse(text.partition(" ")[2], mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("no text of a SeedSequence")
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    return kind(**options)


def _member(value: enum.Enum) -> str:
    kind, name = type(value), object.__getattribute__(value, "_name_")
    return f"{kind.__qualname__}.{name}" if name else f"{kind.__qualname__} {value._value_!r}"


# The first type that a value is an instance of decides, so subclasses come before what they derive from.
_CODECS: tuple[tuple[type, Codec], ...] = (
    (enum.Enum, Codec(_member, lambda kind, text: kind.__members__[text.rpartition(".")[2]])),
    (torch.dtype, _as_text(_constant_of_torch)),
    (torch.device, _as_text(_call)),
    (torch.layout, _as_text(_constant_of_torch)),
    (torch.memory_format, _as_text(_constant_of_torch)),
    (torch.qscheme, _as_text(_constant_of_torch)),
    (np.dtype, Codec(lambda value: f"dtype {value.str}" if value.names is None else f"dtype {value!r}",
                     lambda kind, text: np.dtype(text.removeprefix("dtype ")))),
    (np.generic, Codec(np.asarray, lambda kind, encoded: np.asarray(encoded)[()])),
    (pathlib.PurePath, _as_text(_call)),
    (datetime.datetime, Codec(lambda value: f"datetime {value.isoformat()} fold {value.fold}", None)),
    (datetime.date, _as_text(lambda kind, text: kind.fromisoformat(text))),
    (datetime.time, _as_text()),
    (datetime.timedelta, Codec(lambda value: ("timedelta", value.days, value.seconds, value.microseconds),
                               lambda kind, encoded: kind(*encoded[1:]))),
    (datetime.timezone, _as_text()),
    (zoneinfo.ZoneInfo, _as_text(_call)),
    (decimal.Decimal, _as_text(_call)),
    (fractions.Fraction, _as_text(_call)),
    (uuid.UUID, _as_text(_call)),
    (re.Pattern, Codec(lambda value: ("pattern", value.pattern, value.flags), None)),
    (torch.Size, Codec(tuple, _call)),
    (range, Codec(lambda value: ("range", value.start, value.stop, value.step),
                  lambda kind, encoded: range(*encoded[1:]))),
    (slice, Codec(lambda value: f"slice {value}", None)),
    (itertools.count, _as_text(_count)),
    (array.array, Codec(lambda value: ("array", value.typecode, value.tobytes()),
                        lambda kind, encoded: array.array(encoded[1], encoded[2]))),
    (np.random.SeedSequence, Codec(lambda value: f"SeedSequence {value!r}", lambda kind, text: _seeds(kind, text))),
    (type(Ellipsis), _as_text()),
    (type(NotImplemented), _as_text()),
    # Classes of one's own over plain ones: the plain value, by the base's own method, whatever the class overrides.
    (bytes, Codec(lambda value: memoryview(value).tobytes(), _call)),
    (str, Codec(str.__str__, _call)),
    (int, Codec(int.__pos__, _call)),
    (float, Codec(float.__pos__, _call)),
    (complex, Codec(complex.__pos__, _call)),
    (bytearray, Codec(bytes, lambda kind, encoded: bytearray(encoded))),
)  # fmt: skip


@per_type
def codec_of(kind: type) -> Codec | None:
    """The codec for values of a type; None for plain types, containers, and classes without one."""
    if kind in PLAIN_SCALARS:
        return None
    return next((codec for base, codec in _CODECS if issubclass(kind, base)), None)


# Types that values can be decoded for by the name in a file: no class is looked up. The names are fixed,
# since where a class is defined differs between versions of Python (`pathlib._local` in 3.13).
_BY_NAME: dict[str, type] = {
    "torch.dtype": torch.dtype,
    "torch.device": torch.device,
    "torch.layout": torch.layout,
    "torch.memory_format": torch.memory_format,
    "torch.Size": torch.Size,
    "numpy.dtype": np.dtype,
    "pathlib.PosixPath": pathlib.PosixPath,
    "pathlib.WindowsPath": pathlib.WindowsPath,
    "datetime.date": datetime.date,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
    "fractions.Fraction": fractions.Fraction,
    "uuid.UUID": uuid.UUID,
    "itertools.count": itertools.count,
    "array.array": array.array,
    "range": range,
    "bytearray": bytearray,
}
_NUMPY_SCALAR = "numpy scalar"


def kind_name(value: object) -> str | None:
    """The name by which `decode` knows a value's type; None where it does not."""
    if isinstance(value, np.generic):
        return _NUMPY_SCALAR
    kind = np.dtype if isinstance(value, np.dtype) else type(value)  # each dtype is of a class of its own
    return next((name for name, known in _BY_NAME.items() if known is kind), None)


def decode(name: str, encoded: Encoded) -> object:
    """The value that a codec encoded, of a type given by `kind_name`.

    Raises:
        KeyError: no type of that name.
    """
    kind = np.generic if name == _NUMPY_SCALAR else _BY_NAME[name]
    codec = codec_of(kind)
    if codec is None or codec.decode is None:
        raise KeyError(name)
    return codec.decode(kind, encoded)


# --- plain data as JSON ------------------------------------------------------------------------------------------

_TAG = "~"


def to_json(value: Value) -> Json:
    """Lists, string-keyed dicts, numbers, strings and None that `from_json` turns back into `value`.

    Tuples, sets, bytes, complex numbers, arrays, and dicts with other keys become dicts that a tag marks.

    Raises:
        TypeError: `value` holds something that is neither plain data nor a numpy array.
    """
    kind = type(value)
    if value is None or (isinstance(value, (bool, int, float, str)) and kind in (bool, int, float, str)):
        return value
    if isinstance(value, list) and kind is list:
        return [to_json(item) for item in value]
    if isinstance(value, dict) and kind is dict:
        if _TAG not in value and all(type(key) is str for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {_TAG: "dict", "items": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, set, frozenset)) and kind in (tuple, set, frozenset):
        return {_TAG: kind.__name__, "items": [to_json(item) for item in value]}
    if isinstance(value, bytes) and kind is bytes:
        return {_TAG: "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, complex) and kind is complex:
        return {_TAG: "complex", "items": [value.real, value.imag]}
    if isinstance(value, np.ndarray):
        data = base64.b64encode(value.tobytes()).decode()
        dtype = to_json(np.lib.format.dtype_to_descr(value.dtype))
        return {_TAG: "array", "dtype": dtype, "shape": list(value.shape), "base64": data}
    raise TypeError(f"not plain data: {kind.__name__}")


def from_json(value: Json) -> Value:
    """The inverse of `to_json`.

    Raises:
        ValueError: `to_json` did not write this.
        KeyError: likewise.
        TypeError: likewise.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    tagged: dict[str, Any] = value  # read from a file: what is wrong with it raises
    tag = tagged.get(_TAG)
    if tag is None:
        return {key: from_json(item) for key, item in value.items()}
    if tag == "dict":
        return {from_json(key): from_json(item) for key, item in tagged["items"]}
    if tag == "bytes":
        return base64.b64decode(tagged["base64"])
    if tag == "complex":
        return complex(*tagged["items"])
    if tag == "array":
        return _array_from_json(tagged)
    kinds: dict[str, Callable[[Iterable[Any]], Value]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
    if tag not in kinds:
        raise ValueError(f"unknown tag {tag!r} in plain data")
    return kinds[tag](from_json(item) for item in tagged["items"])


def _array_from_json(tagged: dict[str, Any]) -> np.ndarray:
    described: Any = from_json(tagged["dtype"])
    dtype = np.lib.format.descr_to_dtype(described)
    if dtype.hasobject:
        raise ValueError("an array of objects in plain data")
    data, shape = base64.b64decode(tagged["base64"]), tagged["shape"]
    return np.frombuffer(data, dtype).reshape(shape).copy() if data else np.empty(shape, dtype)
