"""What a walk does with a value, decided by its type alone: one table, filled where it is made (`walk.py`).

After torch's `_pytree.register_pytree_node`: types are listed explicitly, and one that is listed twice is refused. A
value itself is not touched: `isinstance` would read its `__class__`, and lazy proxies are common in training scripts.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
import torch

from dora_repro.state.attributes import GENERATORS, comes_from, module_of
from dora_repro.state.codecs import Codec, codec_of
from dora_repro.state.digest import PLAIN_SCALARS
from dora_repro.state.per_type import per_type

Reader = TypeVar("Reader")

@enum.unique
class Way(enum.Enum):
    """What a walk does with a value: at once (a leaf, or listed), or when its turn comes (taken apart by a reader)."""

    SCALAR = "a leaf"
    TENSOR = "a leaf, or an alias of one over the same bytes"
    GENERATOR = "a leaf: its state"
    ARRAY = "a leaf, or listed where its items are objects"
    ENCODED = "a leaf: what its codec makes of it"
    LISTED = "listed as uncaptured: a lock, a file, a module"
    SHARED = "taken apart, or an alias of one that was"
    UNSHARED = "taken apart wherever it is: its identity means nothing (a tuple, a function)"


class Table(Generic[Reader]):
    """The way of every type, and its reader where it has one.

    Args:
        readers: (type, reader); the first whose type a value's is or derives from reads it. A type without a reader is
            read by its attributes.
        readers_by_name: `module.Class` -> reader, of types of libraries that need not be installed.
        unshared: types whose identity means nothing, so that no alias is made of them.
        in_place: types with a codec whose values change in place, so that their readers come first.
        plumbing: types that are listed as uncaptured, if no reader takes them.
        plumbing_modules: modules and packages whose classes are such.

    Raises:
        ValueError: two readers for one type.
    """

    def __init__(
        self,
        readers: Iterable[tuple[type, Reader]],
        readers_by_name: Mapping[str, Reader] | None = None,
        unshared: Iterable[type] = (),
        in_place: Iterable[type] = (),
        plumbing: Iterable[type] = (),
        plumbing_modules: Iterable[str] = (),
    ):
        self._readers: dict[type, Reader] = {}
        for kind, reader in readers:
            if kind in self._readers:
                raise ValueError(f"two readers for {kind.__module__}.{kind.__qualname__}")
            self._readers[kind] = reader
        self._readers_by_name = dict(readers_by_name or {})
        self._unshared, self._plumbing, self._in_place = tuple(unshared), tuple(plumbing), tuple(in_place)
        self._plumbing_modules = tuple(plumbing_modules)
        self.way = per_type(self._way)

    def _way(self, kind: type) -> tuple[Way, Codec | None, Reader | None]:
        """What to do with values of a type, with the codec of ENCODED and the reader of SHARED and UNSHARED."""
        if kind in PLAIN_SCALARS:
            return Way.SCALAR, None, None
        for base, way in ((torch.Tensor, Way.TENSOR), (GENERATORS, Way.GENERATOR), (np.ndarray, Way.ARRAY)):
            if issubclass(kind, base):
                return way, None, self._readers.get(base) if isinstance(base, type) else None
        codec = codec_of(kind)
        if codec is not None and not issubclass(kind, self._in_place):
            return Way.ENCODED, codec, None
        reader = next((reader for base, reader in self._readers.items() if issubclass(kind, base)), None)
        if reader is None and self._readers_by_name:
            names = (f"{module_of(base)}.{base.__qualname__}" for base in kind.__mro__)
            reader = next((self._readers_by_name[name] for name in names if name in self._readers_by_name), None)
        if reader is None and (issubclass(kind, self._plumbing) or comes_from(kind, self._plumbing_modules)):
            return Way.LISTED, None, None
        return Way.UNSHARED if issubclass(kind, self._unshared) else Way.SHARED, None, reader
