"""How a file is put together, beside the bytes of its leaves: types of containers and keys, attributes of tensors, what
shares memory, the order of keys.

Equal leaves are not yet equal files: a key 8 and a key "8", a tuple and a list, a deque with and without `maxlen`, a
parameter and a tensor read alike by their paths. Nothing is loaded.
"""

import hashlib
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

import numpy
import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import MetaTensor, StoredTensor, TensorEntry
from dora_repro.checkpoint.walking import MAX_KEY, PLAIN, key_parts, walk
from dora_repro.private_names.of_torch import METADATA

_T = TypeVar("_T")
_SHARED = (list, dict, set, bytearray, deque, numpy.ndarray, torch.Tensor)  # objects, of which two names may be one


@dataclass
class Structure:
    """What a walk through a file saw beside its leaves.

    Attributes:
        kinds: path of a container, tensor or array -> what it is, in words: `deque(maxlen=3)`, `parameter`.
        keys: path of a dictionary -> the texts of its keys in order, and of each that is no string its type.
        shared: path of what is held at several places -> a mark that all these have in common.
        offsets: path of a tensor -> where in the memory that it shares it begins, in bytes.
        devices: path of a tensor -> the device that it was saved from.
        budget: what is left of what the file that is walked may take.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    budget: Budget = field(default_factory=lambda: Budget(0))
    _marks: dict[tuple[int, str], int] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=count)

    def begin_file(self, budget: Budget) -> None:
        """Nothing is shared by two files, though objects of the second may lie where those of the first did.

        Args:
            budget: what is left of what reading the file may take.
        """
        self._marks.clear()
        self.budget = budget

    def add(self, where: str, value: FileValue) -> None:
        """Note one value.

        Args:
            where: its path in the checkpoint.
            value: as the file holds it.
        """
        kind = kind_in_words(value, self.budget)
        if kind:
            self.kinds[where] = kind
        if isinstance(value, dict):
            self.keys[where] = dict(zip(key_parts(list(value)), map(_key_type, value), strict=True))
        if isinstance(value, Stub) and value.entries:
            keys = [key for key, _ in value.entries]
            self.keys[f"{where}/entries"] = dict(zip(key_parts(keys), map(_key_type, keys), strict=True))
        if isinstance(value, StoredTensor):
            self.devices[where] = value.storage.location
            self.offsets[where] = value.storage.start + value.offset * value.dtype.itemsize
            self._mark(where, id(value.storage.source), value.storage.key)
        elif isinstance(value, _SHARED) or (isinstance(value, Stub) and value.args is not None):
            self._mark(where, id(value), "")

    def renamed(self, names: Mapping[str, str]) -> "Structure":
        """The same, with some paths of leaves renamed."""

        def moved(of_paths: dict[str, _T]) -> dict[str, _T]:
            return {names.get(path, path): value for path, value in of_paths.items()}

        return Structure(
            moved(self.kinds), moved(self.keys), moved(self.shared), moved(self.offsets), moved(self.devices)
        )

    def _mark(self, where: str, owner: int, key: str) -> None:
        if (owner, key) not in self._marks:
            self._marks[owner, key] = next(self._count)
        self.shared[where] = self._marks[owner, key]


def kind_in_words(value: FileValue, budget: Budget) -> str:
    """What a container, a tensor or an array is, beside its contents; empty for anything else.

    Args:
        value: as the file holds it.
        budget: what reading the file may take.
    """
    if isinstance(value, PLAIN):
        return ""
    if isinstance(value, TensorEntry):
        return _tensor_in_words(value)
    if isinstance(value, torch.Tensor):
        return "tensor"
    if isinstance(value, numpy.ndarray):
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        return "array in Fortran order" if fortran else "array"
    if isinstance(value, deque):
        return "deque" if value.maxlen is None else f"deque(maxlen={value.maxlen})"
    if isinstance(value, defaultdict):
        factory = value.default_factory
        return f"defaultdict({getattr(factory, '__name__', factory)})"
    if isinstance(value, OrderedDict):
        metadata = getattr(value, METADATA, None)
        return "OrderedDict" if metadata is None else f"OrderedDict with {METADATA} {_fingerprint(metadata, budget)}"
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return type(value).__name__
    return "object" if isinstance(value, Stub) and value.args is not None else ""


def _tensor_in_words(entry: TensorEntry) -> str:
    words = [f"{entry.kind} (a class of its own)" if entry.kind else "parameter" if entry.is_parameter else "tensor"]
    if entry.requires_grad != entry.is_parameter:
        words.append("that requires grad" if entry.requires_grad else "that requires no grad")
    if entry.attributes is not None:
        words.append("with attributes")
    if isinstance(entry, MetaTensor):
        words.append("without bytes")
    if isinstance(entry, StoredTensor) and (entry.conjugated or entry.negated):
        words.append("stored as its " + " ".join(["negative"] * entry.negated + ["conjugate"] * entry.conjugated))
    if isinstance(entry, (StoredTensor, MetaTensor)) and not _is_contiguous(entry):
        strides = [step if size != 1 else 1 for size, step in zip(entry.shape, entry.stride, strict=True)]
        words.append(f"with strides {strides}")
    return " ".join(words)


def _is_contiguous(entry: StoredTensor | MetaTensor) -> bool:
    """Whether the elements lie in order, whatever strides stand where there is but one."""
    if 0 in entry.shape:
        return True
    expected = 1
    for size, step in zip(reversed(entry.shape), reversed(entry.stride), strict=True):
        if size != 1:
            if step != expected:
                return False
            expected *= size
    return True


def _fingerprint(metadata: FileValue, budget: Budget) -> str:
    """A short text that is the same for the same plain values; walked, since its repr may be of any size."""
    digest = hashlib.blake2s(digest_size=4)
    for node in walk(metadata, None, lambda around, key, value: None, budget):
        plain = node.value if isinstance(node.value, PLAIN) else len(node.value) if isinstance(node.value, Sized) else 0
        digest.update(f"{node.path} {type(node.value).__name__} {plain!r}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _key_type(key: FileValue) -> str:
    """The type of a key that is no string; for a string that does not read as it is, all of it."""
    if isinstance(key, str):
        return "" if key and key.isprintable() and len(key) <= MAX_KEY else repr(key)
    return key.name if isinstance(key, Stub) else type(key).__name__
