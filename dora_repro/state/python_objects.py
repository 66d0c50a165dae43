"""How a walk reads Python's own containers, functions, generators and iterators; which of its classes are plumbing.

Containers are read by the base's own methods, whatever a subclass overrides. A list of plain values (a permutation, a
history) is one leaf: its elements mean nothing alone.
"""

import collections
import concurrent.futures
import contextvars
import functools
import gc
import io
import itertools
import logging
import multiprocessing.process
import multiprocessing.queues
import operator
import socket
import subprocess
import threading
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import partial
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import COMPILED_FUNCTION
from dora_repro.state.assign import Setter, put_plain
from dora_repro.state.attributes import MUTABLE, attributes_of, is_around_runs, module_of, name_of_type, type_name
from dora_repro.state.digest import is_plain
from dora_repro.state.function_state import itself, name_of_function
from dora_repro.state.keys import key_text, key_type
from dora_repro.state.members import read_members
from dora_repro.state.module_variables import CACHE, CACHED_FUNCTION
from dora_repro.state.rebuild import RANGE_ITERATOR
from dora_repro.state.type_dispatch import Way
from dora_repro.state.walker import MAX_ITEMS, Reader, Walker


def read_mapping(walker: Walker, value: Mapping[Any, Value], path: str, hold: Setter, role: str) -> None:
    base: Any = next((kind for kind in (collections.OrderedDict, dict) if isinstance(value, kind)), type(value))
    items = list(base.items(value))
    if len(items) > MAX_ITEMS:
        _plain_or_listed(walker, value, dict(items), path, hold, role)
    else:
        names = _names(walker, [key for key, _ in items], path)
        for name, (key, item) in zip(names, items, strict=True):
            put = walker.setter(dict.__setitem__, value, key) if isinstance(value, dict) else None
            walker.visit(item, f"{path}/{name}", put, role)
    _of_subclass(walker, value, path, role)


def _names(walker: Walker, keys: list[Value], path: str) -> list[str]:
    """The keys of a dict as text, each once; of keys that read the same (1 and "1") the str has a number."""
    names = [walker.key(key, path) for key in keys]
    if len(set(names)) < len(names):
        taken: set[str] = set()
        for of_str in (False, True):
            for index, key in enumerate(keys):
                if (type(key) is str) is of_str:
                    names[index] = _unique(names[index], taken)
    if not walker.moving_only:
        kinds = {name: key_type(key) for name, key in zip(names, keys, strict=True) if type(key) is not str}
        if kinds:
            walker.result.key_types[path] = kinds
        if len(names) > 1:
            walker.result.orders[path] = tuple(names)
    return names


def _unique(name: str, taken: set[str]) -> str:
    """Make keys that read the same (1 and "1", two tensors) unique, by their order."""
    number, first = 1, name
    while name in taken:
        number += 1
        name = f"{first}#{number}"
    taken.add(name)
    return name


def read_sequence(walker: Walker, value: Sequence[Value], path: str, hold: Setter, role: str) -> None:
    base: Any = next(kind for kind in (list, tuple, deque) if isinstance(value, kind))
    items = list(base.__iter__(value))
    if is_plain(items) or len(items) > MAX_ITEMS:
        _plain_or_listed(walker, value, value if type(value) in (list, tuple) else items, path, hold, role)
    else:
        fields = getattr(type(value), "_fields", None) if base is tuple else None
        for index, item in enumerate(items):
            put = None if base is tuple else walker.setter(base.__setitem__, value, index)
            if isinstance(value, tuple) and hold is not None:
                put = partial(_replace_item, value, index, hold)
            name = fields[index] if fields else index
            walker.visit(item, f"{path}/{name}", put, role)
    if base is not tuple or not hasattr(type(value), "_fields"):
        _of_subclass(walker, value, path, role)


def _replace_item(value: tuple[Value, ...], index: int, hold: Callable[[Any], object], item: Value) -> None:
    """A tuple with one other item, in the place of the first."""
    items = (*value[:index], item, *value[index + 1 :])
    kind: Any = type(value)
    hold(kind(*items) if hasattr(kind, "_fields") else kind(items))


