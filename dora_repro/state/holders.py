"""How a walk reads what holds state for other code: queues, text and bytes in memory, buffers, files that are read.

Each is read without taking anything out of it, and set in place, so that whoever else holds it sees the same. A leaf
that is no attribute, and that another call gives and takes, has a name in parentheses, as no attribute can have one:
`log/(text)`. What is in use by another thread at the moment is listed and not read: what it holds is an accident.
"""

import array
import ctypes
import decimal
import io
import mmap
import queue
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import fields_of_c, frames_of_threads, items_of_simple_queue, type_of_c
from dora_repro.state.assign import Setter
from dora_repro.state.attributes import attributes_of, type_name
from dora_repro.state.codecs import codec_of, kind_name
from dora_repro.state.digest import is_plain
from dora_repro.state.walker import MAX_ITEMS, Reader, Walker

# Names of leaves: what one reads of a holder, where that is no attribute of it.
ITEMS, TEXT, BYTES, LEFT, POSITION, WINDOW, TRAPS = (
    f"({name})" for name in ("items", "text", "bytes", "left", "position", "window", "traps")
)
MAX_BYTES = 1 << 24  # of text or bytes in memory; more of it is a data set
IN_USE = "another thread is using it"
ADDRESSES = "it holds addresses"
LARGE = "too large to be read at each step"

_OF_QUEUE = frozenset(
    {"mutex", "not_empty", "not_full", "all_tasks_done", "unfinished_tasks", "is_shutdown"}
)  # how threads wait for each other


def not_read(walker: Walker, path: str, value: Value, why: str) -> None:
    """List a holder that is not looked into."""
    walker.result.uncaptured[path] = f"{type_name(value)}: {why}"


