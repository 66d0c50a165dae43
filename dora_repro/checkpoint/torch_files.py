"""Files of torch, and plain pickles: their values, with nothing in them run and no tensor loaded unasked.

What `torch.save` writes (the zip format and the older stream) and plain pickles of protocol 2 and later. Where the
bytes lie is `archive.py`, the pickle machine `unpickling.py`, what it may build `constructors.py`.
"""

import io
from collections.abc import Callable

import torch

from dora_repro.checkpoint.archive import (
    LEGACY_MAGIC,
    LEGACY_PROTOCOL,
    LegacyFile,
    Whole,
    Window,
    ZipArchive,
    window_of,
)
from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.constructors import vocabulary
from dora_repro.checkpoint.guard import FileValue, Malformed, Opener
from dora_repro.checkpoint.tensors import Finish, Keeping, Storage
from dora_repro.checkpoint.torch_values import storage_dtype
from dora_repro.checkpoint.unpickling import unpickle

_OF_A_NESTED_FILE = 250  # work
HEAD = 512  # bytes at the beginning of a file that tell its kind


def torch_root(
    opener: Opener, start: int, size: int, head: bytes, finish: Finish, keep: int | None, budget: Budget
) -> tuple[str, FileValue]:
    """The values of a torch file or pickle, which may lie inside a longer file.

    Args:
        opener: opens the file that it lies in.
        start: where in that file it begins, in bytes.
        size: how many bytes it has.
        head: its first `HEAD` bytes.
        finish: makes what stands for a tensor, out of its entry.
        keep: bytes of storages that are held in memory between loads; None for all.
        budget: what reading the file may take.

    Returns:
        "torch zip", "torch legacy" or "pickle", and the values.

    Raises:
        Malformed: it is none of these; or one of `guard.PARSER_ERRORS`, where it is damaged.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "torch zip", _zip_root(ZipArchive(opener, start, size, budget), finish, keep)
    if head[257:262] == b"ustar":
        raise Malformed("it is a tar file (torch before 0.1.10, or a packed folder); unpack it or save it anew")
    if not head.startswith(b"\x80"):
        raise Malformed(f"it is no file of torch, pickle or safetensors (it begins with {head[:8]!r})")
    with opener() as file:
        window = window_of(file, start, size)
        words = vocabulary(budget, _no_storages, _nested(finish, keep, budget), finish)
        root = unpickle(window, words, budget)
        if root == LEGACY_MAGIC and type(root) is int:
            return "torch legacy", _legacy_root(opener, window, finish, keep, budget)
        if window.tell() != size:
            raise Malformed(f"its pickle is followed by {size - window.tell()} other bytes")
    return "pickle", root


def _zip_root(archive: ZipArchive, finish: Finish, keep: int | None) -> FileValue:
    budget = archive.budget
    words = vocabulary(budget, _persistent(Keeping(archive, keep, budget)), _nested(finish, keep, budget), finish)
    stream = io.BytesIO(archive.pickle)
    root = unpickle(stream, words, budget)
    if stream.read(1):
        raise Malformed("its pickle is followed by other bytes")
    return root


def _persistent(source: Keeping, dtypes: dict[str, torch.dtype] | None = None) -> Callable[[FileValue], FileValue]:
    """Resolver of torch's persistent ids: ("storage", kind, key, location, count[, view]).

    Args:
        source: where the storages lie.
        dtypes: filled with the dtype of each storage named, by key, where it is given.
    """

    def resolve(persistent_id: FileValue) -> FileValue:
        if not isinstance(persistent_id, tuple):
            raise Malformed("it refers to something outside of the file that is no storage")
        if persistent_id[:1] == ("module",) and len(persistent_id) == 4:
            return persistent_id[1]  # the class of a pickled module (a stub), with its source, in the older format
        if len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
            raise Malformed("it refers to something outside of the file that is no storage")
        _, kind, key, location, count, *view = persistent_id
        dtype = storage_dtype(kind)
        if type(key) is not str or type(count) is not int or count < 0:
            raise Malformed(f"its storage {key!r} claims {count!r} elements")
        nbytes, present = count * dtype.itemsize, source.size(key)
        if present is not None and nbytes != present:
            raise Malformed(f"its storage {key!r} claims {nbytes} bytes, {present} are there")
        if dtypes is not None and dtypes.setdefault(key, dtype).itemsize != dtype.itemsize:
            raise Malformed(f"its storage {key!r} has elements of two sizes")
        start = 0
        if view and view[0] is not None:
            offset, length = _checked_view(key, view[0], count)
            start, nbytes = offset * dtype.itemsize, length * dtype.itemsize
        return Storage(source, key, dtype, nbytes, start, location if isinstance(location, str) else "cpu")

    return resolve


def _checked_view(key: str, view: tuple[FileValue, FileValue, FileValue], count: int) -> tuple[int, int]:
    """(offset, length) of a view of a storage of `count` elements, in elements."""
    _, offset, length = view
    if type(offset) is int and type(length) is int and offset >= 0 and 0 <= length <= count - offset:
        return offset, length
    raise Malformed(f"its storage {key!r} has a view outside of itself")


def _no_storages(_: FileValue) -> FileValue:
    raise Malformed("it refers to storages that are not in it")


def _legacy_root(opener: Opener, window: Window | Whole, finish: Finish, keep: int | None, budget: Budget) -> FileValue:
    """The values of a file in torch's older format: `window` stands behind the magic number.

    Its storages lie behind the pickle that uses them, so that the pickle is read twice: once for the
    storages it names, once with their places known.
    """
    nested = _nested(finish, keep, budget)
    plain = vocabulary(budget, _no_storages, nested)
    protocol, system = (unpickle(window, plain, budget) for _ in range(2))
    if protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise Malformed(f"it is of protocol {str(protocol)[:20]}, this kit knows {LEGACY_PROTOCOL}")
    legacy = LegacyFile(opener, bool(system.get("little_endian", True)))
    source = Keeping(legacy, keep, budget)
    begin, dtypes = window.tell(), dict[str, torch.dtype]()
    unpickle(window, vocabulary(budget, _persistent(source, dtypes), nested), budget)
    keys = unpickle(window, plain, budget)
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or set(keys) != set(dtypes):
        raise Malformed("the storages it lists are not those it uses")
    legacy.place(keys, dtypes, window)
    window.seek(begin)
    return unpickle(window, vocabulary(budget, _persistent(source), nested, finish), budget)


def _nested(finish: Finish, keep: int | None, budget: Budget) -> Callable[[bytes], FileValue]:
    """Reader of a torch file that a pickle holds as bytes (how `pickle.dump` stores a tensor's storage)."""

    def nested(data: bytes) -> FileValue:
        def no_deeper(_: bytes) -> FileValue:
            raise Malformed("it nests files in files in files")

        budget.take(_OF_A_NESTED_FILE)
        window = window_of(io.BytesIO(data), 0, len(data))
        plain = vocabulary(budget, _no_storages, no_deeper)
        if unpickle(window, plain, budget) != LEGACY_MAGIC:
            raise Malformed("a storage in it is of an unknown format")
        return _legacy_root(lambda: io.BytesIO(data), window, finish, keep, budget)

    return nested
