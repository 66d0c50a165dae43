"""The log of a start, read: its lines up to the first that no start writes.

A journal may come from anywhere, and what it says is computed with, formatted and shown. So each entry that is used is
here looked at once, and a line with one of another type is damage, as one that is no JSON.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dora_repro.journal.layout import LOG
from dora_repro.journal.lines import read_lines

_MOST = 1 << 53  # updates, bytes
_LATEST = 1 << 36  # seconds since 1970 that a calendar can name


def read_log(start: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of a start's log that are whole, and whether it was cut off, or is damaged, after them.

    Args:
        start: its folder.
    """
    lines, cut = read_lines(start / LOG)
    for number, line in enumerate(lines):
        if not _is_written(line):
            return lines[:number], True
    return lines, cut


def head_of(start: Path) -> dict[str, Any]:
    """What a start's log says of the start; empty where that is damaged."""
    lines, _ = read_log(start)
    return next((line for line in lines if line["kind"] == "start"), {})


def _is_written(line: Mapping[str, Any]) -> bool:
    kind = line.get("kind")
    return _text(kind) and all(check(line.get(name)) for name, check in _ENTRIES.get(str(kind), {}).items())


def _text(value: object) -> bool:
    return type(value) is str


def _texts(value: object) -> bool:
    return type(value) is list and all(map(_text, value))


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _moment(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < _LATEST  # type: ignore[operator]  # its type is looked at first


def _state(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    lost = value.get("lost")
    return (
        isinstance(lost, dict)
        and all(_texts(paths) and paths for paths in lost.values())
        and _count(value.get("compared"))
        and _texts(value.get("other"))
        and _texts(value.get("unknown"))
    )


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


# Kind of line -> entry -> whether it is what a start writes.
_ENTRIES: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "start": {
        "time": _or_none(_moment),
        "argv": _or_none(_texts),
        "host": _or_none(_text),
        "level": _or_none(_text),
        "world": _or_none(_text),
        "environment": lambda value: value is None or isinstance(value, dict),
    },
    "end": {"time": _or_none(_moment)},
    "began": {"reads": _or_none(_texts)},
    "failed": {"problem": _text},
    "writes": {"path": _text, "update": _count, "backwards": _count},
    "wrote": {"path": _text, "update": _count, "backwards": _count, "digest": _or_none(_text), "size": _count},
    "resumed": {
        "start": _count,
        "update": _count,
        "backwards": _count,
        "files": lambda value: _texts(value) and bool(value),
        "state": _state,
    },
    "repeated": {"last": _count},
    "differs": {"update": _count, "phase": _text, "leaf": _text, "how": _text},
}
