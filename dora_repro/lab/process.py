"""One process of a run, simulated: from its building, or from a checkpoint, to its end, with all that was recorded."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from dora_repro.contracts import Factory, Run
from dora_repro.errors import BadInput
from dora_repro.lab.global_state import GlobalState
from dora_repro.recording import Recorder
from dora_repro.recording.replay import StreamRecorder, StreamReplay, Streams
from dora_repro.sides.building import build_and_load
from dora_repro.state.digest import is_dense
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.trace import Trace
from dora_repro.wording import counted

LIMIT = 1 << 28  # bytes of snapshots that one process keeps by value


class Process:
    """A run with global generators and switches of its own.

    Args:
        factory: builds the run.
        number: number of the interpreter that it would have been started in.
        start: the step after which it was saved; 0 for a new run.
        path: the checkpoint that it begins with.

    Attributes:
        run: the run; None once it was killed.
        start: the step that it began after.
        done: number of its last step, counted from the run's beginning.
        trace: its steps, recorded.
        snapshots: its state after each step, the first right after building or loading.
        streams: what its loaders returned in each step.
        saves: step after which it was saved -> where to.
        transplants: what was put into it: (after which step, name).
    """

    def __init__(self, factory: Factory, number: int, start: int = 0, path: Path | None = None) -> None:
        self.start = self.done = start
        self.number, self.path = number, path
        self.trace = Trace()
        self.streams = Streams()
        self.saves: dict[int, Path] = {}
        self.transplants: list[tuple[int, str]] = []
        self._fed: Streams | None = None
        self._globals = GlobalState(number)
        with self._globals.active():
            run = build_and_load(factory, path)
            self.snapshots = {start: Snapshot.capture(run_roots(run))}
        self.run: Run | None = run
        self._sizes = {start: _size(self.snapshots[start])}

    @property
    def loaded(self) -> bool:
        """Whether it began with a checkpoint."""
        return self.path is not None

    @property
    def alive(self) -> bool:
        """Whether it was not killed."""
        return self.run is not None

    @property
    def finished(self) -> bool:
        """Whether the run said that it is over."""
        return self.trace.finished

    @property
    def snapshot(self) -> Snapshot:
        """Its state after its last step."""
        return self.snapshots[self.done]

    @property
    def losses(self) -> dict[int, float]:
        """The loss of each step that returned one."""
        return {step.number: step.loss for step in self.trace.steps if step.loss is not None}

    def step(self) -> None:
        """Do one more step, recorded.

        Raises:
            BadInput: it was killed, or has come to its end.
        """
        if self.finished:
            raise BadInput(f"the run is over after {counted(self.done, 'step')}: undo, or reset and build it anew")
        number, run = self.done + 1, self._alive()
        with self._globals.active(), ExitStack() as stack:
            if self._fed is not None:
                stack.enter_context(StreamReplay(run, self._fed, True, False)).begin(number)
            kept = stack.enter_context(StreamRecorder(run))
            kept.begin(number)
            recorder = stack.enter_context(Recorder(run, self.done))
            if not recorder.step():
                self.trace.finished = True
                return
            self.done = number
            self.trace.steps += recorder.trace.steps
            self.trace.unseen = recorder.trace.unseen
            self.streams.batches |= kept.streams.batches
            self.snapshots[number] = Snapshot.capture(run_roots(run))
        self._limit_size()

    def save(self, path: Path) -> None:
        """Let the run save itself.

        Raises:
            BadInput: it was killed.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        run = self._alive()
        with self._globals.active():
            run.save(str(path))
            self.snapshots[self.done] = Snapshot.capture(run_roots(run))  # saving may have changed it
        self.saves[self.done] = path

    def kill(self) -> None:
        """Let go of the run; what was recorded stays.

        Raises:
            BadInput: it was killed already.
        """
        if not self.alive:
            raise BadInput("there is nothing to kill: the run was killed already")
        self.run = None

    def transplant(self, name: str, paths: list[str], state: Snapshot) -> dict[str, str]:
        """Put leaves of another run's state in.

        Args:
            name: name of what is put in.
            paths: paths of the leaves.
            state: the other run's state.

        Returns:
            path -> reason, for leaves that could not be put in.

        Raises:
            BadInput: it was killed.
        """
        run = self._alive()
        with self._globals.active():
            failed = state.restore(run_roots(run), paths) if paths else {}
            self.snapshots[self.done] = Snapshot.capture(run_roots(run))
        self.transplants.append((self.done, name))
        return failed

    def feed(self, name: str, streams: Streams) -> None:
        """From now on give the run these batches, whatever its own loaders would return."""
        self._fed = streams
        self.transplants.append((self.done, name))

    def rewind(self, step: int) -> bool:
        """Put the state after an earlier step of this process back; False where not all of it could be.

        An iterator of a loader cannot be rewound: then the process has to be replayed.
        """
        wanted = self.snapshots.get(step)
        if wanted is None or self.run is None or self._fed is not None:
            return False
        with self._globals.active():
            failed = wanted.restore(run_roots(self.run))
            now = Snapshot.capture(run_roots(self.run))
        if failed or now.uncaptured or digests(now) != digests(wanted):
            return False
        self.done = step
        self.trace = Trace([s for s in self.trace.steps if s.number <= step], self.trace.start, False)
        self.snapshots = {number: state for number, state in self.snapshots.items() if number <= step}
        self.saves = {number: path for number, path in self.saves.items() if number <= step}
        return True

    def _alive(self) -> Run:
        if self.run is None:
            raise BadInput("the run was killed: load a checkpoint of it, or undo")
        return self.run

    def _limit_size(self) -> None:
        """Keep only the digests of the oldest snapshots; those of the beginning and of the saves stay whole."""
        self._sizes[self.done] = _size(self.snapshot)
        for number in sorted(self.snapshots):
            if sum(self._sizes[each] for each in self.snapshots) <= LIMIT or number == self.done:
                return
            if number not in (self.start, *self.saves):
                self.snapshots[number], self._sizes[number] = _without_values(self.snapshots[number]), 0


def digests(state: Snapshot) -> dict[str, bytes]:
    """Path -> digest of every leaf."""
    return {path: leaf.digest for path, leaf in state.items()}


def remove_folder(folder: Path) -> None:
    """Remove the checkpoints of a lab that is no longer used."""
    shutil.rmtree(folder, ignore_errors=True)


def _size(state: Snapshot) -> int:
    """Bytes of a snapshot's tensors; sparse ones, which have no such number, are not counted."""
    tensors = (leaf.value for leaf in state.values() if isinstance(leaf.value, torch.Tensor))
    return sum(tensor.nbytes for tensor in tensors if is_dense(tensor))


def _without_values(state: Snapshot) -> Snapshot:
    leaves = {path: replace(leaf, value=None, kept=False) for path, leaf in state.items()}
    return Snapshot(leaves, state.uncaptured, state.kinds, state.forms)