def read_set(walker: Walker, value: set[Value] | frozenset[Value], path: str, hold: Setter, role: str) -> None:
    items = {*(set.__iter__(value) if isinstance(value, set) else frozenset.__iter__(value))}
    if is_plain(items):
        plain = items if isinstance(value, set) else frozenset(items)
        _plain_or_listed(walker, value, plain, path, hold, role)
    elif all(walker.way(type(item))[0] in (Way.SCALAR, Way.ENCODED) for item in items):
        walker.leaf(path, {"members": sorted(map(key_text, items))}, role, None, hold)
    else:
        read_members(walker, value, path, hold, role)
    _of_subclass(walker, value, path, role)


def _plain_or_listed(walker: Walker, value: Value, plain: Sized, path: str, hold: Setter, role: str) -> None:
    if is_plain(plain):
        walker.leaf(path, plain, role, walker.setter(put_plain, value, hold), hold)
    else:
        walker.result.uncaptured[path] = f"{type_name(value)} of {len(plain)} items"


def _of_subclass(walker: Walker, value: Value, path: str, role: str) -> None:
    if type(value) not in _CONTAINERS:
        walker.attributes(value, path, role)


def read_partial(walker: Walker, value: functools.partial[Value], path: str, hold: Setter, role: str) -> None:
    for name, part in (("func", value.func), ("args", value.args), ("keywords", value.keywords)):
        walker.visit(part, f"{path}/{name}", None, role)
    walker.attributes(value, path, role)


def read_function(walker: Walker, value: types.FunctionType, path: str, hold: Setter, role: str) -> None:
    """A function is the same by its name; what is in its closure, attributes and mutable defaults may differ."""
    within = itself(value)
    if within is None:
        walker.leaf(f"{path}/name", name_of_function(value), "structure")
        return
    value = within
    if (value.__closure__ or value.__dict__) and walker.alias(value, path, hold):
        return  # its closure may hold itself
    walker.leaf(f"{path}/name", name_of_function(value), "structure")
    if COMPILED_FUNCTION in value.__dict__:  # around it lies the compiler
        walker.visit(value.__dict__[COMPILED_FUNCTION], f"{path}/compiled", None, role)
        return
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not set yet
            continue
        walker.variable(cell, content, f"{path}/{name}", walker.setter(setattr, cell, "cell_contents"), role)
    copied = _copied_by_wraps(value)
    for name in sorted(value.__dict__):
        if name != "__wrapped__" and name not in copied and type(name) is str:
            walker.visit(value.__dict__[name], f"{path}/{key_text(name)}", walker.setter(setattr, value, name), role)
    defaults = value.__defaults__ or ()
    arguments = value.__code__.co_varnames[: value.__code__.co_argcount]
    for name, default in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
        if issubclass(type(default), MUTABLE):
            walker.visit(default, f"{path}/{name}=", None, role)
    for name, default in (value.__kwdefaults__ or {}).items():
        if issubclass(type(default), MUTABLE):
            walker.visit(default, f"{path}/{name}=", None, role)


def _copied_by_wraps(function: types.FunctionType) -> frozenset[str]:
    """The names that `functools.wraps` has copied from an object with `__call__` into a function around it: nobody
    reads the object's attributes there, and one that the object binds anew is an old value there."""
    wrapped = function.__dict__.get("__wrapped__")
    if wrapped is None or isinstance(wrapped, (types.FunctionType, types.MethodType, type)):
        return frozenset()
    return frozenset(attributes_of(wrapped) or ())


def read_thread_local(walker: Walker, value: threading.local, path: str, hold: Setter, role: str) -> None:
    """What the thread that steps has there."""
    for name in sorted(value.__dict__):
        walker.visit(value.__dict__[name], f"{path}/{key_text(name)}", walker.setter(setattr, value, name), role)


def read_context_variable(
    walker: Walker, value: contextvars.ContextVar[Value], path: str, hold: Setter, role: str
) -> None:
    """What it is in the context that steps; of one that has no value nothing."""
    unset: Value = object()
    held = value.get(unset)
    if held is not unset:
        walker.visit(held, f"{path}/value", walker.setter(value.set), role)


