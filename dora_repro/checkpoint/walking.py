"""Nested values of a file, one after the other, each with its path: what is a leaf, and what a part of a path reads.

A leaf is a tensor, an array, a plain value, a list or tuple of nothing but plain values, an empty container. A stub
(what was an object) has the leaf `…/__class__` (its name as text) beside those of its arguments, state, items and
entries; a tensor with attributes of its own has these below it, as `…/__dict__`; a key that is a tensor or an object is
one itself, as `…/__key__` below its value.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy
import torch

from dora_repro.checkpoint.budget import OF_A_BYTE, Budget
from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import Storage, TensorEntry, stored_tensor
from dora_repro.printable import one_line

# Of a value, each time that it is met: what is walked, put into a list, described and compared.
OF_A_VALUE, MEMORY_OF_A_VALUE, MEMORY_OF_A_CHILD = 4, 500, 250
OF_A_DICT = 6  # work, beside that: its keys are looked for whatever they may say
OF_AN_ITEM = 0.1  # work, of what a container, text or array holds: it is looked through whenever it is met
MAX_DEPTH = 200
MAX_KEY = 300  # characters of a key in a path; a longer one is cut, and told apart by a digest
PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_CHILDLESS = (*PLAIN, numpy.ndarray)
_SCALARS = frozenset((int, float, bool, type(None)))
_DONE = -1  # in place of a depth: all that is in a container has been met
KEY = "__key__"  # below the value of a key that is no plain name
ATTRIBUTES = "__dict__"  # below a tensor that has attributes of its own

Tag = TypeVar("Tag")


class Node(NamedTuple, Generic[Tag]):
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


def walk(root: FileValue, start: Tag, judge: Judge[Tag], budget: Budget) -> Iterator[Node[Tag]]:
    """Every value of a file with its path, containers before what is in them.

    Args:
        root: the values of a file.
        start: what stands around the root.
        judge: gives each value its tag; the key of the root is None.
        budget: what reading the file may take; a shared value counts each time.

    Raises:
        Malformed: the values are too many, or nested too deep.
    """
    on_way: set[int] = set()
    used: dict[str, int] = {}
    # An explicit stack: the depth of a hostile file must not be the depth of this program's stack.
    waiting: list[tuple[str, FileValue, FileValue, int, Tag]] = [("", None, root, 0, start)]
    while waiting:
        where, key, value, depth, around = waiting.pop()
        if depth == _DONE:
            on_way.discard(id(value))
            continue
        if depth > MAX_DEPTH:
            raise Malformed(f"it holds values nested deeper than {MAX_DEPTH}")
        budget.take(OF_A_VALUE + cost_of_looking(value), MEMORY_OF_A_VALUE + 2 * len(where))
        tag = judge(around, key, value)
        if type(value) in _SCALARS or isinstance(value, _CHILDLESS):
            yield Node(_unused(where, used), value, False, True, tag)
            continue
        again = id(value) in on_way
        children = [] if again else _children(value, budget)
        leaf = not children or isinstance(value, (TensorEntry, torch.Tensor))
        if leaf:
            where = _unused(where, used)
        yield Node(where, "<a value that contains itself>" if again else value, bool(children), leaf, tag)
        if children:
            on_way.add(id(value))
            waiting.append((where, key, value, _DONE, around))
            above, depth = f"{where}/" if where else "", depth + 1
            waiting += [(above + part, inner, child, depth, tag) for part, inner, child in reversed(children)]


def cost_of_looking(value: FileValue) -> float:
    """The work of going through a value once, whatever lies inside of what it holds."""
    if type(value) in _SCALARS:
        return 0.0
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) * OF_A_BYTE
    if isinstance(value, dict):
        return OF_A_DICT + len(value) * OF_AN_ITEM
    return len(value) * OF_AN_ITEM if isinstance(value, _CONTAINERS) else 0.0


def key_text(key: FileValue) -> str:
    """A key as part of a path: printable, on one line, of bounded length."""
    text = key if isinstance(key, str) else key.name if isinstance(key, Stub) else _repr(key)
    if len(text) > MAX_KEY:
        text = f"{text[:MAX_KEY]}…{hashlib.blake2s(text.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
    return text if text and text.isprintable() else one_line(text) or "''"


def _repr(key: FileValue) -> str:
    """The text of a key that is no string; a set's members in an order of their own."""
    if isinstance(key, frozenset):
        return f"frozenset({{{', '.join(sorted(map(repr, key)))}}})"
    if isinstance(key, torch.Tensor):
        return f"tensor {str(key.dtype).removeprefix('torch.')}{list(key.shape)}"
    return str(key)


