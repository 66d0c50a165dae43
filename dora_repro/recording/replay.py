"""What a run is fed from outside its state, step by step: the batches of its loaders, and where its generators stand.

Recorded in one run, it can be given to another: the same batches whatever its own loaders would hand out, or the same
generators at the beginning of each step. This is how data and random numbers are tried as causes: a loader's iterator
can be seen but not put back.
"""

import pickle
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from dora_repro.private_names.of_torch import LoaderIterator
from dora_repro.state import rng
from dora_repro.state.rebuild import copied
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

LIMIT = 1 << 29  # bytes of batches that are kept

_OVER = b""  # in place of a batch: the loader said that its epoch is over


@dataclass
class Streams:
    """Of each step: what loaders handed out, in order (pickled; empty where one was at its end), and the generators'
    states at its beginning, by path.

    Attributes:
        whole: whether all batches could be kept.
    """

    batches: dict[int, list[bytes]] = field(default_factory=dict)
    generators: dict[int, dict[str, object]] = field(default_factory=dict)
    whole: bool = True

    def write(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self))

    @classmethod
    def read(cls, path: Path) -> "Streams":
        """Of a file that this process's parent or an earlier side of the same check wrote: not a checkpoint."""
        return pickle.loads(path.read_bytes())


def generators_of(run: object) -> dict[str, object]:
    """The states of all generators, global and private, by path."""
    states = {f"rng/{name}": state for name, state in rng.capture_world().items()}
    found = walk(run_roots(run), moving_only=True)
    return states | {path: leaf.value for path, leaf in found.items() if leaf.role == "generator"}


class _Around(AbstractContextManager):
    """Something done around the `__next__` of every loader's iterator while the context is open."""

    def __enter__(self):
        self._real = real = LoaderIterator.__next__
        LoaderIterator.__next__ = lambda iterator: self._next(real, iterator)
        return self

    def __exit__(self, *_: object) -> None:
        LoaderIterator.__next__ = self._real


class Keeping(_Around):
    """Keeps the streams of a run. `begin(step)` is to be called before each step, and `streams` holds what was kept."""

    def __init__(self, run: object):
        self.streams = Streams()
        self._run, self._step, self._bytes = run, 0, 0

    def begin(self, step: int) -> None:
        self._step = step
        self.streams.batches[step] = []
        self.streams.generators[step] = {path: copied(state) for path, state in generators_of(self._run).items()}

    def _next(self, real, iterator: object) -> object:
        try:
            batch = real(iterator)
        except StopIteration:
            self._keep(_OVER)
            raise
        try:
            self._keep(pickle.dumps(batch))
        except Exception:  # whatever a batch of a user's own classes raises
            self.streams.whole = False
        return batch

    def _keep(self, batch: bytes) -> None:
        self._bytes += len(batch)
        if self._bytes > LIMIT or not self.streams.whole:
            self.streams.whole = False
            self.streams.batches.clear()
        elif self._step in self.streams.batches:
            self.streams.batches[self._step].append(batch)


class Feeding(_Around):
    """Feeds a run with the streams of another. `begin(step)` is to be called before each step.

    Args:
        batches: hand out the other's batches. The run's own loaders are asked all the same, so that what they draw is
            drawn; what they give is put aside.
        draws: set every generator to the other's at the beginning of a step.
    """

    def __init__(self, run: object, streams: Streams, batches: bool, draws: bool):
        self._run, self._streams, self._batches, self._draws = run, streams, batches, draws
        self._next_ones: Iterable[bytes] = iter(())

    def begin(self, step: int) -> None:
        if self._batches:
            self._next_ones = iter(self._streams.batches.get(step, ()))
        if self._draws and step in self._streams.generators:
            found = walk(run_roots(self._run))
            for path, state in self._streams.generators[step].items():
                if path.startswith("rng/"):
                    rng.restore_global(path.removeprefix("rng/"), copied(state))
                elif path in found and found[path].role == "generator":
                    found[path].put(copied(state))

    def _next(self, real, iterator: object) -> object:
        if not self._batches:
            return real(iterator)
        try:
            own, over = real(iterator), None
        except StopIteration as error:
            own, over = None, error
        other = next(self._next_ones, None)
        if other is None:  # the other asked for no more in this step
            if over is not None:
                raise over
            return own
        if other == _OVER and over is None:  # the other asked at an end where this one begins anew
            other = next(self._next_ones, _OVER)
        if other == _OVER:
            raise over or StopIteration
        return pickle.loads(other)
