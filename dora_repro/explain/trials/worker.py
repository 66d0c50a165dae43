"""Where trials are done: one interpreter, and for each trial a run built anew, loaded, and given what is tried.

Every trial begins in the same world. The generators and switches are those that this interpreter began with; and once
the run has been loaded, whatever is not as it was in the resumed side (an unseeded generator, a counter that hangs on a
class and was changed by the trial before) is put back from that side's snapshot, so that only what is tried differs.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from dora_repro.explain.trials.run_lines import fill, read_into
from dora_repro.explain.trials.trial import BEYOND, CONTROL, DATA, DRAWS, ITERATORS, Outcome, Trial
from dora_repro.recording import Recorder
from dora_repro.recording.replay import Feeding, Streams
from dora_repro.sides.building import build_and_load, build_and_step
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.side import brief_waits
from dora_repro.state import flags, rng
from dora_repro.state.distance import distance
from dora_repro.state.snapshot import SavedLeaf, Snapshot, overlaid, run_roots
from dora_repro.state.suspended import restore_around
from dora_repro.trace import Divergence, Trace, first_divergence, first_in_step, without_late_loading


@dataclass(frozen=True)
class Setting:
    """What all trials of an explanation have in common.

    Attributes:
        load: the checkpoint; start: the step after which it was saved; steps: the last to do.
        reference, resumed: folders of their evidence.
        saved: snapshot of the reference at the save point, frozen parameters included where they matter.
        streams: what the reference was fed; None where it was not kept.
        threads: of torch.
        at_end: leaves that must be the reference's at the end as well.
        forgotten: leaves that differ between any two runs.
        raised: whether the resumed side raised, so that a trial that raises is no surprise.
    """

    load: str
    start: int
    steps: int
    reference: str
    resumed: str
    saved: str
    streams: str | None = None
    threads: int | None = None
    at_end: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    raised: bool = False


def bench(factory: Callable[[], object], about: dict) -> Callable[[dict], dict]:
    """What answers trials, in whatever interpreter: a `Trial` as a dict with an `Outcome` as a dict."""
    made = Bench(factory, Setting(**{**about, "at_end": tuple(about["at_end"])}))
    return lambda asked: made.outcome(Trial.from_dict(asked)).to_dict()


class Bench:
    """Does the trials of one explanation."""

    def __init__(self, factory: Callable[[], object], setting: Setting):
        self._factory, self._setting = factory, setting
        self._waits = brief_waits()
        self._waits.__enter__()  # for as long as trials are done here
        if setting.threads is not None:
            torch.set_num_threads(setting.threads)
        self._world, self._flags = rng.capture_world(), flags.capture_flags()
        self._reference, self._resumed = Evidence(Path(setting.reference)), Evidence(Path(setting.resumed))
        self._loaded = self._resumed.loaded_or_none
        self._saved = Snapshot.read(setting.saved)
        self._streams = Streams.read(Path(setting.streams)) if setting.streams else None

    def outcome(self, trial: Trial) -> Outcome:
        """Do one trial. Whatever the run raises is told, not raised."""
        state = {"where": "load", "steps": 0, "failed": {}}
        try:
            return self._tried(trial, state)
        except Exception as error:
            return Outcome(
                heals=False if self._setting.raised else None,
                steps=state["steps"],
                failed=state["failed"],
                error=f"{type(error).__name__}: {error}",
            )

    def _begin_anew(self) -> None:
        rng.restore_world(self._world)
        flags.restore_flags(self._flags)

    def _tried(self, trial: Trial, state: dict) -> Outcome:
        setting, names, to_the_end = self._setting, trial.names, trial.to_the_end
        if trial.lines is None:
            run = self._given(names, state)
        else:
            filled = fill(trial.lines, self._given(names, state)) if trial.lines.save else {}
            run = self._given(frozenset(), state)
            read_into(run, trial.lines, filled, Path(setting.load))
        with ExitStack() as stack:
            begin = self._feeding(stack, run, names)
            recorder = stack.enter_context(Recorder(run, setting.start))
            expected = self._resumed.trace if CONTROL in names else self._reference.trace
            first = self._steps(expected, recorder, begin, to_the_end, state)
            found = first and (first.step, first.phase, first.leaf)
            heals = first is None and self._ended_as_it_should(run, setting.at_end)
            apart = loss = None
            if to_the_end:
                apart, loss = self._apart(run), self._losses_apart(recorder.trace)
        return Outcome(heals, found, state["steps"], apart, loss, state["failed"])

    def _given(self, names: frozenset[str], state: dict) -> object:
        """A run as the resumed one was after loading, with these leaves from the reference in their place."""
        self._begin_anew()
        setting, leaves = self._setting, names - BEYOND
        begun_with = overlaid(self._loaded, self._saved, leaves) if self._loaded is not None else self._saved
        if names & {ITERATORS, CONTROL}:
            run = build_and_step(self._factory, setting.start, setting.load)
        else:
            run = build_and_load(self._factory, setting.load)
        if ITERATORS in names:
            wrong = restore_around(begun_with, run_roots(run))
        else:
            wrong = begun_with.restore(run_roots(run), ("*",) if self._loaded is not None else sorted(leaves))
        state["failed"] = {path: reason for path, reason in wrong.items() if path in leaves}
        return run

    def _feeding(self, stack: ExitStack, run: object, names: frozenset[str]) -> Callable[[int], None]:
        if self._streams is None or not names & {DATA, DRAWS}:
            return lambda step: None
        return stack.enter_context(Feeding(run, self._streams, DATA in names, DRAWS in names)).begin

    def _steps(
        self, expected: Trace, recorder: Recorder, begin: Callable[[int], None], to_the_end: bool, state: dict
    ) -> Divergence | None:
        """The first difference from what is expected; steps are done up to it, or all of them."""
        found = None
        for number in range(self._setting.start + 1, self._setting.steps + 1):
            begin(number)
            if not recorder.step():
                break
            state["steps"] += 1
            theirs = expected.step(number)
            if found is None and theirs is not None:
                ours = without_late_loading(expected, recorder.trace, recorder.trace.steps[-1])
                found = first_in_step(number, theirs.effects, ours)
            if found is not None and not to_the_end:
                return found
        return found or first_divergence(expected, recorder.trace, self._setting.start)

    def _ended_as_it_should(self, run: object, paths: tuple[str, ...]) -> bool:
        if not paths:
            return True
        now, expected = Snapshot.capture(run_roots(run)), self._reference.end
        return all(_digest(now, path) == _digest(expected, path) for path in paths)

    def _apart(self, run: object) -> float | None:
        expected, largest = self._reference.end, 0.0
        for path, leaf in Snapshot.capture(run_roots(run)).items():
            other = expected.get(path)
            if leaf.role != "parameter" or not leaf.kept or other is None or leaf.digest == other.digest:
                continue
            if not isinstance(other.value, torch.Tensor) or other.value.shape != leaf.value.shape:
                return None
            found = distance(other.value, leaf.value) if other.value.dtype == leaf.value.dtype else None
            if found is None or found.max_abs is None:
                return None
            largest = max(largest, found.max_abs)
        return largest

    def _losses_apart(self, trace: Trace) -> float | None:
        if not trace.steps:
            return None
        theirs = self._reference.trace.step(trace.steps[-1].number)
        if theirs is None or theirs.loss is None or trace.steps[-1].loss is None:
            return None
        return abs(theirs.loss - trace.steps[-1].loss)


def _digest(snapshot: Mapping[str, SavedLeaf], path: str) -> bytes | None:
    return snapshot[path].digest if path in snapshot else None
