"""State of a run outside of its objects: variables of the modules that its code is in.

A generator at the top of a script, a count that functions assign with `global`, a list that they append to, a number on
a class: state that no object of the run refers to. Which variables those are is read from the code of the run's class,
of what it holds (`held_code.py`), and of the functions and classes that these name, also through modules
(`helpers.scaled(loss)`) and decorators (`source_names.py`, `bytecode_names.py`). Constants are no state, nor is a list
that is only read. Libraries are not followed; of those that the code names, the generators at their top are state.
"""

import contextvars
import ctypes
import decimal
import enum
import functools
import importlib.util
import io
import sys
import threading
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.state.attributes import HOLDERS, LIBRARIES, MUTABLE, is_around_runs, is_users_module, module_of
from dora_repro.state.codecs import codec_of
from dora_repro.state.function_names import names_of
from dora_repro.state.function_state import keeps_something, may_be_changed_by_others
from dora_repro.state.held_code import Code
from dora_repro.state.rng import PRIVATE_GENERATORS, global_name
from dora_repro.state.source_names import IMPORTED, OF_CLASS, PASSED

PREFIX = "globals."  # of their names among a run's objects

_STATEFUL = (
    *PRIVATE_GENERATORS, torch.nn.Module, torch.optim.Optimizer, threading.local, contextvars.ContextVar,
    *HOLDERS, ctypes.Array, ctypes.Structure, ctypes.Union, decimal.Context, io.TextIOWrapper, io.BufferedReader,
)  # fmt: skip
CACHED_FUNCTION: type = type(functools.lru_cache(len))
CACHE = "a cache, which cannot be looked into"  # of a function that remembers what it returned
_WELL_KNOWN = sys.stdlib_module_names | {"torch", "numpy"}  # their global generators are leaves of their own


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable of a module, or of a class.

    Attributes:
        namespace: the module's `__dict__`, live, or what sets the attributes of the class.
        name: of the variable in it.
    """

    namespace: MutableMapping[str, Value]
    name: str


class ClassNamespace(MutableMapping[str, Value]):
    """What a class itself has, by name; setting a name sets the attribute of the class."""

    def __init__(self, kind: type):
        self.kind = kind

    def __getitem__(self, name: str) -> Value:
        return self.kind.__dict__[name]

    def __setitem__(self, name: str, value: Value) -> None:
        setattr(self.kind, name, value)

    def __delitem__(self, name: str) -> None:
        delattr(self.kind, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kind.__dict__)

    def __len__(self) -> int:
        return len(self.kind.__dict__)


def variables_of(kind: type, held: Code = frozenset()) -> dict[str, Variable]:
    """Name among a run's objects -> variable, of those that are there: `globals.NAME` of the module of the run's class,
    `globals.module.NAME` of others, `globals.module.Class.NAME` of a class.

    Args:
        kind: the run's class.
        held: classes and functions of what the run holds.
    """
    found = named_variables(kind, held)
    return {name: variable for name, variable in found.items() if variable.name in variable.namespace}


def named_variables(kind: type, held: Code = frozenset()) -> Mapping[str, Variable]:
    """The same, with those that the code names and that are not there: it will make them, as `global count` may."""
    return _named_by(kind, held).variables


def not_followed(kind: type, held: Code = frozenset()) -> dict[str, str]:
    """What the code names and is not looked into: `globals.library` -> why."""
    return _named_by(kind, held).left_out


def functions_of(kind: type, held: Code = frozenset()) -> tuple[types.FunctionType, ...]:
    """The user's functions that a run may call, as far as its code names them."""
    return tuple(_named_by(kind, held).functions)


@dataclass
class _Found:
    variables: dict[str, Variable] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    functions: list[types.FunctionType] = field(default_factory=list)


@functools.lru_cache(maxsize=256)
def _named_by(kind: type, held: Code) -> _Found:
    reading = _Reading(kind)
    reading.read([*_functions_of(kind), *(pair for thing in held for pair in _code_of(thing))])
    found = reading.found
    return _Found(dict(sorted(found.variables.items())), dict(sorted(found.left_out.items())), found.functions)


