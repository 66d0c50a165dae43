"""The attributes of objects and the names of their classes, read without waking them.

No property, `__getattr__`, `__class__` or `__eq__` of a value is called: lazy proxies and objects that raise are common
in training scripts, and reading must not change what it reads.
"""

import array
import contextvars
import enum
import functools
import io
import mmap
import queue
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.printable import one_line
from dora_repro.state import rng
from dora_repro.state.digest import PLAIN_SCALARS
from dora_repro.state.per_type import per_type

GENERATORS = rng.PRIVATE_GENERATORS
# What keeps values for other code without being a container of its own: read by `holders.py` and `members.py`.
HOLDERS = (
    array.array, bytearray, memoryview, mmap.mmap, io.StringIO, io.BytesIO, queue.Queue, queue.SimpleQueue,
    weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet,
)  # fmt: skip
MUTABLE = (list, dict, set, deque, torch.Tensor, np.ndarray, *HOLDERS, *GENERATORS)

LIBRARIES = {
    "torch", "torchvision", "torchdata", "torchmetrics", "numpy", "transformers", "tokenizers", "datasets", "peft",
    "accelerate", "lightning", "lightning_fabric", "pytorch_lightning", "sklearn", "pandas", "PIL", "safetensors",
    "huggingface_hub", "scipy", "matplotlib", "yaml", "tqdm", "wandb", "tensorboard", "mlflow",
} | sys.stdlib_module_names  # fmt: skip


_OWN = __name__.partition(".")[0]  # the runs of this kit are treated as a user's, wherever it is installed
_ROOMS = ("driving", "scripts", "integrations", "journal", "recording", "sides", "state")  # these drive and watch runs
_AROUND = tuple(f"{_OWN}.{room}." for room in _ROOMS)


def is_around_runs(name: str) -> bool:
    """Whether a module of this kit drives or watches runs: it is no part of any, though its hooks may be."""
    return f"{name}.".startswith(_AROUND)


@functools.lru_cache(maxsize=4096)
def is_users_module(name: str) -> bool:
    """Whether a module belongs to no library."""
    top = name.partition(".")[0]
    if is_around_runs(name):
        return False
    if top in ("__main__", _OWN):  # the file of `__main__` may be Jupyter's
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return bool(top) and not (installed or top in LIBRARIES)


_MODULE: Any = type.__dict__["__module__"]  # of types written in C as well, whose `__dict__` has none


def module_of(kind: type) -> str:
    """The module a class was defined in, whatever the class makes of `__module__`."""
    module = _MODULE.__get__(kind)
    return module if type(module) is str else ""


def comes_from(kind: type, modules: Iterable[str]) -> bool:
    """Whether a class was defined in one of these modules or packages."""
    return f"{module_of(kind)}.".startswith(tuple(f"{module}." for module in modules))


def name_of_type(kind: type) -> str:
    """`module.Class`, for builtins the name alone."""
    return one_line(kind.__qualname__ if module_of(kind) == "builtins" else f"{module_of(kind)}.{kind.__qualname__}")


def type_name(value: Value) -> str:
    """`module.Class` of a value; with its own name where it is a class or module."""
    kind = type(value)
    name = name_of_type(kind)
    if issubclass(kind, (types.ModuleType, type)) and isinstance(value, (types.ModuleType, type)):
        return f"{name} {one_line(value.__name__)}"
    return name


def attributes_of(value: Value) -> Mapping[str, Value] | None:
    """An object's own attributes and slots by name, no property among them; None where it can have neither.

    May be the live dictionary: not to be written to.
    """
    has_dict, slots = _storage_of(type(value))
    attributes: dict[str, Value] | None = {} if slots else None
    if has_dict:
        attributes = object.__getattribute__(value, "__dict__")
    if not slots:
        return attributes
    attributes = dict(attributes or {})
    for name, slot in slots:
        try:
            attributes[name] = slot.__get__(value)
        except AttributeError:  # not set
            continue
    return attributes


_REAL_DICT = (types.GetSetDescriptorType, types.MemberDescriptorType)


@per_type
def _storage_of(kind: type) -> tuple[bool, tuple[tuple[str, Any], ...]]:
    """Whether objects of a type have a real `__dict__`, and their slots as (name, descriptor)."""
    slots: dict[str, Any] = {}
    has_dict = kind.__dictoffset__ != 0
    for base in reversed(kind.__mro__):
        if "__dict__" in base.__dict__ and type(base.__dict__["__dict__"]) not in _REAL_DICT:
            has_dict = False  # made up by a property
        if "__slots__" in base.__dict__:
            slots.update((n, d) for n, d in base.__dict__.items() if type(d) is types.MemberDescriptorType)
    return has_dict, tuple(sorted(slots.items()))


def set_attribute(holder: Value, name: str, value: Value) -> None:
    """Set an attribute past `__setattr__` of frozen dataclasses, but by a module's own (it registers parameters)."""
    if isinstance(holder, (torch.nn.Module, threading.local)):
        setattr(holder, name, value)
    elif isinstance(holder, contextvars.ContextVar):
        holder.set(value)
    else:
        object.__setattr__(holder, name, value)


def is_class_default(holder: Value, name: str, value: Value) -> bool:
    """Whether an object would have this very plain value at this name without an attribute of its own, from its
    class."""
    for base in type(holder).__mro__:
        if name in base.__dict__:
            default = base.__dict__[name]
            return type(default) is type(value) and type(value) in PLAIN_SCALARS and bool(default == value)
    return False


def class_state(kind: type) -> dict[str, tuple[type, Value]]:
    """Lists, dicts, tensors, generators, objects that hang on the user's classes of a type: a common place for state to
    hide. An object there may be a decorator, which counts the calls of a method.

    Returns:
        name -> (the class that has it, the object).
    """
    state: dict[str, tuple[type, Value]] = {}
    for base in _own_bases(kind):
        for name, item in sorted(base.__dict__.items()):
            if (issubclass(type(item), MUTABLE) or _is_users_object(type(item))) and not name.startswith("__"):
                state.setdefault(name, (base, item))
    return state


@per_type
def _is_users_object(kind: type) -> bool:
    return is_users_module(module_of(kind)) and not issubclass(kind, _OF_CLASSES)


_OF_CLASSES = (type, enum.Enum, property, staticmethod, classmethod, functools.cached_property)


@per_type
def _own_bases(kind: type) -> tuple[type, ...]:
    return tuple(base for base in kind.__mro__ if module_of(base).partition(".")[0] not in LIBRARIES)
