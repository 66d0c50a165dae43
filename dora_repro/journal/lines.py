"""Lines of JSON that are appended one by one, and read up to the last whole one."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dora_repro.contracts import Json


class Appended:
    """A file of lines. Each is with the system when `add` returns: a process that is killed leaves it.

    Args:
        path: a file that does not exist yet.

    Attributes:
        size: number of bytes written.

    Raises:
        OSError: it exists, or cannot be made.
    """

    def __init__(self, path: Path):
        self._file = path.open("xb", buffering=0)
        self.size = 0

    def add(self, line: Mapping[str, Json]) -> None:
        """Append a line."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._file.write(data)
        self.size += len(data)

    def sync(self) -> None:
        """Have what was written on the disk: it survives the machine, too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def read_lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of a file that are whole, and whether it was cut off, or is damaged, after them.

    A file that is not there has none, and was not cut off. What is no file, or cannot be read, is damaged.
    """
    if path.exists() and not path.is_file():
        return [], True  # a pipe has no end
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], False
    except OSError:
        return [], True
    *whole, rest = data.split(b"\n")
    lines: list[dict[str, Any]] = []
    for text in whole:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            return lines, True
        if not isinstance(line, dict):
            return lines, True
        lines.append(line)
    return lines, bool(rest)


def to_text(value: bytes) -> str:
    """A digest in a line."""
    return base64.b85encode(value).decode()


def to_bytes(text: str) -> bytes:
    """What `to_text` was given."""
    return base64.b85decode(text)