class _Reading:
    """Reads the functions that a run may call, and notes the variables that they name.

    Args:
        kind: the run's class; what lies in its module needs no name of one.
    """

    def __init__(self, kind: type):
        self._kind = kind
        self._waiting: deque[_Function] = deque()
        self.found = _Found()

    def read(self, functions: Iterable["_Function"]) -> None:
        """Read these functions, and those that they name."""
        self._waiting.extend(functions)
        seen: set[tuple[types.CodeType, type | None]] = set()
        while self._waiting:
            one, owner = self._waiting.popleft()
            if (one.__code__, owner) in seen:
                continue
            seen.add((one.__code__, owner))
            self.found.functions.append(one)
            if owner is not None and owner.__dict__.get(one.__name__) is one and keeps_something(one):
                self._add(_Place(ClassNamespace(owner), one.__name__, module_of(owner)))
            if owner is not None and issubclass(type(owner.__dict__.get(one.__name__)), CACHED_FUNCTION):
                place = _Place(ClassNamespace(owner), one.__name__, module_of(owner))
                self.found.left_out.setdefault(self._name_of(place), CACHE)
            for name, changed in names_of(one).items():
                self._named(one, owner, name, changed)

    def _named(self, function: types.FunctionType, owner: type | None, name: str, changed: bool) -> None:
        """Follow one name, with its attributes, from where it is read."""
        at: _Place | None
        passed, name = name.startswith(PASSED), name.removeprefix(PASSED)
        root, *attributes = name.split(".")
        if root == OF_CLASS:
            at = None if owner is None else _Place({OF_CLASS: owner}, OF_CLASS, "")
        elif name.startswith(IMPORTED):
            at, attributes = _imported(name.removeprefix(IMPORTED), function)
        else:
            at = _Place(function.__globals__, root, _module_name(function))
        holder: _Place | None = None
        for attribute in attributes:
            if at is None:
                return
            holder = at
            if not self._is_followed(at.value):
                self._library(at.value)  # and of the modules inside it that are named, their own
                if not issubclass(type(at.value), types.ModuleType):
                    return
            inside = _inside(at.value, attribute)
            if inside is None and changed:  # of an object or function: it is what it holds
                self._met(at, True)
            at = inside
        if at is not None:
            self._met(at, changed or (passed and may_be_changed_by_others(at.value)))
        if changed and holder is not None and issubclass(type(holder.value), type) and _is_users(holder.value):
            # An assignment gives the class itself what it had from a base.
            self._add(_Place(ClassNamespace(holder.value), attributes[-1], module_of(holder.value)))

    @staticmethod
    def _is_followed(value: Any) -> bool:
        if issubclass(type(value), types.ModuleType):
            return is_users_module(str(vars(value).get("__name__")))
        return not issubclass(type(value), type) or _is_users(value)

    def _met(self, at: "_Place", changed: bool) -> None:
        """What a name has led to: code to read on in, or a variable."""
        value = at.value
        kind = type(value)
        if issubclass(kind, types.ModuleType) or at.name == OF_CLASS:
            return
        if at.module and not is_users_module(at.module):
            self._library(value if issubclass(kind, (types.FunctionType, type)) else sys.modules.get(at.module, value))
            return
        if issubclass(kind, CACHED_FUNCTION):
            self.found.left_out.setdefault(self._name_of(at), CACHE)
        if issubclass(kind, (types.FunctionType, type)) and not changed:
            self._waiting.extend(_code_of(value))
            self._library(value)
            if issubclass(kind, types.FunctionType) and any(map(keeps_something, _unwrapped(value))):
                self._add(at)
            return
        if isinstance(at.namespace, ClassNamespace):
            if not changed or (issubclass(kind, MUTABLE) and issubclass(self._kind, at.namespace.kind)):
                return  # read with the objects of the class, or with the run
        elif not changed and not _is_stateful(value):
            self._waiting.extend(_code_of(value))
            return
        self._waiting.extend(_code_of(value))
        self._add(at)

    def _add(self, at: "_Place") -> None:
        self.found.variables.setdefault(self._name_of(at), Variable(at.namespace, at.name))

    def _name_of(self, at: "_Place") -> str:
        """The name that a variable has among the run's objects."""
        module = "" if at.module in ("", module_of(self._kind)) else f"{at.module}."
        owner = f"{at.namespace.kind.__qualname__}." if isinstance(at.namespace, ClassNamespace) else ""
        return f"{PREFIX}{module}{owner}{at.name}"

    def _library(self, value: Any) -> None:
        """Of a library that the code names: its generators, and that the rest of it is not looked into."""
        name = str(vars(value).get("__name__")) if issubclass(type(value), types.ModuleType) else _defined_in(value)
        top = name.partition(".")[0]
        if is_users_module(name) or is_around_runs(name) or top in _WELL_KNOWN or not top:
            return
        for module in dict.fromkeys((top, name)):
            namespace = vars(sys.modules[module]) if module in sys.modules else {}
            for variable, held in list(namespace.items()):
                if issubclass(type(held), PRIVATE_GENERATORS) and global_name(held) is None:
                    self.found.variables.setdefault(f"{PREFIX}{module}.{variable}", Variable(namespace, variable))
        if top not in LIBRARIES:
            self.found.left_out.setdefault(f"{PREFIX}{top}", "a library: of its variables, generators alone")


@dataclass(frozen=True)
class _Place:
    """Where a name has led to: a variable of a module or class, and the module's name."""

    namespace: MutableMapping[str, Value]
    name: str
    module: str

    @property
    def value(self) -> Any:
        return self.namespace.get(self.name)


