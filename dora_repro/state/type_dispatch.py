"""What a walk does with a value, told by its type alone; how objects of a type hold attributes; keys as text.

`isinstance` would ask a value for its `__class__`, `hasattr` for its attributes: lazy proxies and objects that
raise are common in training scripts, and looking must not wake them.
"""

import sys
import types
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import torch

from dora_repro.state import rng
from dora_repro.state.codecs import codec_of
from dora_repro.state.digest import PLAIN_SCALARS, digest, is_plain

MAX_KEY = 200  # characters of a key in a path; a longer one is cut, and told from others by its digest

# What a walk does with a value: at once (a leaf, or listed), or when its turn comes (taken apart by a reader).
SCALAR, TENSOR, GENERATOR, ARRAY, ENCODED, LISTED, SHARED, UNSHARED = range(8)

READERS: list[tuple[type, Callable]] = []  # type -> reader(walker, value, path, hold, role); the first match wins
PLUMBING: list[type] = []  # listed as uncaptured: locks, files, modules
PLUMBING_MODULES: list[str] = []  # the same, by the module or package that a class comes from
UNSHARED_TYPES: list[type] = []  # whose identity means nothing (a tuple, a function): no alias is made of them
GENERATORS = rng.PRIVATE_GENERATORS
MUTABLE = (list, dict, set, deque, torch.Tensor, np.ndarray, *GENERATORS)


@lru_cache(maxsize=4096)
def way(kind: type) -> tuple[int, object]:
    """What to do with values of a type, and for ENCODED their codec, for SHARED and UNSHARED their reader if any."""
    if kind in PLAIN_SCALARS:
        return SCALAR, None
    if issubclass(kind, torch.Tensor):
        return TENSOR, None
    if issubclass(kind, rng.PRIVATE_GENERATORS):
        return GENERATOR, None
    if issubclass(kind, np.ndarray):
        return ARRAY, None
    codec = codec_of(kind)
    if codec is not None:
        return ENCODED, codec
    reader = next((reader for base, reader in READERS if issubclass(kind, base)), None)
    if reader is None and (issubclass(kind, tuple(PLUMBING)) or comes_from(kind, PLUMBING_MODULES)):
        return LISTED, None
    return UNSHARED if issubclass(kind, tuple(UNSHARED_TYPES)) else SHARED, reader


def module_of(kind: type) -> str:
    """The module a class was defined in, whatever the class makes of `__module__`."""
    module = kind.__dict__.get("__module__", "builtins")
    return module if type(module) is str else ""


def comes_from(kind: type, modules: Iterable[str]) -> bool:
    """Whether a class was defined in one of these modules or packages."""
    return f"{module_of(kind)}.".startswith(tuple(f"{module}." for module in modules))


def type_name(value: object) -> str:
    """`module.Class` of a value; with its own name where it is a class or module."""
    kind = type(value)
    name = kind.__qualname__ if module_of(kind) == "builtins" else f"{module_of(kind)}.{kind.__qualname__}"
    return f"{name} {value.__name__}" if issubclass(kind, (types.ModuleType, type)) else name


def held_by(value: object) -> dict[str, object] | None:
    """What an object's own attributes and slots hold, no property among them; None where it can have neither.

    May be the live dictionary: not to be written to.
    """
    has_dict, slots = _storage_of(type(value))
    held = object.__getattribute__(value, "__dict__") if has_dict else {} if slots else None
    if not slots:
        return held
    held = dict(held)
    for name, slot in slots:
        try:
            held[name] = slot.__get__(value)
        except AttributeError:  # not set
            continue
    return held


_REAL_DICT = (types.GetSetDescriptorType, types.MemberDescriptorType)


@lru_cache(maxsize=4096)
def _storage_of(kind: type) -> tuple[bool, tuple[tuple[str, object], ...]]:
    """Whether objects of a type have a real `__dict__`, and their slots as (name, descriptor)."""
    slots = {}
    has_dict = kind.__dictoffset__ != 0
    for base in reversed(kind.__mro__):
        if "__dict__" in base.__dict__ and type(base.__dict__["__dict__"]) not in _REAL_DICT:
            has_dict = False  # made up by a property
        if "__slots__" in base.__dict__:
            slots.update((n, d) for n, d in base.__dict__.items() if type(d) is types.MemberDescriptorType)
    return has_dict, tuple(sorted(slots.items()))


def class_state(kind: type) -> dict[str, tuple[type, object]]:
    """Lists, dicts, tensors, generators that hang on the user's classes of a type: a common place for state to hide."""
    found: dict[str, tuple[type, object]] = {}
    for base in _own_bases(kind):
        for name, item in sorted(base.__dict__.items()):
            if issubclass(type(item), MUTABLE) and not name.startswith("__"):
                found.setdefault(name, (base, item))
    return found


@lru_cache(maxsize=4096)
def _own_bases(kind: type) -> tuple[type, ...]:
    return tuple(base for base in kind.__mro__ if module_of(base).partition(".")[0] not in LIBRARIES)


LIBRARIES = {
    "torch", "torchvision", "torchdata", "torchmetrics", "numpy", "transformers", "tokenizers", "datasets", "peft",
    "accelerate", "lightning", "lightning_fabric", "pytorch_lightning", "sklearn", "pandas", "PIL",
} | sys.stdlib_module_names  # fmt: skip


def key_text(key: object) -> str:
    """A dictionary's key as one component of a path (`/` and `~` are escaped as in JSON pointers).

    The same in every process: a key that has no text of its own is given by its type alone.
    """
    if type(key) is not str:
        codec = codec_of(type(key))
        if codec is not None:
            key = codec.encode(key)
        if issubclass(type(key), (types.FunctionType, type)):
            key = f"{key.__module__}.{key.__qualname__}"
        elif is_plain(key):
            key = _stable(key)
        else:
            key = type(key).__name__
    if len(key) > MAX_KEY:
        key = f"{key[:MAX_KEY]}…{digest(key).hex()[:16]}"
    return key.replace("~", "~0").replace("/", "~1") if "/" in key or "~" in key else key


def _stable(key: object) -> str:
    """`repr` of a plain key, where a set's order is not that of the hash seed."""
    if type(key) is frozenset:
        return f"{{{', '.join(sorted(map(_inside, key)))}}}"
    if type(key) is tuple:
        return f"({', '.join(map(_inside, key))}{',' if len(key) == 1 else ''})"
    return key if type(key) is str else repr(key)


def _inside(key: object) -> str:
    return repr(key) if type(key) is str else _stable(key)
