"""The moments at which a script's loader draws: what generators had there, and how they are put back.

An order is drawn when an iterator of the loader is made and asked first, which is before the first training forward
pass, and may be long before a save in the middle of an epoch. To put generators back for an order, they must be put
back there: at the same moments of the same loader, which is known by what it reads and how.
"""

import pickle
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.private_names.of_torch import LoaderIterator, set_loader_init, set_loader_next
from dora_repro.recording.hand_overs import HandOver, Kind, Take, listen
from dora_repro.recording.replay import LIMIT, OVER, Ends, in_place_of
from dora_repro.scripts.calls import Call, call_of
from dora_repro.scripts.last_draws import LastDraws
from dora_repro.scripts.samplers import Chosen, Own, own_of, put_back, samplers_of
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.tree import flatten

World: TypeAlias = dict[str, rng.State]
Key: TypeAlias = tuple[str, ...]

_AHEAD = 8  # batches that a loader may be ahead of the step


@dataclass
class Begun:
    """An iterator of a loader, as it was begun.

    Attributes:
        key: what tells its loader from others.
        step: number of steps that were done when it was made.
        made: states of the generators just before it was made.
        asked: the same before it was asked for its first batch; None until then.
        samplers: what the loader's samplers held when it was made.
        fetched: number of batches that it has given.
        by: the line of the user's own code that led to it: that of the loop; None where none did.
        keeps_place: whether its loader has a state of its own, which brings its place in the epoch back.
    """

    key: Key
    step: int
    made: World
    asked: World | None = None
    samplers: Own = ()
    fetched: int = 0
    by: Call | None = None
    keeps_place: bool = False


@dataclass
class Anchor:
    """What was known of the loader at one training forward pass.

    Attributes:
        begun: the iterator that the batch is from; None where no loader gave it.
        in_hand: digests, in hexadecimal, of the tensors that were fetched for the step.
        batches: number of batches that were fetched for it.
        given: digests, in hexadecimal, of the tensors that the module is given by position.
        drew_late: whether the loop before this one ended with a draw, after a checkpoint was written.
    """

    begun: Begun | None
    in_hand: list[str] = field(default_factory=list)
    batches: int = 0
    given: list[str] = field(default_factory=list)
    drew_late: bool = False

    def write(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self))

    @classmethod
    def read(cls, path: Path) -> "Anchor":
        """Read a file that a process of this very check wrote."""
        anchor: Anchor = pickle.loads(path.read_bytes())
        return anchor

    def used_before(self, resumed: "Anchor") -> int:
        """Number of batches of the epoch that had been used when the run was saved, and that the resumed run's loader
        did not pass over; 0 where it did, by itself or by a sampler around its own.

        Args:
            resumed: what was known in the resumed run before its first training forward pass.
        """
        here, there = self.begun, resumed.begun
        if here is None or there is None or here.key != there.key or there.keeps_place:
            return 0
        used = here.fetched - there.fetched
        if used <= 0 or len(here.samplers) != len(there.samplers) or _knows_place(here, there, used):
            return 0
        return used


def _knows_place(here: Begun, there: Begun, used: int) -> bool:
    """Whether a sampler of the resumed run's loader holds how much was used, in batches or in samples, and the other
    run's does not: it passes over that itself."""
    portion = there.key[2] if len(there.key) > 2 else ""
    counts = {used, used * int(portion)} if portion.isdigit() else {used}
    return any(
        type(value) is int and value in counts and theirs.get(name) != (False, value)
        for theirs, own in zip(here.samplers, there.samplers, strict=True)
        for name, (_, value) in own.items()
    )


@dataclass(frozen=True)
class Put:
    """What is put in before the first training forward pass.

    Attributes:
        anchor: of the uninterrupted run.
        generators: names of the global generators to put back where the iterator is made and first asked.
        batches: the batches of the uninterrupted run from that forward pass on, pickled; None: the loader's own.
        own: number of batches that the loader gives by itself before those.
        chosen: given the frame in which an iterator is about to be made, tells what to put back into samplers.
        used: number of batches that the loader passes over before it gives any.
    """

    anchor: Anchor
    generators: tuple[str, ...] = ()
    batches: Sequence[bytes] | None = None
    own: int = 0
    chosen: Callable[[types.FrameType | None], Chosen] | None = None
    used: int = 0


