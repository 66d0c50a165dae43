"""Runs a trial: a run is built anew, loaded, and given what is tried.

Each trial has a process of its own, so that nothing that modules keep grows from one to the next. Where all run in one
process (`in_process=True`), each begins in the same global state all the same: the generators and switches are those
that the process began with; and once the run has been loaded, whatever is not as it was in the resumed side (an
unseeded generator, a counter that hangs on a class) is put back from that side's snapshot, so that only what is tried
differs.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dora_repro.alignment.divergence import first_divergence, first_of_step
from dora_repro.contracts import Factory, Run, Value
from dora_repro.explain.trials.run_lines import fill, read_into
from dora_repro.explain.trials.trial import (
    BEYOND,
    CONTROL,
    DATA,
    DRAWS,
    ITERATORS,
    LATE,
    LOOP,
    PASSED,
    Lines,
    Outcome,
    Trial,
    TrialResult,
)
from dora_repro.recording import Recorder
from dora_repro.recording.replay import StreamReplay, Streams
from dora_repro.sides.building import build_and_load, build_and_step, inside
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.late_objects import NEVER_MADE, LateObjects
from dora_repro.sides.late_objects import inside as in_late_objects
from dora_repro.sides.protocol import Answer
from dora_repro.sides.side import brief_waits
from dora_repro.state import flags, rng
from dora_repro.state.distance import distance
from dora_repro.state.forms import differing_forms
from dora_repro.state.key_order import differing_orders
from dora_repro.state.objects import Objects
from dora_repro.state.overlay import overlaid
from dora_repro.state.parameter_order import optimizer_of, reordered
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import restore_around
from dora_repro.trace import Divergence, Step, Trace, unnumbered


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of an explanation have in common.

    Attributes:
        load: path of the checkpoint.
        start: the step after which it was saved.
        steps: the last step to do.
        reference: folder of the reference's evidence.
        resumed: folder of the resumed side's evidence.
        saved: snapshot of the reference at the save point, frozen parameters included where they matter.
        objects: objects that the resumed side lacked, whole; None where it lacked none.
        streams: what the reference was fed; None where it was not recorded.
        threads: number of intra-op threads; None for torch's own choice.
        at_end: leaves that must be the reference's at the end as well.
        late: paths of objects that the resumed run makes in its first step.
        passed_over: number of batches that it passes over in that step.
        raised: whether the resumed side raised, so that a trial that raises is no surprise.
    """

    load: str
    start: int
    steps: int
    reference: str
    resumed: str
    saved: str
    objects: str | None = None
    streams: str | None = None
    threads: int | None = None
    at_end: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    passed_over: int = 0
    raised: bool = False

    def within(self, folder: Path) -> dict[str, Any]:
        """The fields as JSON can hold them, their paths relative to a folder."""
        fields = asdict(self)
        return {**fields, **{name: _relative(fields[name], folder) for name in _PATHS}}

    @classmethod
    def below(cls, folder: Path, fields: Mapping[str, Any]) -> "TrialSetup":
        """The setup that `within` took apart, in a folder that may be elsewhere by now."""
        paths = {name: fields[name] and str(folder / fields[name]) for name in _PATHS}
        return cls(**{**fields, **paths, "at_end": tuple(fields["at_end"]), "late": tuple(fields.get("late", ()))})


_PATHS = ("load", "reference", "resumed", "saved", "objects", "streams")


def _relative(path: str | None, folder: Path) -> str | None:
    return None if path is None else Path(path).relative_to(folder).as_posix()


@dataclass
class _Progress:
    """How far a trial has come, for the result of one that raises.

    Attributes:
        steps: number of steps done.
        failed: leaves that could not be put in: path -> reason.
        when_made: what is done to the run in its first step, when its late objects are there.
    """

    steps: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    when_made: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Read:
    """What all trials of an explanation read, and none of them changes.

    Attributes:
        reference: evidence of the reference.
        resumed: evidence of the resumed side.
        loaded: its state after loading.
        saved: as of `TrialSetup`, read.
    """

    reference: Evidence
    resumed: Evidence
    loaded: Snapshot
    saved: Snapshot


