"""State of a run outside of its objects: variables of the modules that its code is in.

A generator at the top of a script, a count that functions assign with `global`, a list that they append to: state that
no object of the run refers to. Which variables those are is read from the code of the run's class and of the functions
and classes that it names, libraries excluded (`source_names.py`, `bytecode_names.py`). Constants are no state, nor is a
list that is only read.
"""

import functools
import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.state.attributes import LIBRARIES, module_of
from dora_repro.state.bytecode_names import names_in_bytecode
from dora_repro.state.codecs import codec_of
from dora_repro.state.rng import PRIVATE_GENERATORS, global_name
from dora_repro.state.source_names import Names, names_in_source

PREFIX = "globals."  # of their names among a run's objects

_STATEFUL = (*PRIVATE_GENERATORS, torch.nn.Module, torch.optim.Optimizer)
_OWN = __name__.partition(".")[0]  # the runs of this kit are treated as a user's, wherever it is installed


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable of a module.

    Attributes:
        namespace: the module's `__dict__`, live.
        name: of the variable in it.
    """

    namespace: dict[str, Value]
    name: str


def variables_of(kind: type) -> dict[str, Variable]:
    """Name among a run's objects -> variable, of those that are there: `globals.NAME` of the module of the run's class,
    `globals.module.NAME` of others."""
    return {name: found for name, found in _named_by(kind).items() if found.name in found.namespace}


@functools.lru_cache(maxsize=256)
def _named_by(kind: type) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    waiting, seen = deque(_functions_of(kind)), set()
    while waiting:
        function = waiting.popleft()
        if function.__code__ in seen:
            continue
        seen.add(function.__code__)
        module = "" if function.__module__ == module_of(kind) else f"{function.__module__}."
        for name, changed in names_of(function).items():
            value: Any = function.__globals__.get(name)
            if issubclass(type(value), types.FunctionType):
                waiting.extend([_inner(value)] if _is_users(value) else ())
            elif issubclass(type(value), type):
                waiting.extend(_functions_of(value) if _is_users(value) else ())
            elif changed or _is_stateful(value):
                found.setdefault(f"{PREFIX}{module}{name}", Variable(function.__globals__, name))
    return dict(sorted(found.items()))


def _is_stateful(value: Value) -> bool:
    """Whether a variable that is only read may change by that: a generator, a model, an object of a user's class."""
    kind = type(value)  # of a lazy proxy, which isinstance would wake, the proxy's own
    if issubclass(kind, _STATEFUL):
        return global_name(value) is None
    if issubclass(kind, types.ModuleType) or codec_of(kind) is not None:
        return False
    return not callable(value) and _is_users(kind)


def _is_users(thing: types.FunctionType | type) -> bool:
    """Whether a function or class belongs to no library."""
    top = str(thing.__module__).partition(".")[0]
    if top in ("__main__", _OWN):  # the file of `__main__` may be Jupyter's
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return not (installed or top in LIBRARIES)


def _functions_of(kind: type) -> Iterator[types.FunctionType]:
    """The functions that a class and its bases define, libraries excluded."""
    for base in kind.__mro__:
        if not _is_users(base):
            continue
        for item in base.__dict__.values():
            inside = next((names for kinds, names in _AROUND.items() if issubclass(type(item), kinds)), ())
            parts = (getattr(item, name) for name in inside) if inside else (item,)
            yield from (_inner(part) for part in parts if issubclass(type(part), types.FunctionType))


# What a class holds a function in -> the attributes that have it.
_AROUND: dict[tuple[type, ...], tuple[str, ...]] = {
    (staticmethod, classmethod): ("__func__",),
    (property,): ("fget", "fset"),
    (functools.cached_property, functools.partialmethod): ("func",),
}


def _inner(function: types.FunctionType) -> types.FunctionType:
    """The function inside its decorators, as `torch.no_grad()` is one."""
    inner: Any = function
    while issubclass(type(inner), types.FunctionType):
        function, inner = inner, inner.__dict__.get("__wrapped__")
    return function


_used: dict[types.CodeType, Names] = {}


def names_of(function: types.FunctionType) -> Names:
    """The global names of a function and of those inside it, from its source or else from its bytecode."""
    code = function.__code__
    if code not in _used:
        names = names_in_source(function)
        _used[code] = names_in_bytecode(code) if names is None else names
    return _used[code]