def _inside(value: Any, attribute: str) -> _Place | None:
    """An attribute of a module or class; None for one of an object, which is state where the object is."""
    if issubclass(type(value), types.ModuleType):
        namespace, name = vars(value), str(vars(value).get("__name__"))
        if attribute not in namespace and f"{name}.{attribute}" in sys.modules:
            namespace = {attribute: sys.modules[f"{name}.{attribute}"]}
        return _Place(namespace, attribute, name)
    if issubclass(type(value), type):
        bases = (base for base in value.__mro__ if _is_users(base) and attribute in base.__dict__)
        base = next(bases, value)
        return _Place(ClassNamespace(base), attribute, module_of(base))
    return None


def _imported(name: str, function: types.FunctionType) -> tuple[_Place | None, list[str]]:
    """What a function imports for itself, and the attributes that follow."""
    if name.startswith("."):
        try:
            name = importlib.util.resolve_name(name, str(function.__globals__.get("__package__") or ""))
        except ImportError:
            return None, []
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        if module is not None:
            return _Place({parts[end - 1]: module}, parts[end - 1], ""), parts[end:]
    return None, []


_Function = tuple[types.FunctionType, type | None]
"""A function, and the class that it is a method of."""


def _code_of(value: Any) -> Iterator[_Function]:
    """The user's functions that a value runs when it is called or used."""
    kind = type(value)
    if issubclass(kind, types.FunctionType):
        yield from ((one, None) for one in _unwrapped(value))
    elif issubclass(kind, types.MethodType):
        yield from _code_of(value.__func__)
        yield from _code_of(value.__self__)
    elif issubclass(kind, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            if callable(part):
                yield from _code_of(part)
    elif issubclass(kind, CACHED_FUNCTION):
        yield from _code_of(value.__wrapped__)
    elif issubclass(kind, type):
        yield from _functions_of(value)
    elif _is_users(kind):
        yield from _functions_of(kind)


def _is_stateful(value: Value) -> bool:
    """Whether a variable that is only read may change by that: a generator, a model, an object of a user's class."""
    kind = type(value)  # of a lazy proxy, which isinstance would wake, the proxy's own
    if issubclass(kind, _STATEFUL):
        return global_name(value) is None
    if any("__next__" in base.__dict__ for base in kind.__mro__):  # each item that is taken changes it
        return not issubclass(kind, io.IOBase)
    if issubclass(kind, types.ModuleType) or codec_of(kind) is not None:
        return False
    return not issubclass(kind, type) and _is_users(kind)


def _is_users(thing: types.FunctionType | type) -> bool:
    """Whether a function or class belongs to no library."""
    return is_users_module(_defined_in(thing))


def _defined_in(thing: types.FunctionType | type) -> str:
    """The name of the module of a function or class; a function that wraps another one has that one's `__module__`."""
    return _module_name(thing) if isinstance(thing, types.FunctionType) else module_of(thing)


def _module_name(function: types.FunctionType) -> str:
    return str(function.__globals__.get("__name__") or function.__module__)


def _functions_of(kind: type, of_objects: bool = True) -> Iterator[_Function]:
    """The functions that a class and its bases define, libraries excluded.

    Args:
        kind: the class.
        of_objects: also those of objects that hang on it: a decorator that is an object.
    """
    for base in kind.__mro__:
        if not _is_users(base):
            continue
        for item in base.__dict__.values():
            inside = next((names for kinds, names in _AROUND.items() if issubclass(type(item), kinds)), ())
            parts = (getattr(item, name) for name in inside) if inside else (item,)
            for part in parts:
                if issubclass(type(part), types.FunctionType):
                    yield from ((one, kind) for one in _unwrapped(part))
                elif of_objects and not issubclass(type(part), (type, enum.Enum)):
                    yield from _functions_of(type(part), of_objects=False)


# What a class holds a function in -> the attributes that have it.
_AROUND: dict[tuple[type, ...], tuple[str, ...]] = {
    (staticmethod, classmethod): ("__func__",),
    (property,): ("fget", "fset"),
    (functools.cached_property, functools.partialmethod): ("func",),
    (CACHED_FUNCTION,): ("__wrapped__",),
}


def _unwrapped(function: types.FunctionType) -> Iterator[types.FunctionType]:
    """The user's functions among a function, those inside its decorators, and those that it closes over."""
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if not issubclass(type(one), types.FunctionType) or id(one) in seen:
            continue
        seen.add(id(one))
        if is_users_module(_module_name(one)):
            yield one
        waiting.append(one.__dict__.get("__wrapped__"))
        waiting += (_content(cell) for cell in one.__closure__ or ())


def _content(cell: types.CellType) -> Value:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