def read_queue(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """The items in their order, and what a class of the user's adds. How many tasks are unfinished is for `join`."""
    if used_by_another_thread(value):
        not_read(walker, path, value, IN_USE)
    else:
        walker.attributes(value, path, role, skip=_OF_QUEUE)


def read_simple_queue(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """The items in their order, which nothing but taking them out would show: all of them are taken out and put in
    again to set them."""
    if used_by_another_thread(value):
        not_read(walker, path, value, IN_USE)
        return
    items = items_of_simple_queue(value)
    if is_plain(items):
        walker.leaf(f"{path}/{ITEMS}", items, role, walker.setter(_fill_queue, value))
        return
    for index, item in enumerate(items):
        walker.visit(item, f"{path}/{index}", walker.setter(_replace_in_queue, value, items, index), role)


def _fill_queue(target: Any, items: list[Value]) -> None:
    while not target.empty():
        target.get_nowait()
    for item in items:
        target.put(item)


def _replace_in_queue(target: Any, items: list[Value], index: int, item: Value) -> None:
    """`items` is that of all setters of one queue, so that a later one does not undo an earlier one."""
    items[index] = item
    _fill_queue(target, items)


def used_by_another_thread(value: Value) -> bool:
    """Whether a function that another thread is in at the moment knows this object, or has an object that holds it."""
    this = threading.get_ident()
    return any(
        _knows(frame, value)
        for thread, innermost in frames_of_threads().items()
        if thread != this
        for frame in _around(innermost)
    )


def _around(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _knows(frame: types.FrameType, value: Value) -> bool:
    named = (frame.f_globals[name] for name in frame.f_code.co_names if name in frame.f_globals)
    return any(_holds(item, value) for item in (*list(frame.f_locals.values()), *named))


def _holds(item: Any, value: Value) -> bool:
    """Whether an object is this one, or has it among its attributes or items."""
    if item is value:
        return True
    kind = type(item)
    if kind in (list, tuple, deque):
        return any(one is value for one in list(item))
    held = item if kind is dict else None if issubclass(kind, (type, types.ModuleType)) else attributes_of(item)
    inside = [] if held is None else list(held.values())
    return any(one is value or (type(one) is tuple and any(part is value for part in one)) for one in inside)


def read_text(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Text or bytes in memory, and how much of it is left to read: nothing, where it is only written to."""
    is_text = isinstance(value, io.StringIO)
    size = value.seek(0, io.SEEK_CUR), value.seek(0, io.SEEK_END)
    value.seek(size[0])
    if size[1] > MAX_BYTES:
        not_read(walker, path, value, LARGE)
        return
    walker.leaf(f"{path}/{TEXT if is_text else BYTES}", value.getvalue(), role, walker.setter(_rewrite, value))
    walker.leaf(f"{path}/{LEFT}", size[1] - size[0], role, walker.setter(_leave, value))
    walker.attributes(value, path, role)


def _rewrite(target: Any, content: str | bytes) -> None:
    target.seek(0)
    target.truncate()
    target.write(content)


def _leave(target: Any, left: int) -> None:
    target.seek(target.seek(0, io.SEEK_END) - left)


def read_file(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Of a file that is only read, where it is read next; of any other nothing: what was written is on the disk."""
    if value.closed or value.writable() or not (value.readable() and value.seekable()) or value is sys.stdin:
        walker.result.uncaptured[path] = type_name(value)
    else:
        walker.leaf(f"{path}/{POSITION}", value.tell(), role, walker.setter(value.seek))


def read_mapped(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Memory that is mapped: its bytes, where they can be written, and the place in it."""
    walker.leaf(f"{path}/{POSITION}", value.tell(), role, walker.setter(value.seek))
    with memoryview(value) as view:
        fixed, size = view.readonly, view.nbytes
    if size > MAX_BYTES:
        not_read(walker, path, value, LARGE)
    elif not fixed:
        walker.leaf(f"{path}/{BYTES}", value[:], role, walker.setter(value.__setitem__, slice(None)))


def read_buffer(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """A `bytearray` or `array.array`: one leaf, set in place."""
    codec = codec_of(type(value))
    if codec is None:
        raise TypeError(f"no codec for a {type(value).__name__}")
    walker.leaf(path, codec.encode(value), role, walker.setter(_refill, value, codec.decode), hold)
    if not walker.moving_only:
        walker.result.kinds[path] = kind_name(value) or type_name(value)


def _refill(target: Any, decode: Callable[[Any, Any], Any], plain: Value) -> None:
    target[:] = decode(type(target), plain)


def read_view(walker: Walker, value: memoryview, path: str, hold: Setter, role: str) -> None:
    """A view of a buffer: the object that has the buffer, and which part of it is seen."""
    window = _window(value)
    put = None if hold is None or window is None else partial(_look_at, value, hold)
    walker.leaf(f"{path}/{WINDOW}", window, role, put)
    walker.visit(value.obj, f"{path}/obj", None, role)


def _window(view: memoryview) -> tuple[int, int] | None:
    """First byte and number of bytes of what a view shows; None where that is no one stretch of bytes."""
    if not view.contiguous:
        return None
    whole = memoryview(view.obj)
    if not view.nbytes or not whole.nbytes:
        return 0, view.nbytes
    return _address(view) - _address(whole), view.nbytes


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


def _look_at(view: memoryview, hold: Callable[[Any], object], window: tuple[int, int]) -> None:
    first, count = window
    part = memoryview(view.obj).cast("B")[first : first + count]
    hold(part if view.format == "B" else part.cast(view.format))  # type: ignore[call-overload]  # a format of its own


def read_objects(walker: Walker, value: np.ndarray, path: str, hold: Setter, role: str) -> None:
    """An array of Python objects: one leaf where they are plain values, else each of them."""
    if value.size > MAX_ITEMS:
        not_read(walker, path, value, LARGE)
        return
    items = list(value.flat)
    if is_plain(items):
        walker.leaf(f"{path}/{ITEMS}", items, role, walker.setter(_fill_array, value))
        return
    at = path if value.ndim == 1 else f"{path}/flat"
    for index, item in enumerate(items):
        walker.visit(item, f"{at}/{index}", walker.setter(value.flat.__setitem__, index), role)


def _fill_array(target: np.ndarray, items: list[Value]) -> None:
    if len(items) != target.size:
        raise ValueError(f"an array of {target.size} takes no {len(items)} items")
    for index, item in enumerate(items):
        target.flat[index] = item


_SIMPLE: Any = ctypes.c_int.__mro__[1]  # what numbers of C have in common
_POINTER: Any = ctypes.POINTER(ctypes.c_int).__mro__[1]
_POINTERS = frozenset("zZPO")  # codes of types that are addresses


def read_of_c(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Numbers, arrays and structures of C; none that holds addresses, which are others in each process."""
    kind: Any = type(value)
    if not _is_by_value(kind):
        not_read(walker, path, value, ADDRESSES)
    elif issubclass(kind, _SIMPLE):
        walker.leaf(f"{path}/value", value.value, role, walker.setter(setattr, value, "value"))
    elif issubclass(kind, ctypes.Array) and type_of_c(kind) is ctypes.c_char:
        walker.leaf(f"{path}/raw", value.raw, role, walker.setter(setattr, value, "raw"))
    elif issubclass(kind, ctypes.Array) and issubclass(type_of_c(kind), _SIMPLE):
        walker.leaf(f"{path}/{ITEMS}", list(value), role, walker.setter(value.__setitem__, slice(None)))
    elif issubclass(kind, ctypes.Array):
        for index, item in enumerate(value):
            read_of_c(walker, item, f"{path}/{index}", None, role)
    else:
        for name, inside in fields_of_c(kind):
            item = getattr(value, name)
            if issubclass(inside, (ctypes.Array, ctypes.Structure, ctypes.Union)) and not isinstance(item, bytes):
                read_of_c(walker, item, f"{path}/{name}", None, role)
            else:
                walker.leaf(f"{path}/{name}", item, role, walker.setter(setattr, value, name))


def _is_by_value(kind: Any) -> bool:
    """Whether what objects of a type of C hold is all in them."""
    if issubclass(kind, _SIMPLE):
        return type_of_c(kind) not in _POINTERS
    if issubclass(kind, ctypes.Array):
        return _is_by_value(type_of_c(kind))
    return issubclass(kind, (ctypes.Structure, ctypes.Union)) and all(
        _is_by_value(inside) for _, inside in fields_of_c(kind)
    )


_OF_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def read_decimal_context(walker: Walker, value: decimal.Context, path: str, hold: Setter, role: str) -> None:
    """How decimal numbers are rounded; not which conditions have occurred, which any computation sets."""
    for name in _OF_CONTEXT:
        walker.leaf(f"{path}/{name}", getattr(value, name), role, walker.setter(setattr, value, name))
    walker.leaf(f"{path}/{TRAPS}", trapped(value), role, walker.setter(set_trapped, value))


def trapped(context: decimal.Context) -> list[str]:
    """The names of the conditions that raise, in alphabetical order."""
    return sorted(signal.__name__ for signal, traps in context.traps.items() if traps)


def set_trapped(context: decimal.Context, names: list[str]) -> None:
    """Have these conditions raise, and no others."""
    for signal in list(context.traps):
        context.traps[signal] = signal.__name__ in names


BUFFERS: tuple[type, ...] = (bytearray, array.array)
"""Types with a codec whose values change in place: they are read, and not encoded."""

READERS: tuple[tuple[type, Reader], ...] = (
    *((kind, read_buffer) for kind in BUFFERS),
    (memoryview, read_view),
    (np.ndarray, read_objects),
    (queue.Queue, read_queue),
    (queue.SimpleQueue, read_simple_queue),
    (io.StringIO, read_text),
    (io.BytesIO, read_text),
    *((kind, read_file) for kind in (io.TextIOWrapper, io.BufferedReader, io.FileIO)),
    (mmap.mmap, read_mapped),
    *((kind, read_of_c) for kind in (_SIMPLE, _POINTER, ctypes.Array, ctypes.Structure, ctypes.Union)),
    (decimal.Context, read_decimal_context),
)
