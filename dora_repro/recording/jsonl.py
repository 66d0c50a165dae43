"""Flat dataclasses as lines of JSON: a head that names the format, then one line for each, written atomically."""

import json
from collections.abc import Sequence
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, get_origin

from dora_repro.checkpoint import replacing
from dora_repro.contracts import Json, Value
from dora_repro.errors import BadInput
from dora_repro.printable import named
from dora_repro.wording import counted


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Entry = TypeVar("Entry", bound=Dataclass)


def write(path: str | Path, form: str, entries: Sequence[Entry]) -> None:
    """Write entries under the name of their format.

    Args:
        path: of the file.
        form: the name of the format.
        entries: of one dataclass, of strings, numbers and tuples of strings.
    """
    with replacing.atomic(path) as file:
        file.write(json.dumps({"format": form, "entries": len(entries)}).encode() + b"\n")
        for entry in entries:
            file.write(json.dumps(asdict(entry)).encode() + b"\n")


def read(path: str | Path, form: str, kind: type[Entry]) -> list[Entry]:
    """Read what `write` wrote.

    Raises:
        BadInput: no such file, of another format, or one that was cut off or changed.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        head = json.loads(lines[0])
        if head["format"] != form:
            raise ValueError(f"format {head['format']!r}, expected {form!r}")
        entries = [_entry(kind, json.loads(line)) for line in lines[1:] if line]
        if len(entries) != head["entries"]:
            raise ValueError(f"{counted(len(entries), 'entry')} where {head['entries']} were written")
        return entries
    except FileNotFoundError:
        raise BadInput(f"no such log: {named(path)}") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BadInput(f"{named(path)} is not a whole log of this kit ({problem}): record it again") from error


def _entry(kind: type[Entry], line: dict[str, Json]) -> Entry:
    names = [field.name for field in fields(kind)]
    if sorted(line) != sorted(names):
        raise ValueError(f"an entry of {sorted(line)}, expected {sorted(names)}")
    return kind(**{field.name: _of(field.type, line[field.name]) for field in fields(kind)})


def _of(kind: Any, value: Any) -> Value:
    if get_origin(kind) is tuple:
        return tuple(_of(str, item) for item in value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is no {kind}")
    return value
