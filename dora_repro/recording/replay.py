"""What comes into a run from outside its state, step by step: the batches of its loaders, also of those that another
thread reads ahead (`hand_overs.py`), the states of its generators.

Recorded in one run, it can be given to another: the same batches whatever its own loaders return, or the same
generators at the beginning of each step. This is how data and random numbers are tried as causes: a loader's iterator
can be seen but not put back.
"""

import contextlib
import pickle
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import LoaderIterator, set_loader_next
from dora_repro.recording.hand_overs import HandOver, Kind, Take, Taken, listening
from dora_repro.state import rng
from dora_repro.state.rebuild import copied
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

LIMIT = 1 << 29  # bytes of batches that are stored

OVER = b""  # in place of a batch: the loader's epoch was over

Next: TypeAlias = Callable[[LoaderIterator], Value]


@dataclass
class Streams:
    """What was recorded of each step.

    Attributes:
        batches: step -> what loaders returned, in order: pickled, and empty where one was at its end.
        generators: step -> path -> state of a generator at its beginning.
        in_hand: batches that the run had fetched for the first of these steps before it began, pickled.
        whole: whether all batches could be stored.
        elsewhere: whether another thread read a loader, and none was seen to hand a batch over: which of them a step
            was given is not known.
    """

    batches: dict[int, list[bytes]] = field(default_factory=dict)
    in_hand: list[bytes] = field(default_factory=list)
    generators: dict[int, dict[str, rng.State]] = field(default_factory=dict)
    whole: bool = True
    elsewhere: bool = False

    def write(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self))

    @classmethod
    def read(cls, path: Path) -> "Streams":
        """Read a file that this process's parent or an earlier side of the same check wrote: not a checkpoint."""
        streams: Streams = pickle.loads(path.read_bytes())
        return streams


def generators_of(run: Value) -> dict[str, rng.State]:
    """The states of all generators, global and private, by path."""
    states = {f"rng/{name}": state for name, state in rng.capture_world().items()}
    live = walk(run_roots(run), moving_only=True)
    return states | {path: leaf.value for path, leaf in live.items() if leaf.role == "generator"}


class _Around(AbstractContextManager[Any], ABC):
    """Something done around the `__next__` of every loader's iterator, and around all that other threads hand to this
    one, for one run, while the context is open."""

    def __init__(self, run: Value):
        self._run = run
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._real = real = LoaderIterator.__next__
        this = threading.get_ident()

        def __next__(iterator: LoaderIterator) -> Value:
            if threading.get_ident() != this:  # it reads ahead, and when is an accident
                self._read_elsewhere()
                return real(iterator)
            return self._next(real, iterator)

        set_loader_next(__next__)
        self._closing.enter_context(listening(self._handed))
        return self

    def __exit__(self, *_: object) -> None:
        set_loader_next(self._real)
        self._closing.close()
        # What others patched meanwhile may still refer to this: that must not keep a loader's workers waiting.
        self._run = None

    @abstractmethod
    def _next(self, real: Next, iterator: LoaderIterator) -> Value:
        """What an iterator gives next.

        Raises:
            StopIteration: it is at its end.
        """

    @abstractmethod
    def _handed(self, hand_over: HandOver, take: Take) -> Value:
        """What another thread hands over.

        Raises:
            StopIteration: that is at its end.
        """

    def _read_elsewhere(self) -> None:
        """Another thread asks a loader for a batch."""


class StreamRecorder(_Around):
    """Records the streams of a run, in `streams`. Call `begin(step)` before each step."""

    def __init__(self, run: Value):
        super().__init__(run)
        self.streams = Streams()
        self._step, self._bytes = 0, 0
        self._was_handed = False

    def begin(self, step: int) -> None:
        self._step = step
        if not self.streams.batches:
            in_hand: Callable[[], Iterable[Value]] | None = getattr(self._run, "batches_in_hand", None)
            with contextlib.suppress(Exception):  # whatever a batch of a user's own classes raises
                self.streams.in_hand = [pickle.dumps(batch) for batch in in_hand()] if callable(in_hand) else []
        self.streams.batches[step] = []
        self.streams.generators[step] = {path: copied(state) for path, state in generators_of(self._run).items()}

    def _next(self, real: Next, iterator: LoaderIterator) -> Value:
        try:
            batch = real(iterator)
        except StopIteration:
            self._keep(OVER)
            raise
        self._keep_batch(batch)
        return batch

    def _handed(self, hand_over: HandOver, take: Take) -> Value:
        taken = Taken.of(hand_over, take)
        if taken.kind is Kind.BATCH:
            self._was_handed, self.streams.elsewhere = True, False
            self._keep_batch(taken.value)
        elif taken.kind is Kind.END:
            self._keep(OVER)
        return taken.given()

    def _read_elsewhere(self) -> None:
        self.streams.elsewhere = not self._was_handed

    def _keep_batch(self, batch: Value) -> None:
        try:
            self._keep(pickle.dumps(batch))
        except Exception:  # whatever a batch of a user's own classes raises
            self.streams.whole = False

    def _keep(self, batch: bytes) -> None:
        self._bytes += len(batch)
        if self._bytes > LIMIT or not self.streams.whole:
            self.streams.whole = False
            self.streams.batches.clear()
        elif self._step in self.streams.batches:
            self.streams.batches[self._step].append(batch)


