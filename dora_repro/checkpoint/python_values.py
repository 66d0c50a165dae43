"""The types of the standard library that a checkpoint's pickle may name, and what this kit builds for each.

Every builder takes values of a file, checks them, and makes a plain value: containers, dates, paths (as pure ones,
which touch no disk). Source: the `__reduce__` of these types, as of Python 3.11 to 3.13.
"""

import datetime
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import PurePosixPath, PureWindowsPath
from pickle import UnpicklingError
from types import NoneType
from typing import Any, TypeAlias, TypeVar

from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.stub import Constructor, Stub

_T = TypeVar("_T")
_ENCODINGS = ("latin1", "utf8", "ascii")


def of_type(value: FileValue, kind: type[_T]) -> _T:
    """The value, if it is of a type.

    Raises:
        UnpicklingError: it is not.
    """
    if not isinstance(value, kind):
        raise UnpicklingError(f"a {type(value).__name__} where something else belongs")
    return value


def bytes_of(value: FileValue) -> bytes:
    """The bytes of a bytes object or a bytearray.

    Raises:
        UnpicklingError: it is neither.
    """
    return bytes(value) if isinstance(value, bytearray) else of_type(value, bytes)


def _encode(text: FileValue, encoding: FileValue = "utf-8", errors: FileValue = "strict") -> bytes:
    if type(text) is not str or str(encoding).replace("-", "").replace("_", "") not in _ENCODINGS:
        raise UnpicklingError("bytes in an unknown encoding")
    return text.encode(str(encoding))


def _bytes(data: FileValue = b"", encoding: FileValue = None, *_: FileValue) -> bytes:
    if isinstance(data, str):
        return _encode(data, encoding)
    if isinstance(data, list):
        return bytes(of_type(item, int) for item in data)
    return bytes_of(data)


def _list(items: FileValue = (), *_: FileValue) -> list[FileValue]:
    """Build a list from a list or tuple, never from a number (which would be a length)."""
    if not isinstance(items, (list, tuple)):
        raise UnpicklingError(f"a {type(items).__name__} where something else belongs")
    return list(items)


Charge: TypeAlias = Callable[[FileValue], None]
"""Takes what it costs to hash a key from the budget of the file, or raises."""


def keyed_constructors(charge: Charge) -> dict[str, Constructor]:
    """Builders of what hashes values of a file.

    Args:
        charge: called with each value before it is hashed.
    """

    def members(items: FileValue = ()) -> set[FileValue]:
        if isinstance(items, (set, frozenset, dict)):
            return set(items)
        for item in _list(items):
            charge(item)
        return set(_list(items))

    def mapping(make: Callable[[], MutableMapping[FileValue, Any]]) -> Constructor:
        # Any: the values of a Counter are numbers, and those of a file whatever it says.
        def build(items: FileValue = ()) -> FileValue:
            result = make()
            if isinstance(items, dict):
                result.update(items)
                return result
            if not isinstance(items, (list, tuple, set, frozenset)):
                raise UnpicklingError(f"a {type(items).__name__} where something else belongs")
            for key, value in items:
                charge(key)
                result[key] = value
            return result

        return build

    def default_mapping(factory: FileValue = None, items: FileValue = ()) -> FileValue:
        made: Callable[[], FileValue] | None = None
        if isinstance(factory, Stub):
            made = _FACTORIES.get(factory.name) or UnmadeFactory(factory.name)
        return mapping(lambda: defaultdict(made))(items)

    return {
        "builtins.set": members,
        "builtins.frozenset": lambda *args: frozenset(members(*args)),
        "builtins.dict": mapping(dict),
        "collections.OrderedDict": mapping(OrderedDict),
        "collections.Counter": mapping(Counter),
        "collections.defaultdict": default_mapping,
    }


_FACTORIES: dict[str, Callable[[], FileValue]] = {
    **{f"builtins.{kind.__name__}": kind for kind in (list, dict, set, int, float, str, bool, tuple)},
    "collections.OrderedDict": OrderedDict,
}


class UnmadeFactory:
    """In place of a function of the file that a defaultdict calls for missing keys: known by name, and never called.

    Args:
        name: of the function.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> FileValue:
        raise KeyError(f"{self.name} is not called")

    def __repr__(self) -> str:
        return self.name


def _deque(items: FileValue = (), maxlen: FileValue = None) -> deque[FileValue]:
    return deque(_list(items), None if maxlen is None else of_type(maxlen, int))


def _numbers(kind: Callable[..., FileValue]) -> Constructor:
    def make(*args: FileValue) -> FileValue:
        for arg in args:
            if not isinstance(arg, (int, float, NoneType)):
                raise UnpicklingError(f"a {type(arg).__name__} where something else belongs")
        return kind(*args)

    return make


def _date(kind: Callable[..., FileValue]) -> Constructor:
    def make(first: FileValue, *rest: FileValue) -> FileValue:
        first = first.encode("latin-1") if isinstance(first, str) else first
        if rest and not isinstance(rest[-1], (int, datetime.timezone)):
            rest = rest[:-1]  # a time zone of a library
        return kind(first, *rest)

    return make


def _timezone(offset: FileValue, *_: FileValue) -> datetime.timezone:
    return datetime.timezone(of_type(offset, datetime.timedelta))


def _path(kind: Callable[..., FileValue]) -> Constructor:
    return lambda *parts: kind(*(of_type(part, str) for part in parts))


def _reconstructed(kind: FileValue, base: FileValue = None, state: FileValue = None) -> Stub:
    return Stub(of_type(kind, Stub).name, ())


def _new_object(kind: FileValue, *args: FileValue) -> Stub:
    return Stub(of_type(kind, Stub).name, args)


PYTHON: Mapping[str, Constructor] = {
    "_codecs.encode": _encode,
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda *args: bytearray(_bytes(*args)),
    "builtins.list": _list,
    "builtins.tuple": lambda *args: tuple(_list(*args)),
    "builtins.complex": _numbers(complex),
    "builtins.slice": _numbers(slice),
    "builtins.range": _numbers(range),
    "builtins.xrange": _numbers(range),
    "collections.deque": _deque,
    "datetime.datetime": _date(datetime.datetime),
    "datetime.date": _date(datetime.date),
    "datetime.time": _date(datetime.time),
    "datetime.timedelta": _numbers(datetime.timedelta),
    "datetime.timezone": _timezone,
    "pathlib.PosixPath": _path(PurePosixPath),
    "pathlib.PurePosixPath": _path(PurePosixPath),
    "pathlib.WindowsPath": _path(PureWindowsPath),
    "pathlib.PureWindowsPath": _path(PureWindowsPath),
    "copyreg._reconstructor": _reconstructed,
    "copyreg.__newobj__": _new_object,
}
