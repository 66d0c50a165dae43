"""Reading checkpoints as data: a whole file, or its leaves one at a time.

`read` loads everything. `leaves_of_file` knows all readable paths at once and loads values on access, so that
two files of any size can be compared leaf by leaf in the memory of their largest storage. What is a leaf: a
tensor, an array, a plain value, a list or tuple of nothing but plain values, an empty container. A stub (what
was an object) has the leaf `…/__class__` (its name as text) beside those of its arguments, state, items and
entries. Formats and safety: `opening.py`.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from dora_repro.checkpoint.guard import FileValue, Malformed, guarded
from dora_repro.checkpoint.opening import Kind, kind_of, open_tree
from dora_repro.checkpoint.tensors import Storage, TensorEntry, loaded, stored_tensor
from dora_repro.checkpoint.unpickling import MAX_DEPTH, Stub
from dora_repro.errors import BadInput

# Values visited; shared containers count each time, so that a small pickle cannot stand for many.
MAX_VISITED = 1_000_000
PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None))
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".safetensors", ".json")


def read(path: str | os.PathLike[str]) -> FileValue:
    """Everything in a checkpoint file, loaded: nested dicts and lists of tensors (CPU), numbers, strings, stubs.

    Tensors that share memory in the file share it here. Loads into memory as many bytes as the file has.

    Raises:
        BadInput: the file is missing, empty, truncated, damaged, hostile or of a different kind.
    """
    return open_tree(path, finish=loaded, keep=None).root


class Leaves(Mapping[str, FileValue]):
    """Path -> value of all leaves, in the order of the file; a tensor is loaded anew at each access.

    Args:
        flat: path -> value, or the entry of a tensor.
        file_of: the file that a path is in, for errors.
    """

    def __init__(self, flat: Mapping[str, FileValue], file_of: Callable[[str], Path]) -> None:
        self._flat, self._file_of = flat, file_of

    def __len__(self) -> int:
        return len(self._flat)

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __getitem__(self, path: str) -> FileValue:
        """The value; a tensor is loaded, and checked by its CRC where the format has one.

        Raises:
            KeyError: there is no such leaf.
            BadInput: the tensor cannot be loaded.
        """
        value = self._flat[path]
        if isinstance(value, TensorEntry):
            with guarded(self._file_of(path)):
                return value.load()
        return value

    def entry(self, path: str) -> FileValue:
        """The value, or for a tensor its `TensorEntry` (dtype, shape, nbytes): nothing is loaded."""
        return self._flat[path]


def leaves_of_file(path: str | os.PathLike[str]) -> Leaves:
    """All leaves of a checkpoint file, or of the files of a folder (each below its file's name).

    Raises:
        BadInput: as `reading.read`; or the file holds more values, or deeper ones, than a checkpoint does.
    """
    place = Path(path)
    if kind_of(place) is not Kind.FOLDER:
        with guarded(place):
            return Leaves(flatten(open_tree(place).root), lambda _: place)
    flat: dict[str, FileValue] = {}
    files: dict[str, Path] = {}
    for file in members(place):
        with guarded(file):
            part = flatten(open_tree(file).root)
        for inner, value in part.items():
            whole = f"{file.name}/{inner}" if inner else file.name
            flat[whole], files[whole] = value, file
    return Leaves(flat, files.__getitem__)


def members(folder: Path) -> list[Path]:
    """The files of a folder that may be parts of a checkpoint, by name.

    Raises:
        BadInput: there are none, or the folder cannot be listed.
    """
    with guarded(folder):
        found = (file for file in folder.iterdir() if file.suffix in CHECKPOINT_SUFFIXES and file.name[0] != ".")
        files = sorted(file for file in found if file.is_file())
    if not files:
        raise BadInput(
            f"cannot read {folder}: no file in it is a checkpoint ({' '.join(CHECKPOINT_SUFFIXES)}); name one"
        )
    return files


def flatten(root: FileValue, stubs: list[str] | None = None) -> dict[str, FileValue]:
    """Path -> leaf of nested values, parts joined by "/".

    Args:
        root: the values of a file.
        stubs: filled with the names of what would have been objects.

    Raises:
        Malformed: the values are too many, or nested too deep.
    """
    flat: dict[str, FileValue] = {}
    on_way: set[int] = set()
    visited = 0

    # An explicit stack: the depth of a hostile file must not be the depth of this program's stack.
    waiting: list[tuple[str, FileValue, int, bool]] = [("", root, 0, False)]
    while waiting:
        where, value, depth, done = waiting.pop()
        if done:
            on_way.discard(id(value))
            continue
        visited += 1
        if visited > MAX_VISITED or depth > MAX_DEPTH:
            raise Malformed(f"it holds more than {MAX_VISITED} values, or values nested deeper than {MAX_DEPTH}")
        if stubs is not None and isinstance(value, Stub):
            stubs.append(key_text(value))
        children = _children(value)
        if children is None:
            _add(flat, where, _leaf_value(value))
        elif id(value) in on_way:
            _add(flat, where, "<a value that contains itself>")
        else:
            visited += len(children)
            on_way.add(id(value))
            waiting.append((where, value, depth, True))
            for part, child in reversed(children):
                waiting.append((f"{where}/{part}" if where else part, child, depth + 1, False))
    return flat


def key_text(key: FileValue) -> str:
    """A key as part of a path: printable, on one line, of bounded length."""
    text = key if isinstance(key, str) else key.name if isinstance(key, Stub) else str(key)
    text = text if len(text) <= 300 else text[:300] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text) or "''"


def _leaf_value(value: FileValue) -> FileValue:
    """The value that is compared for a leaf: bare storages as tensors of bytes, sets in order, bare names as text."""
    if isinstance(value, Storage):
        return stored_tensor(value, torch.uint8, 0, (value.nbytes,), (1,))
    if isinstance(value, Stub):
        return key_text(value)
    if isinstance(value, (set, frozenset)):
        return sorted(key_text(item) for item in value)
    return value


def _children(value: FileValue) -> list[tuple[str, FileValue]] | None:
    """(part of path, value) of what is inside; None for a leaf."""
    if isinstance(value, dict):
        return [(key_text(key), item) for key, item in value.items()] or None
    if isinstance(value, (list, tuple, deque)):
        if all(isinstance(item, PLAIN) for item in value):
            return None
        return [(str(place), item) for place, item in enumerate(value)]
    if isinstance(value, Stub):
        if value.args is None:
            return None
        parts: list[tuple[str, FileValue]] = [("__class__", key_text(value))]
        parts += [("args", value.args)] if value.args else []
        parts += [("state", value.state)] if value.state is not None else []
        parts += [("items", value.items)] if value.items else []
        parts += [(f"entries/{key_text(key)}", item) for key, item in value.entries]
        return parts
    return None


def _add(flat: dict[str, FileValue], where: str, value: FileValue) -> None:
    """Keys that read the same (1 and "1") are distinguished by their order."""
    name, number = where, 1
    while name in flat:
        number += 1
        name = f"{where}#{number}"
    flat[name] = value