_read: dict[TrialSetup, _Read] = {}


def prepare(about: Mapping[str, Any]) -> None:
    """Read what all trials need: they may then be forks of this process.

    Args:
        about: a `TrialSetup` as a dict.
    """
    setup = _setup_of(about)
    read = _read[setup] = _read_of(setup)
    _ = read.reference.trace


def _read_of(setup: TrialSetup) -> _Read:
    resumed = Evidence(Path(setup.resumed))
    return _Read(Evidence(Path(setup.reference)), resumed, resumed.loaded, Snapshot.read(setup.saved))


def _setup_of(about: Mapping[str, Any]) -> TrialSetup:
    return TrialSetup(**{**about, **{name: tuple(about[name]) for name in ("at_end", "late")}})


def _nothing() -> None:
    pass


class _Reached(Exception):
    """A run's late objects are there, and all that was wanted of it was done."""


def answer_trials(factory: Factory, about: Mapping[str, Any]) -> Answer:
    """Return what runs a trial: takes a `Trial` as a dict, returns its `TrialResult` as a dict.

    Args:
        factory: builds a run.
        about: a `TrialSetup` as a dict.
    """
    runner = TrialRunner(factory, _setup_of(about))
    return lambda trial: runner.result(Trial.from_dict(trial)).to_dict()


