"""Nested values of a file, one after the other, each with its path: what is a leaf, and what a part of a path reads.

A leaf is a tensor, an array, a plain value, a list or tuple of nothing but plain values, an empty container. A stub
(what was an object) has the leaf `…/__class__` (its name as text) beside those of its arguments, state, items and
entries; a tensor with attributes of its own has these below it, as `…/__dict__`.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy
import torch

from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.tensors import Storage, StoredTensor, stored_tensor
from dora_repro.checkpoint.unpickling import MAX_DEPTH, Stub
from dora_repro.printable import one_line

# Values visited; shared containers count each time, so that a small pickle cannot stand for many.
MAX_VISITED = 1_000_000
MAX_KEY = 300  # characters of a key in a path; a longer one is cut, and told apart by a digest
PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None))
ATTRIBUTES = "__dict__"  # below a tensor that has attributes of its own

Tag = TypeVar("Tag")


@dataclass(frozen=True, slots=True)
class Node(Generic[Tag]):
    """One value on the way through a file; a container comes before what is in it.

    Attributes:
        path: its parts joined by "/".
        value: as the file holds it.
        children: whether anything lies inside of it that has a path of its own.
        leaf: whether it is a leaf itself, as a tensor with attributes is beside having children.
        tag: what `judge` said of it.
    """

    path: str
    value: FileValue
    children: bool
    leaf: bool
    tag: Tag


Judge = Callable[[Tag, FileValue, FileValue], Tag]
"""What a value is, from what the container around it is, its key or place there, and itself."""


def walk(root: FileValue, start: Tag, judge: Judge[Tag]) -> Iterator[Node[Tag]]:
    """Every value of a file with its path, containers before what is in them.

    Args:
        root: the values of a file.
        start: what stands around the root.
        judge: gives each value its tag; the key of the root is None.

    Raises:
        Malformed: the values are too many, or nested too deep.
    """
    on_way: set[int] = set()
    names: set[str] = set()
    visited = 0
    # An explicit stack: the depth of a hostile file must not be the depth of this program's stack.
    waiting: list[tuple[str, FileValue, FileValue, int, Tag, bool]] = [("", None, root, 0, start, False)]
    while waiting:
        where, key, value, depth, around, done = waiting.pop()
        if done:
            on_way.discard(id(value))
            continue
        visited += 1
        if visited > MAX_VISITED or depth > MAX_DEPTH:
            raise Malformed(f"it holds more than {MAX_VISITED} values, or values nested deeper than {MAX_DEPTH}")
        tag = judge(around, key, value)
        again = id(value) in on_way
        children = [] if again else _children(value)
        leaf = not children or isinstance(value, (StoredTensor, torch.Tensor))
        if leaf:
            where = _unused(where, names)
        yield Node(where, "<a value that contains itself>" if again else value, bool(children), leaf, tag)
        if children:
            visited += len(children)
            on_way.add(id(value))
            waiting.append((where, key, value, depth, around, True))
            for part, inner, child in reversed(children):
                waiting.append((f"{where}/{part}" if where else part, inner, child, depth + 1, tag, False))


def flatten(root: FileValue, stubs: list[str] | None = None) -> dict[str, FileValue]:
    """Path -> leaf of nested values, parts joined by "/".

    Args:
        root: the values of a file.
        stubs: filled with the names of what would have been objects.

    Raises:
        Malformed: the values are too many, or nested too deep.
    """
    flat: dict[str, FileValue] = {}
    for node in walk(root, None, lambda around, key, value: None):
        if stubs is not None and isinstance(node.value, Stub):
            stubs.append(key_text(node.value))
        if node.leaf:
            flat[node.path] = leaf_value(node.value)
    return flat


def key_text(key: FileValue) -> str:
    """A key as part of a path: printable, on one line, of bounded length."""
    text = key if isinstance(key, str) else key.name if isinstance(key, Stub) else _repr(key)
    if len(text) > MAX_KEY:
        text = f"{text[:MAX_KEY]}…{hashlib.blake2s(text.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
    return one_line(text) or "''"


def _repr(key: FileValue) -> str:
    """The text of a key that is no string; a set's members in an order of their own."""
    if isinstance(key, frozenset):
        return f"frozenset({{{', '.join(sorted(map(repr, key)))}}})"
    return str(key)


def key_parts(keys: list[FileValue]) -> list[str]:
    """The parts of a path that the keys of one dictionary are; where two read the same (8 and "8"), the one that is no
    string has its type beside it, so that their order does not matter."""
    texts = [key_text(key) for key in keys]
    counts = Counter(texts)
    return [
        f"{text} ({type(key).__name__})" if counts[text] > 1 and not isinstance(key, str) else text
        for text, key in zip(texts, keys, strict=True)
    ]


def leaf_value(value: FileValue) -> FileValue:
    """The value that is compared for a leaf: bare storages as tensors of bytes, bare names as text, sets of what is no
    plain data in order."""
    if isinstance(value, Storage):
        return stored_tensor(value, torch.uint8, 0, (value.nbytes,), (1,))
    if isinstance(value, Stub):
        return key_text(value)
    if isinstance(value, (set, frozenset)) and not _is_plain_set(value):
        return sorted(f"{type(item).__name__} {key_text(item)}" for item in value)
    return value


def _is_plain_set(items: set[FileValue] | frozenset[FileValue]) -> bool:
    return all(type(item) in PLAIN for item in items)


def _children(value: FileValue) -> list[tuple[str, FileValue, FileValue]]:
    """(part of path, key, value) of what is inside; nothing for a leaf."""
    if isinstance(value, dict):
        return list(zip(key_parts(list(value)), value.keys(), value.values(), strict=True))
    if isinstance(value, (list, tuple, deque)):
        if all(isinstance(item, PLAIN) for item in value):
            return []
        return [(str(place), place, item) for place, item in enumerate(value)]
    if isinstance(value, StoredTensor):
        return [] if value.attributes is None else [(ATTRIBUTES, ATTRIBUTES, value.attributes)]
    if isinstance(value, Stub):
        return _children_of_stub(value)
    if isinstance(value, numpy.ndarray):
        return []
    return []


def _children_of_stub(stub: Stub) -> list[tuple[str, FileValue, FileValue]]:
    if stub.args is None:
        return []
    parts: list[tuple[str, FileValue, FileValue]] = [("__class__", "__class__", key_text(stub))]
    parts += [("args", "args", stub.args)] if stub.args else []
    parts += [("state", "state", stub.state)] if stub.state is not None else []
    parts += [("items", "items", stub.items)] if stub.items else []
    texts = key_parts([key for key, _ in stub.entries])
    return parts + [(f"entries/{text}", key, item) for text, (key, item) in zip(texts, stub.entries, strict=True)]


def _unused(where: str, names: set[str]) -> str:
    """The path, with a number where another leaf has it: keys with slashes may read like nested ones."""
    name, number = where, 1
    while name in names:
        number += 1
        name = f"{where}#{number}"
    names.add(name)
    return name
