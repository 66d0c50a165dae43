"""Make what a snapshot has and a run lacks: values, lists, dicts and all that was in them.

Objects of classes are not made here: the run alone knows what building them takes (`objects.py` has them whole).
"""

import marshal
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state.attributes import type_name
from dora_repro.state.codecs import decode
from dora_repro.state.digest import is_plain
from dora_repro.state.keys import LEAST_ID, OF_ID, is_coded, key_text, key_type
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.making import NotRestorable, key_of, of_value
from dora_repro.state.paths import ancestors

BUILT = (dict, OrderedDict, list, tuple, deque)  # containers that can be made from nothing but what they hold
_BY_NAME: dict[str, Callable[[Any], Value]] = {kind.__name__: kind for kind in BUILT}
_MAPPINGS = ("dict", "OrderedDict")
RANGE_ITERATOR = "range_iterator"  # name of the kind of an iterator over a range, whose leaf is what is left of it
VARIABLES = "variables"  # name of the kind of what stands for the variables of a function that is half done
ARGUMENTS = "arguments"  # name of the kind of what stands for those of a call that has not begun
PARTS = "parts"  # name of the kind of what stands for the parts of a library


@dataclass(frozen=True, slots=True)
class Kind:
    """What is needed to make a container or value again.

    Attributes:
        name: of its type; with its module where it cannot be made.
        keys: a dict's (text in paths, key); None where keys were objects that have no name.
        size: number of items.
        maxlen: bound of a deque.
        keyed: of a dict whose keys are tensors or modules: (text in paths, path of that object).
        coded: of a dict, (text in paths, type) of keys that are no plain data and are made of their text: members of an
            enum, numpy's numbers, paths. Of parts of a library, (text in paths, code that reads it).
    """

    name: str
    keys: tuple[tuple[str, Any], ...] | None = None
    size: int = 0
    maxlen: int | None = None
    keyed: tuple[tuple[str, str], ...] = ()
    coded: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, container: Any, keyed: Mapping[str, str] | None = None) -> "Kind | None":
        """The kind of a live container; None for any other object.

        Args:
            container: the object.
            keyed: text in paths -> path, of keys that are tensors or modules.
        """
        if isinstance(container, WeakKeyDictionary):
            return cls(type_name(container), None, len(container), None, tuple((keyed or {}).items()))
        if isinstance(container, WeakValueDictionary):
            names = tuple((key_text(key), key) for key in list(container.keys()) if is_plain(key))
            return cls(type_name(container), names, len(names))
        if not isinstance(container, (*BUILT, set, frozenset)):
            return None
        known = type(container) in (*BUILT, set, frozenset)
        name = type(container).__name__ if known else type_name(container)
        keys, keyed = None, keyed or {}
        coded: tuple[tuple[str, str], ...] = ()
        if isinstance(container, dict):
            ids = any(at.startswith(OF_ID) for at in keyed.values())
            plain = [key for key in _keys(container) if is_plain(key) and not (ids and _looks_like_id(key))]
            coded = tuple((key_text(key), key_type(key)) for key in _keys(container) if is_coded(key))
            if len(plain) + len(keyed) + len(coded) == dict.__len__(container):
                keys = tuple((key_text(key), key) for key in plain)
        size, bound = sum(1 for _ in _items(container)), container.maxlen if isinstance(container, deque) else None
        return cls(name, keys, size, bound, tuple(keyed.items()), coded)


def _keys(container: dict[Any, Value]) -> Iterator[Any]:
    """In their order: that of an OrderedDict is its own, which `dict` does not know."""
    return OrderedDict.__iter__(container) if isinstance(container, OrderedDict) else dict.__iter__(container)


def _looks_like_id(key: Value) -> bool:
    return type(key) is int and key >= LEAST_ID


NO_KIND = Kind("")  # of what is no container, or of which no more is known


def _items(container: Any) -> Iterator[Any]:
    """By the base's own method, whatever a subclass overrides."""
    base: Any = next(base for base in (*BUILT, set, frozenset) if isinstance(container, base))
    items: Iterator[Any] = base.__iter__(container)
    return items


def is_built(kind: Kind | None) -> bool:
    """Whether a container of this kind is made of nothing but what it holds."""
    return kind is not None and kind.name in _BY_NAME


