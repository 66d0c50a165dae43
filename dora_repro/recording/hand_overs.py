"""What other threads hand to the one that trains: batches that a thread of the run's own fetches ahead.

When a thread asks a loader is an accident of the moment; in which order its batches reach the thread that trains is
not. So they are seen there: where that thread takes one from a queue that another thread has filled, or asks a future
or a pool for what another thread has made. Nothing else of the threads is changed: none waits for another that would
not have waited before.
"""

import enum
import multiprocessing.pool
import queue
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.state.tree import flatten

Site: TypeAlias = tuple[types.CodeType, int]
Take: TypeAlias = Callable[[], Value]

_BETWEEN = ("queue", "concurrent.futures", "multiprocessing", __name__)  # between who takes and what hands over
_LOADING = ("torch.utils.data.dataloader", "torch.utils.data._utils")  # takes what its workers have made by itself


@dataclass(frozen=True)
class HandOver:
    """A thread is about to take something.

    Attributes:
        source: the queue, the future or the pool's iterator.
        site: the place in the code of the run where it is taken, which is the same for all batches of one kind.
        frame: the frame of that code.
    """

    source: Any
    site: Site
    frame: types.FrameType

    @property
    def key(self) -> tuple[str, ...]:
        """What tells the site from others, in any process."""
        code = self.site[0]
        return "another thread", PurePath(code.co_filename).name, code.co_qualname, str(self.frame.f_lineno)


class Kind(enum.Enum):
    """What was taken."""

    BATCH = "a batch that another thread has made"
    END = "what stands where batches come from, and is none: the mark of their end"
    OTHER = "anything else"


@dataclass(frozen=True)
class Taken:
    """What a thread took.

    Attributes:
        value: what it was; None where there was none any more.
        kind: of it.
        stop: what was raised where there was none any more.
    """

    value: Value
    kind: Kind
    stop: StopIteration | None = None

    @classmethod
    def of(cls, hand_over: HandOver, take: Take) -> "Taken":
        """Take; where there is none any more, that is an end."""
        try:
            value = take()
        except StopIteration as stop:
            return cls(None, Kind.END if hand_over.site in _SITES else Kind.OTHER, stop)
        if not _by_another_thread(hand_over.source):
            return cls(value, Kind.OTHER)
        if _is_data(value):
            _SITES.add(hand_over.site)
            return cls(value, Kind.BATCH)
        return cls(value, Kind.END if hand_over.site in _SITES else Kind.OTHER)

    def given(self) -> Value:
        """The value.

        Raises:
            StopIteration: there was none any more.
        """
        if self.stop is not None:
            raise self.stop
        return self.value


Listener: TypeAlias = Callable[[HandOver, Take], Value]  # takes, and returns what is given in place of that

_listeners: list[tuple[int, Listener]] = []  # (thread, listener): what comes later is around what came before
_SITES: set[Site] = set()  # where batches were taken
_FILLED_BY: "weakref.WeakKeyDictionary[Any, set[int]]" = weakref.WeakKeyDictionary()  # queue -> threads
_GIVEN: "weakref.WeakKeyDictionary[Any, Value]" = weakref.WeakKeyDictionary()  # a future can be asked again


def install() -> None:
    """Note from now on who fills queues, in this process, and let listeners hear. Harmless where it was done before.

    Stays for as long as the process lives: what is put into a queue between two steps counts as well.
    """
    if getattr(queue.Queue.put, "__module__", "") != __name__:
        _wrap(queue.Queue, "get", _around_get)
        _wrap(queue.Queue, "put", _around_put)
        _wrap(Future, "result", _around_result)
        _wrap(multiprocessing.pool.ApplyResult, "get", _around_result)
        _wrap(multiprocessing.pool.IMapIterator, "next", _around_next)
        items: Any = multiprocessing.pool.IMapIterator
        items.__next__ = items.next


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have a listener called, on this thread, for each thing that it takes from another one."""
    entry = listen(listener)
    try:
        yield
    finally:
        _listeners.remove(entry)


def listen(listener: Listener) -> tuple[int, Listener]:
    """The same until the process ends."""
    install()
    entry = (threading.get_ident(), listener)
    _listeners.append(entry)
    return entry


def _wrap(kind: type, name: str, around: Callable[[Any], Any]) -> None:
    setattr(kind, name, around(getattr(kind, name)))


def _around_get(real: Callable[..., Value]) -> Callable[..., Value]:
    def get(self: Any, block: bool = True, timeout: float | None = None) -> Value:
        take = partial(real, self, block, timeout)
        return _taken(self, take) if block else take()  # who does not wait takes what happens to be there

    return get


def _around_put(real: Callable[..., None]) -> Callable[..., None]:
    def put(self: Any, item: Value, block: bool = True, timeout: float | None = None) -> None:
        _FILLED_BY.setdefault(self, set()).add(threading.get_ident())
        real(self, item, block, timeout)

    return put


def _around_result(real: Callable[..., Value]) -> Callable[..., Value]:
    def result(self: Any, timeout: float | None = None) -> Value:
        if self in _GIVEN:
            return _GIVEN[self]
        value = _taken(self, partial(real, self, timeout))
        if _heard():
            _GIVEN[self] = value
        return value

    return result


def _around_next(real: Callable[..., Value]) -> Callable[..., Value]:
    def next(self: Any, timeout: float | None = None) -> Value:
        return _taken(self, partial(real, self, timeout))

    return next


def _heard() -> list[Listener]:
    """The listeners of this thread."""
    this = threading.get_ident()
    return [listener for thread, listener in _listeners if thread == this]


def _taken(source: Any, take: Take) -> Value:
    """What a source gives, or what listeners have in place of it."""
    listeners = _heard()
    frame = _taker(get_frame(1)) if listeners else None
    if frame is None:
        return take()
    hand_over = HandOver(source, (frame.f_code, frame.f_lasti), frame)
    for listener in listeners:
        take = partial(listener, hand_over, take)
    return take()


def _taker(frame: types.FrameType | None) -> types.FrameType | None:
    """The frame of the run that takes; None where it is a loader, which is listened to by itself."""
    taker = None
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_LOADING):
            return None
        if taker is None and not module.startswith(_BETWEEN):
            taker = frame
        frame = frame.f_back
    return taker


def _by_another_thread(source: Any) -> bool:
    """Whether another thread has filled a source. What a future or a pool gives, another one has made."""
    return not isinstance(source, queue.Queue) or bool(_FILLED_BY.get(source, set()) - {threading.get_ident()})


def _is_data(value: Value) -> bool:
    """Whether something holds tensors or arrays, and none that is still to be differentiated."""
    found = [item for _, item in flatten(value) if isinstance(item, (torch.Tensor, np.ndarray))]
    graphs = any(isinstance(item, torch.Tensor) and item.requires_grad for item in found)
    return not graphs and any(item.ndim for item in found)
