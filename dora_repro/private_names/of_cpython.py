"""Private names of CPython and its standard library. Loads neither torch nor numpy."""

import ctypes
import gc
import queue
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from dora_repro.private_names.names import listed

NAMES = listed(
    "CPython 3.11.7",
    {
        "sys._getframe": "the frames around an operator, to name the user's line; a script's, on the way to a step",
        "random._inst": "the global generator behind `random.random()`, to read and set its state",
        "subprocess._args_from_interpreter_flags": "start a side with the flags of its parent, as multiprocessing does",
        "sys._current_frames": "what other threads are in, to leave alone what they use",
        "ctypes.Array._type_": "what arrays and numbers of C consist of; documented",
        "ctypes.Structure._fields_": "what structures of C consist of; documented",
        "ctypes.pythonapi.PyFrame_LocalsToFast": "set variables of a running function, before Python 3.13",
    },
)

get_frame: Callable[[int], FrameType] = sys._getframe
"""The frame so many calls above the caller: `get_frame(0)` is the caller's own."""

frames_of_threads: Callable[[], dict[int, FrameType]] = sys._current_frames
"""The innermost frame of each thread, by the thread's identifier."""

global_random: random.Random = random._inst
"""The generator behind the functions of `random`."""


def interpreter_flags() -> list[str]:
    """The command-line flags that this interpreter was started with."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # typeshed lacks it


def locals_to_fast(frame: FrameType) -> None:
    """Make the variables of a function what `frame.f_locals` says; before Python 3.13, where that is a copy."""
    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


def items_of_simple_queue(source: "queue.SimpleQueue[Any]") -> list[Any]:
    """The items of a queue that shows none without taking it out, in their order: what garbage collection visits. Up
    to Python 3.12 that is one list, where taken items leave a None behind; then the items themselves.

    Raises:
        ValueError: it has another number of items than it says: this is another implementation.
    """
    count = source.qsize()
    held = [thing for thing in gc.get_referents(source) if thing is not type(source)]
    if sys.version_info < (3, 13):
        held = held[0][len(held[0]) - count :]
    if len(held) != count:
        raise ValueError(f"a queue of {count} items shows {len(held)}")
    return held


def type_of_c(kind: Any) -> Any:
    """What an array of C consists of; of a type of numbers a letter, as `struct` has them."""
    return kind._type_


def fields_of_c(kind: Any) -> Iterator[tuple[str, Any]]:
    """(name, type) of each field of a structure of C, those of its bases first."""
    for base in reversed(kind.__mro__):
        for name, inside, *_ in base.__dict__.get("_fields_", ()):
            yield name, inside
