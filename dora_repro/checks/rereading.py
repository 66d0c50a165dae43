"""A result that was written as JSON, as the object that it was: the way back from `report.as_json`.

What a value is to be is read from the types of the fields. Fields that are not in the data keep their defaults: traces
and values are files of their own.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from dora_repro.contracts import Json

T = TypeVar("T")

_UNIONS = (typing.Union, types.UnionType)


def from_json(kind: type[T], data: Json) -> T:
    """A frozen result from what `as_json` made of it.

    Args:
        kind: the class of the result.
        data: plain data; entries that are no fields are passed over.

    Raises:
        ValueError: the data is not of that class.
    """
    made: T = _made(kind, data)
    return made


def _made(kind: Any, data: Any) -> Any:
    """A value of a type, as annotations write it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        kinds = [each for each in inner if each is not type(None)]
        if data is None and len(kinds) < len(inner):
            return None
        return _first_of(kinds, data)
    if origin is tuple:
        items = _required(list, data)
        return tuple(_made(each, item) for each, item in zip(_of_items(inner, len(items)), items, strict=True))
    if origin is list:
        return [_made(inner[0], item) for item in _required(list, data)]
    if origin is dict:
        return {key: _made(inner[1], item) for key, item in _required(dict, data).items()}
    if dataclasses.is_dataclass(kind):
        return _instance(kind, _required(dict, data))
    if typing.is_typeddict(kind):
        return _entries(kind, _required(dict, data))
    if origin is typing.Literal:
        if data not in inner:
            raise ValueError(f"{str(data)[:60]!r} is none of {', '.join(map(str, inner))}")
        return data
    if kind is float:
        return data if type(data) in (int, float) else float(_required(str, data))  # "nan", "inf"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    return _required(kind, data) if kind in (int, str, bool) else data


def _first_of(kinds: list[Any], data: Any) -> Any:
    """A value of the first of several types that it can be."""
    for kind in kinds[:-1]:
        try:
            return _made(kind, data)
        except ValueError:
            continue
    return _made(kinds[-1], data)


def _of_items(inner: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return inner[:1] * count if len(inner) == 2 and inner[1] is Ellipsis else inner


def _instance(kind: Any, data: Mapping[str, Any]) -> Any:
    """An instance of a dataclass."""
    hints = typing.get_type_hints(kind)
    given = {
        entry.name: _made(hints[entry.name], data[entry.name])
        for entry in dataclasses.fields(kind)
        if entry.init and entry.name in data
    }
    try:
        return kind(**given)
    except TypeError as error:  # a field without a default is not there
        raise ValueError(f"no whole {kind.__name__}: {error}") from error


def _entries(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary with these entries, each of its type."""
    hints = typing.get_type_hints(kind)
    if lacking := [name for name in hints if name not in data]:
        raise ValueError(f"no whole {kind.__name__}: it has no {lacking[0]!r}")
    return {name: _made(hint, data[name]) for name, hint in hints.items()}


def _required(kind: Any, data: Any) -> Any:
    if type(data) is not kind:
        raise ValueError(f"{str(data)[:60]!r} is no {kind.__name__}")
    return data
