"""Checkpoint files, written so that the last good one survives whatever happens.

A file is written beside its goal under a temporary name, flushed to the disk, and renamed over the goal in
one step (POSIX `rename`, `os.replace`). Whoever opens the goal sees the old file or the new one, never a
part. What this is not: a format. `write` is `torch.save` of plain data, so that any torch can read it with
`weights_only=True`. A process that is killed outright (SIGKILL, power) may leave its temporary file behind,
named `.NAME.….partial`; it may be deleted, and is never read as a checkpoint.
"""

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO

import torch

from dora_repro.contracts import Value
from dora_repro.errors import BadInput

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
MAX_DEPTH = 200


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file in the folder of `path` that becomes `path` when the block ends without an exception.

    The handle's `.name` is the temporary file's path, for writers that want a path. Any exception,
    KeyboardInterrupt included, removes the temporary file and leaves `path` as it was. A symbolic link is
    written through. The mode of an existing file is kept.

    Raises:
        BadInput: `path` is a folder, or its folder does not exist or cannot be written.
    """
    goal = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(goal)
    if os.path.isdir(goal):
        raise BadInput(f"cannot write {path}: it is a folder; name a file in it")
    if not os.path.isdir(folder):
        raise BadInput(f"cannot write {path}: the folder {folder} does not exist; make it first")
    # Cut, in bytes, so that a goal with the longest allowed name still leaves room for the rest.
    name = os.fsdecode(os.fsencode(os.path.basename(goal))[:100])
    partial = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        handle = open(partial, "xb")  # closed by the `with` below
    except OSError as error:
        why = error.strerror or error
        raise BadInput(f"cannot write {path}: {why}; choose a folder that can be written") from error
    try:
        with handle:
            yield handle
            handle.flush()
            with suppress(FileNotFoundError):
                os.fchmod(handle.fileno(), stat.S_IMODE(os.stat(goal).st_mode))
            os.fsync(handle.fileno())
        os.replace(partial, goal)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(folder)


def write(path: str | os.PathLike[str], data: Value) -> None:
    """Save a plain mapping with `torch.save`, atomically.

    Plain is: tensors, numbers, strings, bytes, None, torch sizes, dtypes and devices, and lists, tuples and
    dicts of these. Everything else (numpy arrays, sets, objects) is refused before a byte is written, because
    a reader would have to run code to get it back.

    Raises:
        BadInput: naming the first value that is not plain, or why the file cannot be written.
    """
    if not isinstance(data, Mapping):
        raise BadInput(f"a checkpoint is a mapping of names to values; got {type(data).__name__}")
    refuse_unplain(data)
    save(path, data)


def save(path: str | os.PathLike[str], data: Value) -> None:
    """`torch.save(data, path)`, atomically; `data` is not checked.

    Raises:
        BadInput: the file cannot be written, as on a full disk.
    """
    try:
        with atomic(path) as file:
            torch.save(data, file)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; make room and save again") from error


def refuse_unplain(data: Value, also: tuple[type, ...] = ()) -> None:
    """Refuse data that holds anything but plain values (see `write`).

    Args:
        data: nested lists, tuples and dicts.
        also: further types that are allowed.

    Raises:
        BadInput: naming the first value that is not plain.
    """
    _refuse(data, "", 0, also)


def _refuse(value: Value, where: str, depth: int, also: tuple[type, ...]) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(f"cannot save {where[:80]}…: nested deeper than {MAX_DEPTH} (does it contain itself?)")
    if isinstance(value, torch.Tensor):
        # Subclasses would be rebuilt by code of their own; a Parameter is the one that torch itself rebuilds.
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise BadInput(f"cannot save {where or 'the data'}: it is a {_name(value)}; save a plain tensor of it")
    elif isinstance(value, Mapping):
        if not type(value).__module__.startswith(("builtins", "collections")):
            raise BadInput(f"cannot save {where or 'the data'}: it is a {_name(value)}; save dict(...) of it")
        for key, item in value.items():
            if type(key) not in (str, int, float, bool, tuple, type(None)):
                raise BadInput(f"cannot save {where or 'the data'}: its key {key!r} is a {_name(key)}; use a string")
            _refuse(item, f"{where}/{key}" if where else str(key), depth + 1, also)
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            _refuse(item, f"{where}/{index}" if where else str(index), depth + 1, also)
    elif type(value) not in PLAIN and not isinstance(value, also):
        raise BadInput(
            f"cannot save {where or 'the data'}: it is a {_name(value)}; "
            "save tensors, numbers, strings, lists and dicts (state_dict(), .tolist(), torch.from_numpy)"
        )


def _name(value: Value) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _sync_folder(folder: str) -> None:
    """Make the rename itself lasting; not every file system can, and those that cannot are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
