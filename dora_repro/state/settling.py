"""Other threads of a program come to rest before its state is read.

A thread that reads ahead draws and fetches until its queue is full; how far it is at a moment is an accident, where it
comes to rest is not. So the state is read when all of them wait, as far as that can be seen, or after a second.
"""

import threading
import time
import types
from collections.abc import Iterator

from dora_repro.private_names.of_cpython import frames_of_threads
from dora_repro.state.attributes import is_users_module

LIMIT = 1.0  # seconds: a thread that works for longer is read as it is
_WAITING = ("threading", "queue")  # where a thread is that waits for another
_LOADERS = ("torch.utils.data.", "torchdata.")
_STILL, _LONGER = 0.02, 0.06  # seconds without a move: of those that wait; of one that may be inside compiled code
_LOOK = 0.002


def settle() -> None:
    """Wait until the other threads of the program do not move, for a second at most. Returns at once without any."""
    where, since, end = _places(), time.monotonic(), time.monotonic() + LIMIT
    while where and time.monotonic() < end:
        time.sleep(_LOOK)
        now = _places()
        if now != where:
            where, since = now, time.monotonic()
        elif time.monotonic() - since >= (_STILL if all(waits for *_, waits in where.values()) else _LONGER):
            return


def _places() -> dict[int, tuple[object, ...]]:
    """Where each other thread is that runs code of the user's or reads a loader, how often it was woken, and whether it
    waits for another there."""
    if threading.active_count() < 2:
        return {}
    this = threading.get_ident()
    found: dict[int, tuple[object, ...]] = {}
    numbers = {thread.ident: thread.native_id for thread in threading.enumerate()}
    frames = frames_of_threads()
    frames.pop(this)  # it would refer to itself, and keep alive what its callers let go
    for thread, frame in frames.items():
        if any(map(_is_at_work, _around(frame))):
            waits = frame.f_globals.get("__name__") in _WAITING
            found[thread] = id(frame), frame.f_lasti, _woken(numbers.get(thread)), waits
    return found


def _woken(number: int | None) -> str:
    """How often the system has put a thread aside and woken it again; empty where the system does not say."""
    try:
        with open(f"/proc/self/task/{number}/status", encoding="utf-8") as file:
            return "".join(line for line in file if "ctxt_switches" in line)
    except OSError:
        return ""


def _is_at_work(frame: types.FrameType) -> bool:
    """Whether a frame is of the user's code, or of a loader that some library's thread reads."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.startswith(_LOADERS) or is_users_module(module)


def _around(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
