"""What belongs to a process, made anew in another one: locks, queues, weak references, a thread's variables.

A script has such things among its variables, and its functions travel with these variables. What they hold is sent as
it is when they are; a lock arrives open.
"""

import contextvars
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any


def _local(attributes: dict[str, Any]) -> threading.local:
    made = threading.local()
    vars(made).update(attributes)
    return made


def _context_variable(name: str, default: tuple[Any, ...], value: tuple[Any, ...]) -> "contextvars.ContextVar[Any]":
    """One with a default and a value, each in a tuple that is empty where there is none."""
    made: contextvars.ContextVar[Any] = (
        contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)
    )
    if value:
        made.set(value[0])
    return made


def _reduce_context_variable(variable: "contextvars.ContextVar[Any]") -> tuple[Any, ...]:
    now = contextvars.copy_context()
    default = contextvars.Context().run(_value_in_context, variable)
    return _context_variable, (variable.name, default, (now[variable],) if variable in now else ())


def _value_in_context(variable: "contextvars.ContextVar[Any]") -> tuple[Any, ...]:
    try:
        return (variable.get(),)
    except LookupError:
        return ()


def _simple_queue(items: list[Any]) -> "queue.SimpleQueue[Any]":
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for item in items:
        made.put(item)
    return made


def _reduce_simple_queue(waiting: "queue.SimpleQueue[Any]") -> tuple[Any, ...]:
    items = []
    while not waiting.empty():
        items.append(waiting.get_nowait())
    for item in items:  # it can only be looked into by taking things out
        waiting.put(item)
    return _simple_queue, (items,)


def _reduce_lock(lock: Any) -> tuple[Any, ...]:
    return threading.Lock, ()


def _reduce_reentrant_lock(lock: Any) -> tuple[Any, ...]:
    return threading.RLock, ()


def _reduce_reference(reference: "weakref.ref[Any]") -> tuple[Any, ...]:
    """To what is held elsewhere; one that nothing holds is gone there, too."""
    held = reference()
    return weakref.ref, (set() if held is None else held,)


# The type of an object -> how it is made anew, as `__reduce__` has it.
MADE_ANEW: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    type(threading.Lock()): _reduce_lock,
    type(threading.RLock()): _reduce_reentrant_lock,
    threading.local: lambda local: (_local, (dict(vars(local)),)),
    contextvars.ContextVar: _reduce_context_variable,
    queue.SimpleQueue: _reduce_simple_queue,
    weakref.ref: _reduce_reference,
    weakref.WeakKeyDictionary: lambda held: (weakref.WeakKeyDictionary, (dict(held),)),
    weakref.WeakValueDictionary: lambda held: (weakref.WeakValueDictionary, (dict(held),)),
    weakref.WeakSet: lambda held: (weakref.WeakSet, (list(held),)),
}