def _length(key: FileValue) -> int:
    """About how long the text of a key is; it is made only once that is known."""
    waiting, length = [key], 0
    while waiting:
        part = waiting.pop()
        if isinstance(part, (tuple, frozenset)):
            waiting.extend(part)
        length += len(part) if isinstance(part, (str, bytes)) else 20
    return length


def key_parts(keys: list[FileValue]) -> list[str]:
    """The parts of a path that the keys of one dictionary are; where two read the same (8 and "8"), the one that is no
    string has its type beside it, so that their order does not matter."""
    texts = [key_text(key) for key in keys]
    if len(set(texts)) == len(texts):
        return texts
    counts = Counter(texts)
    return [
        f"{text} ({type(key).__name__})" if counts[text] > 1 and not isinstance(key, str) else text
        for text, key in zip(texts, keys, strict=True)
    ]


def leaf_value(value: FileValue) -> FileValue:
    """The value that is compared for a leaf: bare storages as tensors of bytes, bare names as text, sets of what is no
    plain data in order."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Storage):
        return stored_tensor(value, torch.uint8, 0, (value.nbytes,), (1,))
    if isinstance(value, Stub):
        return key_text(value)
    if isinstance(value, (set, frozenset)) and not _is_plain_set(value):
        return sorted(f"{type(item).__name__} {key_text(item)}" for item in value)
    return value


def _is_plain_set(items: set[FileValue] | frozenset[FileValue]) -> bool:
    return all(type(item) in PLAIN for item in items)


def _children(value: FileValue, budget: Budget) -> list[tuple[str, FileValue, FileValue]]:
    """(part of path, key, value) of what is inside; nothing for a leaf."""
    if isinstance(value, dict):
        return _children_by_key(value.items(), "", budget)
    if isinstance(value, (list, tuple, deque)):
        if all(isinstance(item, PLAIN) for item in value):
            return []
        budget.take(0, MEMORY_OF_A_CHILD * len(value))
        return [(str(place), place, item) for place, item in enumerate(value)]
    if isinstance(value, (set, frozenset)) and any(_is_more_than_its_text(item) for item in value):
        budget.take(OF_A_BYTE * sum(map(_length, value)), MEMORY_OF_A_CHILD * len(value))
        ordered = sorted(value, key=lambda item: f"{type(item).__name__} {key_text(item)}")
        return [(str(place), place, item) for place, item in enumerate(ordered)]
    if isinstance(value, TensorEntry):
        return [] if value.attributes is None else [(ATTRIBUTES, ATTRIBUTES, value.attributes)]
    return _children_of_stub(value, budget) if isinstance(value, Stub) else []


def _children_by_key(
    pairs: Collection[tuple[FileValue, FileValue]], above: str, budget: Budget
) -> list[tuple[str, FileValue, FileValue]]:
    """The values of (key, value) pairs, and those keys of which the path does not say all: tensors, objects."""
    keys = [key for key, _ in pairs]
    names = [key for key in keys if type(key) is str]
    length = sum(map(len, names)) + (sum(map(_length, keys)) if len(names) < len(keys) else 0)
    budget.take(OF_A_BYTE * length, MEMORY_OF_A_CHILD * len(pairs))
    if len(names) == len(keys):  # nearly every dict
        return [(above + part, key, item) for part, (key, item) in zip(key_parts(keys), pairs, strict=True)]
    found: list[tuple[str, FileValue, FileValue]] = []
    for part, (key, item) in zip(key_parts(keys), pairs, strict=True):
        if type(key) is not str and _is_more_than_its_text(key):
            found.append((f"{above}{part}/{KEY}", None, key))
        found.append((f"{above}{part}", key, item))
    return found


def _is_more_than_its_text(key: FileValue) -> bool:
    if isinstance(key, (tuple, frozenset)):
        return any(map(_is_more_than_its_text, key))
    return isinstance(key, (TensorEntry, torch.Tensor, Storage)) or (isinstance(key, Stub) and key.args is not None)


def _children_of_stub(stub: Stub, budget: Budget) -> list[tuple[str, FileValue, FileValue]]:
    if stub.args is None:
        return []
    parts: list[tuple[str, FileValue, FileValue]] = [("__class__", "__class__", key_text(stub))]
    parts += [("args", "args", stub.args)] if stub.args else []
    parts += [("state", "state", stub.state)] if stub.state is not None else []
    parts += [("items", "items", stub.items)] if stub.items else []
    return parts + _children_by_key(stub.entries, "entries/", budget)


def _unused(where: str, used: dict[str, int]) -> str:
    """The path, with a number where another leaf has it: keys with slashes may read like nested ones."""
    name = where
    while name in used:
        used[where] += 1
        name = f"{where}#{used[where]}"
    used[name] = 1
    return name
