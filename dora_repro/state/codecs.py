"""Single values that are no plain data: what each is as plain data, and how it is made again.

A dtype, a path, a date, a member of an enum, a numpy scalar, a float of a class of one's own: each has a value that
text or a plain number says whole. Containers and objects are not here: they are taken apart (`leaves.py`).
"""

import array
import ast
import datetime
import decimal
import enum
import fractions
import itertools
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from dora_repro.state.digest import PLAIN_SCALARS

# (value -> plain data, (type, plain data) -> value); the second is None where text cannot be turned back.
Told = tuple[Callable[[object], object], Callable[[type, object], object] | None]


def _text(make: Callable[[type, str], object] | None = None) -> Told:
    """`KIND text`; `make` builds the value from its type and the text."""

    def tell(value: object) -> str:
        return f"{type(value).__name__} {value}"

    def again(kind: type, plain: object) -> object:
        return make(kind, str(plain).partition(" ")[2])

    return tell, again if make is not None else None


def _count_again(kind: type, text: str) -> object:
    """`count(5)` or `count(5, 2)`: numbers alone."""
    return kind(*ast.literal_eval(f"({text.removeprefix('count(').removesuffix(')')},)"))


def _from_text(kind: type, text: str) -> object:
    return kind(text)


def _enum(value: enum.Enum) -> str:
    kind, name = type(value), object.__getattribute__(value, "_name_")
    return f"{kind.__qualname__}.{name}" if name else f"{kind.__qualname__} {value._value_!r}"


def _enum_again(kind: type[enum.Enum], plain: object) -> enum.Enum:
    return kind.__members__[str(plain).rpartition(".")[2]]


def _offset(value: datetime.timedelta) -> tuple:
    return "timedelta", value.days, value.seconds, value.microseconds


# The first type that a value is an instance of decides, so subclasses come before what they derive from.
_TOLD: tuple[tuple[type, Told], ...] = (
    (enum.Enum, (_enum, _enum_again)),
    (torch.dtype, _text(lambda kind, text: getattr(torch, text.removeprefix("torch.")))),
    (torch.device, _text(_from_text)),
    (torch.layout, _text(lambda kind, text: getattr(torch, text.removeprefix("torch.")))),
    (torch.memory_format, _text(lambda kind, text: getattr(torch, text.removeprefix("torch.")))),
    (torch.qscheme, _text(lambda kind, text: getattr(torch, text.removeprefix("torch.")))),
    (np.dtype, (lambda value: f"dtype {value.str}" if value.names is None else f"dtype {value!r}",
                lambda kind, plain: np.dtype(plain.removeprefix("dtype ")))),
    (np.generic, (np.asarray, lambda kind, plain: np.asarray(plain)[()])),
    (pathlib.PurePath, _text(_from_text)),
    (datetime.datetime, (lambda value: f"datetime {value.isoformat()} fold {value.fold}", None)),
    (datetime.date, _text(lambda kind, text: kind.fromisoformat(text))),
    (datetime.time, _text(None)),
    (datetime.timedelta, (_offset, lambda kind, plain: kind(*plain[1:]))),
    (datetime.timezone, _text(None)),
    (zoneinfo.ZoneInfo, _text(_from_text)),
    (decimal.Decimal, _text(_from_text)),
    (fractions.Fraction, _text(_from_text)),
    (uuid.UUID, _text(_from_text)),
    (re.Pattern, (lambda value: ("pattern", value.pattern, value.flags), None)),
    (torch.Size, (tuple, lambda kind, plain: kind(plain))),
    (range, (lambda value: ("range", value.start, value.stop, value.step), lambda kind, plain: range(*plain[1:]))),
    (slice, (lambda value: f"slice {value}", None)),
    (itertools.count, _text(_count_again)),
    (array.array, (lambda value: ("array", value.typecode, value.tobytes()),
                   lambda kind, plain: array.array(plain[1], plain[2]))),
    (np.random.SeedSequence, (lambda value: f"SeedSequence {value!r}", None)),
    (type(Ellipsis), _text(None)),
    (type(NotImplemented), _text(None)),
    # Classes of one's own over plain ones: the plain value, by the base's own method, whatever the class overrides.
    (bytes, (lambda value: memoryview(value).tobytes(), lambda kind, plain: kind(plain))),
    (str, (str.__str__, lambda kind, plain: kind(plain))),
    (int, (int.__pos__, lambda kind, plain: kind(plain))),
    (float, (float.__pos__, lambda kind, plain: kind(plain))),
    (complex, (complex.__pos__, lambda kind, plain: kind(plain))),
    (bytearray, (bytes, lambda kind, plain: bytearray(plain))),
)  # fmt: skip


@lru_cache(maxsize=4096)
def told(kind: type) -> Told | None:
    """How values of a type are told as plain data and made again; None if they are plain, or no single values."""
    if kind in PLAIN_SCALARS:
        return None
    return next((how for base, how in _TOLD if issubclass(kind, base)), None)


# Those that can be made from their text where there is none: known by name, so that no class is looked up for a file.
_MADE = (
    torch.dtype, torch.device, torch.layout, torch.memory_format, np.dtype, pathlib.PosixPath, pathlib.WindowsPath,
    datetime.date, datetime.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID, range, array.array, bytearray,
    torch.Size, itertools.count,
)  # fmt: skip
_BY_NAME = {f"{kind.__module__}.{kind.__name__}".removeprefix("builtins."): kind for kind in _MADE}


def kind_name(value: object) -> str | None:
    """The name by which `made` makes such a value; None where it cannot."""
    if isinstance(value, np.generic):
        return "numpy scalar"
    kind = np.dtype if isinstance(value, np.dtype) else type(value)  # each dtype is of a class of its own
    return next((name for name, known in _BY_NAME.items() if known is kind), None)


def made(name: str, plain: object) -> object:
    """The value of a kind named by `kind_name` from what `told` said of it.

    Raises:
        KeyError: no such kind.
    """
    kind = np.generic if name == "numpy scalar" else _BY_NAME[name]
    return told(kind)[1](kind, plain)