class Loaders:
    """Watches the loaders of a process.

    Args:
        wanted: what to put in; None for nothing.
        keeps: whether batches are to be stored later on, with those that were fetched shortly before.
    """

    def __init__(self, wanted: Put | None = None, keeps: bool = False):
        self._wanted = wanted
        self._before: deque[Value] = deque(maxlen=_AHEAD if keeps else 0)
        self._known: weakref.WeakKeyDictionary[LoaderIterator, Begun] = weakref.WeakKeyDictionary()
        self._handing: dict[Key, Begun] = {}  # what takes the batches of other threads, by where
        self._ends = Ends()
        self._last: Begun | None = None
        self._feed: Iterator[bytes] | None = None
        self._given = 0
        self._kept: list[bytes] | None = None
        self._kept_bytes = 0
        self.batches: list[Value] = []
        self.step = 0
        self.last_draws = LastDraws()

    def install(
        self,
        mine: Any,
        asked: Callable[[], None] = lambda: None,
        careful: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Listen from now on.

        Args:
            mine: tells whether a call is one of the thread and the process that are recorded.
            asked: called before a loader is asked for a batch.
            careful: gives a context in which what is raised here does not reach the script.
        """
        real_init, real_next = LoaderIterator.__init__, LoaderIterator.__next__

        def __init__(iterator: LoaderIterator, loader: Any, *args: Any, **kwargs: Any) -> None:
            if mine():
                with careful():
                    self._before_making(iterator, loader)
            real_init(iterator, loader, *args, **kwargs)

        def __next__(iterator: LoaderIterator) -> Value:
            if not mine():
                return real_next(iterator)
            passed_over = 0
            with careful():
                asked()
                passed_over = self._before_asking(iterator)
            for _ in range(passed_over):
                real_next(iterator)
            batch = self._next(real_next, iterator)
            self._fetched(batch)
            return batch

        def handed(hand_over: HandOver, take: Take) -> Value:
            return self._handed(hand_over, take) if mine() else take()

        set_loader_init(__init__)
        set_loader_next(__next__)
        listen(handed)

    def _fetched(self, batch: Value) -> None:
        self.batches.append(batch)
        self._before.append(batch)

    def _before_making(self, iterator: LoaderIterator, loader: Any) -> None:
        key = key_of(loader)
        if (begun := self._to_put(key)) is not None:
            self._restore(begun.made)
            if self._wanted is not None and self._wanted.chosen is not None:
                put_back(loader, begun.samplers, self._wanted.chosen(get_frame(1)))
        world, own = rng.capture_world(), own_of(loader)
        place = callable(getattr(loader, "load_state_dict", None))
        by = call_of(get_frame(1))
        self.last_draws.begun(iterator, loader)
        self._known[iterator] = Begun(key, self.step, world, samplers=own, by=by, keeps_place=place)

    def _before_asking(self, iterator: LoaderIterator) -> int:
        """An iterator is about to be asked: how many batches it is to pass over before."""
        known = self._known.get(iterator)
        if known is None or known.asked is not None:
            return 0
        begun = self._to_put(known.key)
        if begun is not None and begun.asked is not None:
            self._restore(begun.asked)
        known.asked = rng.capture_world()
        return self._wanted.used if begun is not None and self._wanted is not None else 0

    def _to_put(self, key: Key) -> Begun | None:
        """What the iterator of this loader is to begin with; None for what it has itself."""
        begun = self._wanted.anchor.begun if self._wanted is not None else None
        return begun if begun is not None and begun.key == key and not self.step else None

    def _restore(self, world: World) -> None:
        assert self._wanted is not None
        rng.restore_world({name: state for name, state in world.items() if name in self._wanted.generators})

    # --- batches -----------------------------------------------------------------------------------------------------

    def _next(self, real: Any, iterator: LoaderIterator) -> Value:
        known = self._known.get(iterator)
        self._last = known
        fed = self._feed_for(known)
        before = self.last_draws.before(iterator, known.fetched) if known is not None else None
        own: Value = None
        over: StopIteration | None = None
        try:
            own = real(iterator)
        except StopIteration as error:
            over = error
        if known is not None:
            known.fetched += over is None
            if over is not None:
                self.last_draws.over(iterator, known.key, self.step, before)
        if fed is not None:
            return in_place_of(own, over, fed)
        if over is not None:
            self._keep(OVER)
            raise over
        self._keep_batch(own)
        return own

    def _handed(self, hand_over: HandOver, take: Take) -> Value:
        """What another thread hands over. When its loader drew is not known to the thread that trains."""
        taken = self._ends.taken(hand_over, take)
        if taken.kind is Kind.OTHER:
            return taken.given()
        begun = Begun(hand_over.key, self.step, rng.capture_world(), by=call_of(hand_over.frame))
        self._last = known = self._handing.setdefault(hand_over.key, begun)
        fed = self._feed_for(known)
        known.fetched += taken.kind is Kind.BATCH
        if fed is not None:
            batch = self._ends.in_place_of(hand_over, taken, fed)
            if taken.kind is Kind.BATCH or batch is not taken.value:
                self._fetched(batch)
            return batch
        if taken.kind is Kind.END:
            self._keep(OVER)
            return taken.given()
        self._keep_batch(taken.value)
        self._fetched(taken.value)
        return taken.value

    def _feed_for(self, known: Begun | None) -> Iterator[bytes] | None:
        """The other run's batches, where this call is to give one of them."""
        wanted = self._wanted
        if wanted is None or wanted.batches is None or known is None or wanted.anchor.begun is None:
            return None
        if known.key != wanted.anchor.begun.key:
            return None
        if self._feed is None:
            if self._given < wanted.own:
                self._given += 1
                return None
            self._feed = iter(wanted.batches)
        return self._feed

    @property
    def source(self) -> int | None:
        """What tells the iterator that the batch in hand is from; None where there is no batch in hand."""
        return id(self._last) if self.batches and self._last is not None else None

    def keep(self) -> None:
        """From now on, store the batches: those fetched shortly before, those in hand, and what follows. May be called
        again, where it turns out that the step began later."""
        self._kept = []
        self._kept_bytes = 0
        for batch in self._before:
            self._keep_batch(batch)
        self._first = 0 if self._kept is None else len(self._kept) - len(self.batches)

    def _keep_batch(self, batch: Value) -> None:
        if self._kept is None:
            return
        try:
            self._keep(pickle.dumps(batch))
        except Exception:  # whatever a batch of a user's own classes raises
            self._kept = None

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        self._kept_bytes += len(data)
        if self._kept_bytes > LIMIT:
            self._kept = None
        else:
            self._kept.append(data)

    def write_kept(self, path: Path) -> None:
        """Write the stored batches, where all could be stored."""
        if self._kept is not None:
            path.write_bytes(pickle.dumps((self._first, self._kept)))

    def anchor(self, given: Value = None) -> Anchor:
        """What is known at a training forward pass that is about to begin.

        Args:
            given: what the module is given by position.
        """
        begun = self._last if self.batches else None
        late = begun is not None and self.last_draws.is_late(begun.key, self.step)
        return Anchor(begun, _digests(self.batches), len(self.batches), _digests(given), late)


def _digests(value: Value) -> list[str]:
    """Digests of all tensors that something holds, in hexadecimal."""
    return [digest(item).hex() for _, item in flatten(value) if isinstance(item, torch.Tensor)]


def read_batches(path: Path, earlier: int = 0) -> Sequence[bytes]:
    """What `write_kept` wrote, in a process of this very check: the batches in hand and those after them.

    Args:
        path: the file.
        earlier: number of batches before those in hand that are wanted as well: a loader that looks ahead fetches more
            for its first step than for any other.
    """
    first, batches = pickle.loads(path.read_bytes())
    found: Sequence[bytes] = batches[max(0, first - earlier) :]
    return found


def key_of(loader: Any) -> Key:
    """What tells a loader from others, in any process: what it reads, in which portions, by which sampler."""
    try:
        size = str(len(loader.dataset))
    except (TypeError, NotImplementedError, AttributeError):
        size = "?"
    samplers = list(samplers_of(loader))
    portions = (getattr(one, "batch_size", None) for one in (*samplers, loader))
    portion = next((number for number in portions if number is not None), "")
    order = type(samplers[-1]).__name__ if samplers else ""  # whatever wraps it to skip batches or to share them out
    return size, type(loader.dataset).__name__, str(portion), order
