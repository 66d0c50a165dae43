"""What every reader of checkpoint files stands on: refusing a file that contradicts itself, and saying so to the user.

At the bottom of the room: knows no format. Parsers raise `Malformed`, or one of `PARSER_ERRORS`; `guarded` turns either
into a BadInput that names the file and what to do next. Limits lie beside what they limit.
"""

import gc
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import TypeAlias, TypeVar

from dora_repro.errors import BadInput
from dora_repro.printable import named, one_line

FileValue: TypeAlias = object
"""A value that a file holds: plain data, a container, a tensor (or its entry), an array, a stub."""

Opener: TypeAlias = Callable[[], BufferedIOBase]
"""Opens one file again and again, for reading; whoever calls it closes what it returns."""

# What parsers raise on damaged input; a programming error of this kit would hide among them, so tests read
# many good files.
PARSER_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_NEXT = "; take another copy, or an earlier checkpoint"
REREAD = 5  # times that a file is opened again which somebody saves to at the same time

T = TypeVar("T")


class Malformed(ValueError):
    """A file contradicts itself or its format; `guarded` turns it into a BadInput with the file's name."""


class Replaced(Malformed):
    """The file is no longer the one that was opened: reading it again from its beginning may succeed."""


@contextmanager
def guarded(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into a BadInput that names it.

    Raises:
        BadInput: the block raised; a BadInput of its own passes unchanged.
    """
    try:
        yield
    except BadInput:
        raise
    except Malformed as error:
        raise BadInput(f"cannot read {named(path)}: {_printable(error)}{_NEXT}") from error
    except FileNotFoundError as error:
        raise BadInput(f"cannot read {named(path)}: there is no such file; check the path") from error
    except OSError as error:
        raise BadInput(
            f"cannot read {named(path)}: {error.strerror or _printable(error)}; check the file and its rights"
        ) from error
    except PARSER_ERRORS as error:
        what = f"{type(error).__name__}: {_printable(error)}" if str(error) else type(error).__name__
        raise BadInput(f"cannot read {named(path)}: it is damaged or no checkpoint ({what}){_NEXT}") from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause Python's search for cycles while the values of a file are made: all of them stay, and going through them
    again and again, as ever more are there, is up to a third of the time. What a file may take bounds the memory."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def reread(read: Callable[[], T]) -> T:
    """What `read` returns, called again where the file was replaced in the meantime by a whole one.

    Raises:
        BadInput: as `read` does; the file is replaced time and again.
    """
    for _ in range(REREAD):
        try:
            return read()
        except BadInput as error:
            if not isinstance(error.__cause__, Replaced):
                raise
    return read()


def file_opener(path: Path) -> Opener:
    """An opener of `path` that refuses once the file is no longer the one it was.

    Raises:
        FileNotFoundError: there is no such file.
        Malformed: it is a folder, a device or the like; or, by the opener, it was replaced or written to.
    """
    if not path.is_file():
        if not path.exists():
            raise FileNotFoundError(path)
        raise Malformed("it is no ordinary file")

    def identity(stat: os.stat_result) -> tuple[int, int, int, int]:
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    known = identity(os.stat(path))
    if not known[2]:
        raise Malformed("it is empty")  # or a file of the kernel's, that waits for what somebody says

    def opener() -> BufferedIOBase:
        file = open(path, "rb")  # handed to the caller, who closes it
        if identity(os.fstat(file.fileno())) != known:
            file.close()
            raise Replaced("it was replaced or written to while it was being read")
        return file

    return opener


def _printable(error: BaseException) -> str:
    """The text of an error that may quote the file: no control characters, and not much of it."""
    text = str(error).partition("\n")[0]
    return one_line(text[:300])