class TrialRunner:
    """Runs the trials of one explanation."""

    def __init__(self, factory: Factory, setup: TrialSetup) -> None:
        self._factory, self._setup = factory, setup
        self._waits = brief_waits()
        self._waits.__enter__()  # for as long as trials are done here
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        self._generators, self._flags = rng.capture_world(), flags.capture_flags()
        read = _read.get(setup) or _read_of(setup)
        self._reference, self._resumed = read.reference, read.resumed
        self._loaded, self._saved = read.loaded, read.saved
        self._objects = Objects.read(Path(setup.objects)) if setup.objects else None
        self._streams = Streams.read(Path(setup.streams)) if setup.streams else None

    def result(self, trial: Trial) -> TrialResult:
        """Run one trial. Whatever its run raises is part of the result."""
        progress = _Progress()
        try:
            with ExitStack() as stack:
                return self._compared(trial, self._prepared(trial, progress, stack), progress)
        except Exception as error:
            return TrialResult(
                Outcome.DIFFERENT if self._setup.raised else Outcome.UNRESOLVED,
                steps=progress.steps,
                failed=progress.failed,
                error=f"{type(error).__name__}: {error}",
            )

    def _prepared(self, trial: Trial, progress: _Progress, stack: ExitStack) -> Run:
        """A resumed run with what the trial puts into it, by transplant or by lines of code.

        Args:
            trial: the trial.
            progress: gets what is still to be done in the first step.
            stack: closed when the trial is over.
        """
        lines = trial.lines
        if lines is None:
            return self._transplanted(trial.names, progress)
        folder = stack.enter_context(tempfile.TemporaryDirectory())  # for a file beside the checkpoint: that one stays
        beside = Path(folder) / Path(self._setup.load).name
        if Path(self._setup.load).is_dir():
            beside.mkdir()
        filled = self._filled(trial, lines, beside, progress) if lines.save else {}
        run = self._transplanted(trial.beside | (trial.names & {LATE}), progress)
        load = Path(self._setup.load)
        read_into(run, lines.of_late_objects(False), filled, load, beside)
        if LATE in trial.names:
            put_in, late = progress.when_made or _nothing, lines.of_late_objects(True)

            def read() -> None:
                put_in()
                read_into(run, late, filled, load, beside)

            progress.when_made = read
        return run

    def _filled(self, trial: Trial, lines: Lines, beside: Path, progress: _Progress) -> dict[str, Value]:
        """What the lines of save make of a run that has what the reference had."""
        run = self._transplanted(trial.names, progress)
        filled = fill(lines.of_late_objects(False), run, beside)
        if LATE not in trial.names:
            return filled
        put_in = progress.when_made or _nothing

        def save() -> None:
            put_in()
            filled.update(fill(lines.of_late_objects(True), run, beside))
            raise _Reached

        with Recorder(run, self._setup.start) as recorder, suppress(_Reached):
            self._watch_late_objects(run, recorder, save)
            recorder.step()
        return filled

    def _watch_late_objects(self, run: Run, recorder: Recorder, do: Callable[[], None]) -> None:
        LateObjects(run, self._setup.late).when_made(recorder, lambda made: do())

    def _compared(self, trial: Trial, run: Run, progress: _Progress) -> TrialResult:
        """Do the remaining steps, and compare them with what is expected."""
        with ExitStack() as stack:
            begin = self._feeding(stack, run, trial.names)
            recorder = stack.enter_context(Recorder(run, self._setup.start))
            if progress.when_made is not None:
                self._watch_late_objects(run, recorder, progress.when_made)
            expected = self._resumed.trace if CONTROL in trial.names else self._reference.trace
            first = self._steps(expected, recorder, begin, trial.to_the_end, progress)
            same = first is None and self._ends_alike(run, self._setup.at_end)
            parameters = loss = None
            options: tuple[str, ...] = ()
            ended = trial.to_the_end or (not same and progress.steps == self._setup.steps - self._setup.start)
            if ended:
                parameters, loss = self._parameter_distance(run), self._loss_distance(recorder.trace)
                options = self._same_options(recorder.trace) if progress.steps > 1 else ()
        outcome = Outcome.SAME if same else Outcome.DIFFERENT
        return TrialResult(outcome, first, progress.steps, parameters, loss, progress.failed, None, options, ended)

    def _reset_globals(self) -> None:
        rng.restore_world(self._generators)
        flags.restore_flags(self._flags)

    def _transplanted(self, names: frozenset[str], progress: _Progress) -> Run:
        """A run as the resumed one was after loading, with these leaves from the reference in their place."""
        self._reset_globals()
        setup, leaves = self._setup, names - BEYOND
        progress.when_made = None
        late = in_late_objects(leaves, setup.late) if LATE in names else frozenset()
        leaves -= late
        state = overlaid(self._loaded, self._saved, leaves)
        if names & {ITERATORS, CONTROL, LOOP}:
            run = build_and_step(self._factory, 1 if LOOP in names else setup.start, setup.load)
        else:
            run = build_and_load(self._factory, setup.load)
        if names & {ITERATORS, LOOP}:
            variables = inside(leaves, self._saved) if LOOP in names else ()
            wrong = restore_around(state, run_roots(run), self._objects, variables)
        else:
            paths = self._in_saved_order(run, state, leaves) or ("*",)
            wrong = state.restore(run_roots(run), paths, self._objects)
        progress.failed = {path: reason for path, reason in wrong.items() if path in leaves}
        if late:
            progress.failed |= dict.fromkeys(late, NEVER_MADE)
            progress.when_made = partial(self._put_in, run, late, progress)
        return run

    def _put_in(self, run: Run, leaves: frozenset[str], progress: _Progress) -> None:
        """Put leaves into objects that are there now."""
        wrong = self._saved.restore(run_roots(run), sorted(leaves))
        progress.failed = {path: why for path, why in progress.failed.items() if path not in leaves} | wrong

    def _in_saved_order(self, run: Run, state: Snapshot, leaves: frozenset[str]) -> list[str]:
        """Put an order of parameters back that is under trial, with what was loaded by position going along.

        Returns:
            what is left to be put back: all but the moments, which are as loading in that order gives them; nothing
            where no order is under trial.
        """
        orders = leaves.intersection(reordered(self._saved, self._loaded))
        if not orders:
            return []
        self._saved.restore(run_roots(run), sorted(orders))
        inside = tuple(f"{optimizer_of(path)}/" for path in orders)
        live = Snapshot.capture(run_roots(run))
        moments = {
            path
            for snapshot in (state, live)
            for path, leaf in snapshot.items()
            if leaf.role == "moment" and path.startswith(inside) and path not in leaves
        }
        return [path for path in dict.fromkeys((*state, *state.forms, *live, *live.forms)) if path not in moments]

    def _feeding(self, stack: ExitStack, run: Run, names: frozenset[str]) -> Callable[[int], None]:
        if self._streams is None or not names & {DATA, DRAWS}:
            return lambda step: None
        own = self._setup.passed_over if PASSED in names else 0
        return stack.enter_context(StreamReplay(run, self._streams, DATA in names, DRAWS in names, own)).begin

    def _steps(
        self,
        expected: Trace,
        recorder: Recorder,
        begin: Callable[[int], None],
        to_the_end: bool,
        progress: _Progress,
    ) -> Divergence | None:
        """The first difference from what is expected; steps are done up to it, or all of them."""
        found = None
        for number in range(self._setup.start + 1, self._setup.steps + 1):
            begin(number)
            if not recorder.step(last=number == self._setup.steps):
                break
            progress.steps += 1
            found = found or first_of_step(expected, recorder.trace, number, unfinished=True)
            if found is not None and not to_the_end:
                return found
        return found or first_divergence(expected, recorder.trace, self._setup.start)

    def _ends_alike(self, run: Run, paths: Sequence[str]) -> bool:
        """Whether these leaves are at the end as they were in the reference."""
        return not paths or same_leaves(Snapshot.capture(run_roots(run)), self._reference.end, paths)

    def _parameter_distance(self, run: Run) -> float | None:
        """Largest difference of a trained parameter from the reference's; None where they cannot be compared."""
        expected, largest = self._reference.end, 0.0
        for path, leaf in Snapshot.capture(run_roots(run)).items():
            other = expected.get(path)
            if leaf.role != "parameter" or not leaf.kept or other is None or leaf.digest == other.digest:
                continue
            size = _largest_difference(other.value, leaf.value)
            if size is None:
                return None
            largest = max(largest, size)
        return largest

    def _same_options(self, trace: Trace) -> tuple[str, ...]:
        """Group options that were in the last step as the reference had them."""
        step = trace.steps[-1]
        theirs = self._reference.trace.step(step.number)
        ours, expected = (_last_options(one) for one in (step, theirs))
        return tuple(path for path, digest in ours.items() if expected.get(path) == digest)

    def _loss_distance(self, trace: Trace) -> float | None:
        if not trace.steps:
            return None
        theirs, ours = self._reference.trace.step(trace.steps[-1].number), trace.steps[-1].loss
        if theirs is None or theirs.loss is None or ours is None:
            return None
        return abs(theirs.loss - ours)


def _last_options(step: Step | None) -> dict[str, bytes]:
    """Each group option of a step, as it was recorded last."""
    effects = step.effects if step is not None else ()
    return {effect.leaf: effect.digest for effect in effects if unnumbered(effect.phase) == "schedule"}


def same_leaves(one: Snapshot, other: Snapshot, paths: Iterable[str]) -> bool:
    """Whether two snapshots have the same bytes and forms at all these paths, or both have nothing there."""
    paths = tuple(paths)
    if any(_digest(one, path) != _digest(other, path) for path in paths):
        return False
    by_form = (*differing_forms(one, other), *differing_orders(one, other))
    return not {path for path, _, _ in by_form}.intersection(paths)


def _digest(snapshot: Snapshot, path: str) -> bytes | None:
    return snapshot[path].digest if path in snapshot else None


def _largest_difference(expected: object, actual: object) -> float | None:
    """Largest absolute difference of two tensors of one form; None for anything else."""
    if not isinstance(expected, torch.Tensor) or not isinstance(actual, torch.Tensor):
        return None
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return None
    size = distance(expected, actual)
    return None if size is None else size.max_abs
