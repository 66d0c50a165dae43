"""One life of a run: from its making, or from a checkpoint, to its end; all that was seen of it on the way."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from dora_repro.errors import BadInput
from dora_repro.lab.global_state import World
from dora_repro.recording import Recorder
from dora_repro.recording.replay import Feeding, Keeping, Streams
from dora_repro.sides.building import build_and_load
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.trace import Trace
from dora_repro.wording import counted

LIMIT = 1 << 28  # bytes of snapshots that one life keeps by value


class Life:
    """A run in a world of its own.

    Args:
        factory: builds the run.
        number: of the interpreter that it would have been started in.
        begun: the step after which it was saved; 0 for a new run.
        path: the checkpoint that it begins with.

    Attributes:
        run: None once it was killed.
        done: steps it has done, counted from the run's beginning.
        trace: of its steps.
        moments: its state after each step, the first right after making or loading.
        streams: what its loaders handed out in each step.
        saves: steps after which it was saved, and where to.
        given: what was put into it: (after which step, name).
    """

    def __init__(self, factory: Callable[[], object], number: int, begun: int = 0, path: Path | None = None):
        self.begun = self.done = begun
        self.number, self.path = number, path
        self.trace = Trace()
        self.streams = Streams()
        self.saves: dict[int, Path] = {}
        self.given: list[tuple[int, str]] = []
        self._fed: Streams | None = None
        self._world = World(number)
        with self._world.inside():
            self.run = build_and_load(factory, path)
            self.moments = {begun: Snapshot.capture(run_roots(self.run))}
        self._sizes = {begun: _bytes(self.moments[begun])}

    @property
    def loaded(self) -> bool:
        return self.path is not None

    @property
    def alive(self) -> bool:
        return self.run is not None

    @property
    def finished(self) -> bool:
        return self.trace.finished

    @property
    def now(self) -> Snapshot:
        """Its state after its last step."""
        return self.moments[self.done]

    @property
    def losses(self) -> dict[int, float]:
        """The loss of each step that returned one."""
        return {step.number: step.loss for step in self.trace.steps if step.loss is not None}

    def step(self) -> None:
        """One more step, recorded.

        Raises:
            BadInput: it was killed, or has come to its end.
        """
        if self.finished:
            raise BadInput(f"the run is over after {counted(self.done, 'step')}: undo, or reset and build it anew")
        number = self.done + 1
        with self._inside(), ExitStack() as stack:
            if self._fed is not None:
                stack.enter_context(Feeding(self.run, self._fed, True, False)).begin(number)
            keeping = stack.enter_context(Keeping(self.run))
            keeping.begin(number)
            recorder = stack.enter_context(Recorder(self.run, self.done))
            if not recorder.step():
                self.trace.finished = True
                return
            self.done = number
            self.trace.steps += recorder.trace.steps
            self.trace.unseen = recorder.trace.unseen
            self.streams.batches |= keeping.streams.batches
            self.moments[number] = Snapshot.capture(run_roots(self.run))
        self._keep_within_limit()

    def save(self, path: Path) -> None:
        """Let the run save itself."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._inside():
            self.run.save(str(path))
            self.moments[self.done] = Snapshot.capture(run_roots(self.run))  # saving may have changed it
        self.saves[self.done] = path

    def kill(self) -> None:
        """Let go of the run; what was seen of it stays."""
        if not self.alive:
            raise BadInput("there is nothing to kill: the run was killed already")
        self.run = None

    def give(self, name: str, paths: list[str], state: Snapshot) -> dict[str, str]:
        """Put leaves of another run's state in; path -> reason for those that could not be."""
        with self._inside():
            failed = state.restore(run_roots(self.run), paths) if paths else {}
            self.moments[self.done] = Snapshot.capture(run_roots(self.run))
        self.given.append((self.done, name))
        return failed

    def feed(self, name: str, streams: Streams) -> None:
        """From now on it gets these batches, whatever its own loaders would hand out."""
        self._fed = streams
        self.given.append((self.done, name))

    def back_to(self, step: int) -> bool:
        """Put the state after an earlier step of this life back; False where not all of it could be.

        An iterator of a loader cannot be wound back: then the life has to be lived again.
        """
        wanted = self.moments.get(step)
        if wanted is None or not self.alive or self._fed is not None:
            return False
        with self._inside():
            failed = wanted.restore(run_roots(self.run))
            now = Snapshot.capture(run_roots(self.run))
        if failed or now.uncaptured or digests(now) != digests(wanted):
            return False
        self.done = step
        self.trace = Trace([s for s in self.trace.steps if s.number <= step], self.trace.start, False)
        self.moments = {number: moment for number, moment in self.moments.items() if number <= step}
        self.saves = {number: path for number, path in self.saves.items() if number <= step}
        return True

    def _inside(self):
        if not self.alive:
            raise BadInput("the run was killed: load a checkpoint of it, or undo")
        return self._world.inside()

    def _keep_within_limit(self) -> None:
        """Of the oldest moments keep the digests alone; of that of the beginning and of the saves all."""
        self._sizes[self.done] = _bytes(self.now)
        for number in sorted(self.moments):
            if sum(self._sizes[each] for each in self.moments) <= LIMIT or number == self.done:
                return
            if number not in (self.begun, *self.saves):
                self.moments[number], self._sizes[number] = _without_values(self.moments[number]), 0


def digests(state: Snapshot) -> dict[str, bytes]:
    return {path: leaf.digest for path, leaf in state.items()}


def forget(folder: Path) -> None:
    """Remove the checkpoints of a lab that is done with."""
    shutil.rmtree(folder, ignore_errors=True)


def _bytes(state: Snapshot) -> int:
    return sum(leaf.value.nbytes for leaf in state.values() if isinstance(leaf.value, torch.Tensor))


def _without_values(state: Snapshot) -> Snapshot:
    leaves = {path: replace(leaf, value=None, kept=False) for path, leaf in state.items()}
    return Snapshot(leaves, state.uncaptured, state.kinds)