class Maker:
    """Makes what a snapshot has at a path, as far as it is chosen.

    Args:
        wanted: the leaves of the snapshot by path.
        kinds: its containers by path.
        chosen: paths of the leaves that are to be put back.
        object_at: gives the live object of a path, for keys and aliases.
        object_made: makes an object of a class, which the leaves do not say how to build.
    """

    def __init__(
        self,
        wanted: Mapping[str, SavedLeaf],
        kinds: Mapping[str, Kind],
        chosen: set[str],
        object_at: Callable[[str], Any],
        object_made: Callable[[str], Any],
    ):
        self.wanted, self.kinds, self.chosen = wanted, kinds, chosen
        self._object_at, self._object_made = object_at, object_made
        self._above_chosen, self._above_wanted = ancestors(chosen), ancestors(wanted)

    def __call__(self, path: str) -> Any:
        """What the snapshot has at a path, made anew.

        Raises:
            NotRestorable: it cannot be made.
        """
        saved, kind = self.wanted.get(path), self.kinds.get(path)
        if saved is not None:
            if saved.role == "generator":
                return self._object_made(path)
            if saved.role == "alias":
                return self._shared(str(saved.value)[2:])
            if not saved.kept:
                raise NotRestorable("stored by digest alone")
            return _rebuilt(kind, copied(saved.value))
        if kind is None or kind.name not in _BY_NAME:
            return self._object_made(path)
        return self._mapping(path, kind) if kind.name in _MAPPINGS else self._sequence(path, kind)

    def _shared(self, path: str) -> Any:
        """What is live at a path, for another place; a leaf of its own where nothing is yet: entries of a buffer share
        arrays, and each can only be made whole. Once both places are there, the next round ties them."""
        try:
            return self._object_at(path)
        except NotRestorable:
            if path not in self.chosen or path not in self.wanted:
                raise
            return self(path)

    def _mapping(self, path: str, kind: Kind) -> Any:
        if kind.keys is None:
            raise NotRestorable("its keys were objects")
        texts = (*dict(kind.keys), *dict(kind.keyed), *dict(kind.coded))
        chosen = {text: f"{path}/{text}" for text in texts if self.is_chosen(f"{path}/{text}")}
        return _BY_NAME[kind.name]((self.key(kind, text), self(at)) for text, at in chosen.items())

    def _sequence(self, path: str, kind: Kind) -> Any:
        places = [f"{path}/{index}" for index in range(kind.size)]
        unknown = [at for at in places if not (at in self.wanted or at in self.kinds or at in self._above_wanted)]
        if unknown:
            raise NotRestorable(f"the snapshot has no {unknown[0]!r}")
        if not all(map(self.is_chosen, places)):
            raise NotRestorable("only some of the items of its sequence were chosen")
        return _built(kind, [self(at) for at in places])

    def key(self, kind: Kind, text: str) -> Any:
        """The key of a dict that has this text in paths.

        Raises:
            KeyError: the snapshot's dict had no such key.
            NotRestorable: the object that was the key is not there, or cannot be made.
        """
        of_objects, coded = dict(kind.keyed), dict(kind.coded)
        if text in of_objects:
            return self.object_key(of_objects[text])
        if text in coded:
            return key_of(coded[text], text)
        if kind.keys is None:
            raise NotRestorable("its keys were objects")
        return dict(kind.keys)[text]

    def object_key(self, at: str) -> Any:
        """The key that stands for an object: itself, or its id, where `at` is its path after `OF_ID`.

        Raises:
            NotRestorable: it is not there.
        """
        return id(self._object_at(at.removeprefix(OF_ID))) if at.startswith(OF_ID) else self._object_at(at)

    def is_above_wanted(self, path: str) -> bool:
        """Whether the snapshot has something below a path."""
        return path in self._above_wanted

    def is_chosen(self, path: str) -> bool:
        """Whether a leaf at a path or below it is to be put back; of an empty container always."""
        empty = path in self.kinds and path not in self.wanted and path not in self._above_wanted
        return path in self.chosen or path in self._above_chosen or empty


def _built(kind: Kind, items: Any) -> Any:
    return deque(items, kind.maxlen) if kind.name == "deque" else _BY_NAME[kind.name](items)


def _rebuilt(kind: Kind | None, plain: Any) -> Any:
    """What a plain value stands for."""
    if kind is None or kind.name == type(plain).__name__:
        return plain
    if kind.name in _BY_NAME:
        return _built(kind, plain)
    if kind.name == RANGE_ITERATOR:
        return iter(range(*plain[1:]))
    try:
        return decode(kind.name, plain)
    except KeyError:
        return of_value(kind.name, plain, kind.maxlen)


def copied(value: Any) -> Any:
    """A saved value of its own: what is done to it later is not done to the snapshot."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (list, dict, set)):
        return marshal.loads(marshal.dumps(value, 2))
    if type(value) is tuple:  # of an iterator: the list that it goes round in
        return tuple(map(copied, value))
    return value
