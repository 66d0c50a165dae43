"""Private names of CPython and its standard library. Loads neither torch nor numpy."""

import ctypes
import random
import subprocess
import sys
from collections.abc import Callable
from types import FrameType

from dora_repro.private_names.names import listed

NAMES = listed(
    "CPython 3.11.7",
    {
        "sys._getframe": "the frames around an operator, to name the user's line; a script's, on the way to a step",
        "random._inst": "the global generator behind `random.random()`, to read and set its state",
        "subprocess._args_from_interpreter_flags": "start a side with the flags of its parent, as multiprocessing does",
        "ctypes.pythonapi.PyFrame_LocalsToFast": "set variables of a running function, before Python 3.13",
    },
)

get_frame: Callable[[int], FrameType] = sys._getframe
"""The frame so many calls above the caller: `get_frame(0)` is the caller's own."""

global_random: random.Random = random._inst
"""The generator behind the functions of `random`."""


def interpreter_flags() -> list[str]:
    """The command-line flags that this interpreter was started with."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # typeshed lacks it


def locals_to_fast(frame: FrameType) -> None:
    """Make the variables of a function what `frame.f_locals` says; before Python 3.13, where that is a copy."""
    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