class StreamReplay(_Around):
    """Feeds a run with the streams of another. Call `begin(step)` before each step.

    Args:
        run: the run to feed.
        streams: of the other run.
        batches: return the other's batches. The run's own loaders work all the same, so that they draw what they draw;
            what they return is dropped.
        draws: set every generator to the other's at the beginning of a step.
        passed_over: number of batches that the run reads in its first step before those of that step: these are its
            own.
    """

    def __init__(self, run: Value, streams: Streams, batches: bool, draws: bool, passed_over: int = 0):
        super().__init__(run)
        self._streams, self._batches, self._draws = streams, batches, draws
        self._next_ones: Iterator[bytes] = iter(())
        self._passed_over, self._own = passed_over, 0
        self._ends = Ends()
        self._in_hand = streams.in_hand if batches and not passed_over else []

    def begin(self, step: int) -> None:
        self._own, self._passed_over = self._passed_over, 0
        hand_over: Callable[[list[Value]], None] | None = getattr(self._run, "hand_over", None)
        if self._in_hand and callable(hand_over):
            hand_over([pickle.loads(batch) for batch in self._in_hand])
        self._in_hand = []
        if self._batches:
            self._next_ones = iter(self._streams.batches.get(step, ()))
        if self._draws and step in self._streams.generators:
            live = walk(run_roots(self._run))
            for path, state in self._streams.generators[step].items():
                if path.startswith("rng/"):
                    rng.restore_global(path.removeprefix("rng/"), copied(state))
                elif path in live and live[path].role == "generator" and (put := live[path].put) is not None:
                    put(copied(state))

    def _next(self, real: Next, iterator: LoaderIterator) -> Value:
        if not self._batches:
            return real(iterator)
        if self._own:
            self._own -= 1
            return real(iterator)
        own: Value = None
        over: StopIteration | None = None
        try:
            own = real(iterator)
        except StopIteration as error:
            over = error
        return in_place_of(own, over, self._next_ones)

    def _handed(self, hand_over: HandOver, take: Take) -> Value:
        if not self._batches:
            return take()
        taken = self._ends.taken(hand_over, take)
        if self._own:
            self._own -= taken.kind is Kind.BATCH
            return taken.given()
        return self._ends.in_place_of(hand_over, taken, self._next_ones)


def in_place_of(own: Value, over: StopIteration | None, others: Iterator[bytes]) -> Value:
    """The next batch of another run in place of a loader's own, which stands where the other has none left.

    Args:
        own: what the loader gave.
        over: what it raised instead, at its end.
        others: the other's batches, pickled; empty where one of its loaders was at its end.

    Raises:
        StopIteration: the other was at an end, or has none left and the loader is.
    """
    other = next(others, None)
    if other is None:
        if over is not None:
            raise over
        return own
    if other == OVER and over is None:  # the other met an end where this one begins anew
        other = next(others, OVER)
    if other == OVER:
        raise over or StopIteration
    return pickle.loads(other)


class Ends:
    """What other threads had handed over to their end while another run's batches were given in place of theirs.

    Nothing more comes from there, and who asks for it waits for ever: so it is not asked any more.
    """

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, Taken] = weakref.WeakKeyDictionary()

    def taken(self, hand_over: HandOver, take: Take) -> Taken:
        """What a source gives, or gave at its end."""
        known = self._known.get(hand_over.source)
        return Taken.of(hand_over, take) if known is None else known

    def in_place_of(self, hand_over: HandOver, own: Taken, others: Iterator[bytes]) -> Value:
        """The next batch of another run in place of what a run's own source gave; that, where it is no batch.

        Args:
            hand_over: of the run's own.
            own: what it gave.
            others: as of `in_place_of`.

        Raises:
            StopIteration: both are at an end, and the source says it so.
        """
        if own.kind is Kind.OTHER:
            return own.value
        over = (own.stop or StopIteration()) if own.kind is Kind.END else None
        if over is not None:
            self._known[hand_over.source] = own
        try:
            return in_place_of(own.value, over, others)
        except StopIteration:
            return own.given()