def read_method(walker: Walker, value: types.MethodType, path: str, hold: Setter, role: str) -> None:
    function = value.__func__
    name = getattr(function, "__qualname__", type(function).__qualname__)
    walker.leaf(f"{path}/name", f"{getattr(function, '__module__', '')}.{name}", "structure")
    if not is_around_runs(module_of(type(value.__self__))):
        walker.visit(value.__self__, f"{path}/self", None, role)


def read_builtin(walker: Walker, value: types.BuiltinFunctionType, path: str, hold: Setter, role: str) -> None:
    """A function written in C is the same by its name; a bound one has an object, as `random.Random(3).random` has."""
    walker.leaf(f"{path}/name", f"{value.__module__}.{value.__qualname__}", "structure")
    if value.__self__ is not None and not isinstance(value.__self__, (types.ModuleType, type)):
        walker.visit(value.__self__, f"{path}/self", None, role)


def read_class(walker: Walker, value: type, path: str, hold: Setter, role: str) -> None:
    """A class is the same by its name; what a user's class has as variables is read with the code that names it."""
    walker.leaf(f"{path}/name", name_of_type(value), "structure")


def list_cache(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """What a cached function remembers lies in C."""
    walker.result.uncaptured[path] = CACHE


def read_position(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """An iterator over a sequence: the sequence, and how many items are left of it."""
    over, *_ = value.__reduce__()[1] or ((),)
    left = operator.length_hint(value)
    if isinstance(over, range):
        rest = over[len(over) - left :]
        put = None if hold is None else lambda plain: hold(iter(range(*plain[1:])))
        walker.leaf(path, ("range", rest.start, rest.stop, rest.step), role, put, hold)
        if not walker.moving_only:
            walker.result.kinds[path] = RANGE_ITERATOR
        return
    walker.leaf(f"{path}/left", left, role, walker.setter(_set_left, value, over, hold))
    if left:
        walker.visit(over, f"{path}/over", None, role)


def _set_left(iterator: Any, over: Sized, hold: Setter, left: int) -> None:
    """In place; and into its holder once more, since what a `cycle` says it goes over is a copy."""
    if not operator.length_hint(iterator):
        raise ValueError("an iterator that is used up stays so")
    iterator.__setstate__(left - 1 if isinstance(iterator, _BACKWARDS) else len(over) - left)
    if hold is not None:
        hold(iterator)


def read_dict_iterator(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """An iterator over a dict or set: how many items are left of it."""
    put = None if hold is None else partial(_begin_again, value, hold)
    walker.leaf(f"{path}/left", operator.length_hint(value), role, put)


def _begin_again(iterator: Any, hold: Callable[[Any], object], left: int) -> None:
    """Another iterator over the same dict or set, that has as many items left."""
    over = next((held for held in gc.get_referents(iterator) if isinstance(held, (dict, set, frozenset))), None)
    if over is None or left > len(over):
        raise ValueError("an iterator that is used up stays so")
    made = iter(_VIEW_OF[type(iterator)](over))
    for _ in range(len(over) - left):
        next(made)
    hold(made)


def read_nested_iterator(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """`enumerate`, `zip`, `itertools.cycle`, …: what they are made of. Where a part is to be another, so is the whole:
    no iterator lets its parts be set, and some give a copy of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns; 3.14 has no such method
        try:
            _, parts, *state = value.__reduce__()
        except TypeError:
            walker.result.uncaptured[path] = type_name(value)
            return
    # One that has not begun has fewer parts: both are read as if they had the same.
    if isinstance(value, itertools.chain) and state:
        state = [(*state[0], *(None,) * (2 - len(state[0])))]
    elif isinstance(value, _COMBINING) and not state:
        state = [None]
    pieces = [*parts, *state]
    for index, part in enumerate(pieces):
        if not _is_code(part):
            put = None if hold is None else partial(_rebuild, value, hold, pieces, len(parts), index)
            walker.visit(part, f"{path}/{index}", put, role)


def _rebuild(
    value: Any, hold: Callable[[Any], object], pieces: list[Any], arguments: int, index: int, piece: Value
) -> None:
    """Make an iterator anew, with one other part. The list of its parts is that of all their setters, so that a part
    which is set later does not bring back what an earlier one was.

    Args:
        value: the iterator.
        hold: makes its holder hold another one.
        pieces: what it is made of: arguments, then its state.
        arguments: how many of these are arguments.
        index: of the part.
        piece: what the part is to be.
    """
    pieces[index] = piece
    kind: Any = type(value)
    made = kind(*pieces[:arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as above, of Python 3.12
        for state in pieces[arguments:]:
            if isinstance(value, itertools.chain):
                made.__setstate__(tuple(part for part in state if part is not None))
            elif state is not None:
                made.__setstate__(state)
    hold(made)


def _is_code(part: Value) -> bool:
    """Whether a part is a class or a function of Python's own: the same in every process."""
    return isinstance(part, type) or (
        isinstance(part, types.BuiltinFunctionType) and isinstance(part.__self__, (types.ModuleType, type(None)))
    )


_CONTAINERS = frozenset(
    {dict, collections.OrderedDict, collections.defaultdict, collections.Counter, types.MappingProxyType}
    | {list, tuple, deque, set, frozenset, torch.Size}
)
_NO_ITEMS: list[Value] = []
_BACKWARDS: type = type(reversed(_NO_ITEMS))
_SEQUENCES: tuple[Iterable[Any], ...] = ([], (), range(0), "", "é", b"")
_POSITIONS = dict.fromkeys(type(iter(sequence)) for sequence in _SEQUENCES)  # both texts may have one type of iterator
_EMPTY: dict[str, int] = {}
_VIEW_OF: dict[type, Callable[[Any], Iterable[Any]]] = {
    type(iter(_EMPTY.keys())): iter,
    type(iter(_EMPTY.values())): dict.values,
    type(iter(_EMPTY.items())): dict.items,
    type(iter(set(_EMPTY))): iter,
}
_DICT_ITERATORS = tuple(_VIEW_OF)
_COMBINING = (
    itertools.product, itertools.permutations, itertools.combinations, itertools.combinations_with_replacement,
)  # fmt: skip
_ITERTOOLS = (kind for kind in vars(itertools).values() if isinstance(kind, type) and kind is not itertools.count)
_NESTED = (enumerate, zip, map, filter, *_ITERTOOLS)

READERS: tuple[tuple[type, Reader], ...] = (
    (dict, read_mapping),
    (types.MappingProxyType, read_mapping),
    (list, read_sequence),
    (tuple, read_sequence),
    (deque, read_sequence),
    (set, read_set),
    (frozenset, read_set),
    (functools.partial, read_partial),
    (types.FunctionType, read_function),
    (threading.local, read_thread_local),
    (contextvars.ContextVar, read_context_variable),
    (types.MethodType, read_method),
    (CACHED_FUNCTION, list_cache),
    (types.BuiltinFunctionType, read_builtin),
    (type, read_class),
    *((kind, read_position) for kind in (*_POSITIONS, _BACKWARDS)),
    *((kind, read_dict_iterator) for kind in _DICT_ITERATORS),
    *((kind, read_nested_iterator) for kind in _NESTED),
)
UNSHARED_TYPES: tuple[type, ...] = (
    tuple, frozenset, types.FunctionType, types.MethodType, types.BuiltinFunctionType, type, weakref.ReferenceType,
)  # fmt: skip
PLUMBING: tuple[type, ...] = (
    types.ModuleType, types.CodeType, types.FrameType, types.TracebackType,
    types.MethodWrapperType, types.WrapperDescriptorType,
    types.MethodDescriptorType, types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.CellType,
    threading.Thread, type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event,
    threading.Semaphore, threading.Barrier, io.IOBase,
    logging.Logger, logging.Handler, socket.socket, subprocess.Popen, contextvars.Context,
    weakref.ProxyType, weakref.CallableProxyType, weakref.finalize,
    multiprocessing.process.BaseProcess, multiprocessing.queues.Queue,
    concurrent.futures.Executor, concurrent.futures.Future,
)  # fmt: skip
PLUMBING_MODULES = (
    "multiprocessing", "asyncio", "selectors", "tempfile", "tqdm", "tensorboard", "wandb", "mlflow", "rich",
    "fsspec", "s3fs", "gcsfs", "adlfs",  # file systems, which remember what was opened through them, as a file does
)  # fmt: skip
