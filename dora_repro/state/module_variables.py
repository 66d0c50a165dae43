"""What a run keeps outside of itself: variables of the modules that its code is in.

A generator at the top of a script, a count that functions assign with `global`, a list that they append to: state as
any other, which no object of the run holds. Which variables those are is read from the code of the run's class and of
whatever functions and classes it names, libraries excluded. Constants are no state: a list that is only read is none.
"""

import dis
import functools
import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dora_repro.state.attributes import LIBRARIES, module_of
from dora_repro.state.codecs import codec_of
from dora_repro.state.rng import PRIVATE_GENERATORS, global_name

PREFIX = "globals."  # of their names among a run's objects

_CHANGING = frozenset(
    {"append", "appendleft", "extend", "extendleft", "insert", "remove", "pop", "popleft", "popitem", "clear", "add"}
    | {"discard", "update", "setdefault", "sort", "reverse", "rotate", "fill", "put", "resize"}
)
_STATEFUL = (*PRIVATE_GENERATORS, torch.nn.Module, torch.optim.Optimizer)
_OWN = __name__.partition(".")[0]  # the runs of this kit are looked at as anybody's, wherever it is installed


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable: its module's namespace, and its name there."""

    namespace: dict[str, object]
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
        for name, kept in _used(function.__code__).items():
            value = function.__globals__.get(name)
            if issubclass(type(value), types.FunctionType):
                waiting.extend([_inner(value)] if _is_users(value) else ())
            elif issubclass(type(value), type):
                waiting.extend(_functions_of(value) if _is_users(value) else ())
            elif kept or _is_stateful(value):
                found.setdefault(f"{PREFIX}{module}{name}", Variable(function.__globals__, name))
    return dict(sorted(found.items()))


def _is_stateful(value: object) -> bool:
    """Whether what is only read may change by that: a generator, a model, an object of a class of one's own."""
    kind = type(value)  # of a lazy proxy, which isinstance would wake, the proxy's own
    if issubclass(kind, _STATEFUL):
        return global_name(value) is None
    if issubclass(kind, types.ModuleType) or codec_of(kind) is not None:
        return False
    return not callable(value) and _is_users(kind)


def _is_users(thing: types.FunctionType | type) -> bool:
    """Whether a function or class is of no library."""
    top = str(thing.__module__).partition(".")[0]
    if top in ("__main__", _OWN):  # the file of `__main__` may be Jupyter's
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return not (installed or top in LIBRARIES)


def _functions_of(kind: type) -> Iterator[types.FunctionType]:
    """All that a class and its bases of no library define."""
    for base in kind.__mro__:
        if not _is_users(base):
            continue
        for item in base.__dict__.values():
            held = next((names for kind, names in _AROUND.items() if issubclass(type(item), kind)), ())
            parts = (getattr(item, name) for name in held) if held else (item,)
            yield from (_inner(part) for part in parts if issubclass(type(part), types.FunctionType))


# What a class holds a function in -> the attributes that have it.
_AROUND = {
    (staticmethod, classmethod): ("__func__",),
    property: ("fget", "fset"),
    functools.cached_property: ("func",),
    functools.partialmethod: ("func",),
}


def _inner(function: types.FunctionType) -> types.FunctionType:
    """The function inside its decorators, as `torch.no_grad()` is one."""
    while issubclass(type(inner := function.__dict__.get("__wrapped__")), types.FunctionType):
        function = inner
    return function


@functools.lru_cache(maxsize=4096)
def _used(code: types.CodeType) -> dict[str, bool]:
    """Global names in a function and in those inside it -> whether they are assigned, or changed in place."""
    used: dict[str, bool] = {}
    done: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        name, operation = instruction.argval, instruction.opname
        if operation in _LOADS:
            used.setdefault(name, False)
        elif operation in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            used[name] = True
        elif operation in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            used.update(dict.fromkeys(_changed_item_of(done), True))
        elif operation in ("LOAD_ATTR", "LOAD_METHOD") and done and done[-1].opname in _LOADS and _changes(name):
            used[done[-1].argval] = True
        done.append(instruction)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            for name, kept in _used(inner).items():
                used[name] = used.get(name, False) or kept
    return used


_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")


def _changed_item_of(done: list[dis.Instruction]) -> Iterator[str]:
    """The global name whose item the next instruction sets or deletes: `NAME[key] = …`, `NAME[key][key] += …`."""
    end = len(done)
    if done and done[-1].opname == "SWAP":  # of `+=`: container and key were copied before the item was read
        while end and done[end - 1].opname != "COPY":
            end -= 1
        while end and done[end - 1].opname == "COPY":
            end -= 1
    while end:
        pushed = 0  # the key lies on top of the container: go back over what put it there
        while end and pushed != 1:
            end -= 1
            pushed += dis.stack_effect(done[end].opcode, done[end].arg, jump=False)
        if not end or done[end - 1].opname != "BINARY_SUBSCR":
            break
        end -= 1
    if end and done[end - 1].opname in _LOADS:
        yield done[end - 1].argval


def _changes(method: object) -> bool:
    """Whether a method of this name changes what it is called on: those of containers, and torch's in place."""
    return method in _CHANGING or (type(method) is str and method[-1:] == "_" and method[-2:] != "__")
