"""Runs a trial: a run is built anew, loaded, given what is tried, and stepped beside the reference.

Each trial has a process of its own, so that nothing that modules keep grows from one to the next.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from dora_repro.alignment.divergence import first_divergence, first_of_step
from dora_repro.contracts import Factory, Run
from dora_repro.explain.trials.ends import loss_distance, parameter_distance, same_leaves, same_options
from dora_repro.explain.trials.setup import TrialSetup, inputs_of, read_beforehand
from dora_repro.explain.trials.transplanting import Progress, Transplants
from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, PASSED, Outcome, Trial, TrialResult
from dora_repro.explain.trials.trying_lines import LinesTried
from dora_repro.recording import Recorder
from dora_repro.recording.replay import StreamReplay, Streams
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.protocol import Answer
from dora_repro.sides.side import brief_waits
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.trace import Divergence, Trace


def prepare(about: Mapping[str, Any]) -> None:
    """Read what all trials need: they may then be forks of this process.

    Args:
        about: a `TrialSetup` as a dict.
    """
    read_beforehand(TrialSetup.from_dict(about))


def answer_trials(factory: Factory, about: Mapping[str, Any]) -> Answer:
    """Return what runs a trial: takes a `Trial` as a dict, returns its `TrialResult` as a dict.

    Args:
        factory: builds a run.
        about: a `TrialSetup` as a dict.
    """
    runner = TrialRunner(factory, TrialSetup.from_dict(about))
    return lambda trial: runner.result(Trial.from_dict(trial)).to_dict()


class TrialRunner:
    """Runs the trials of one explanation."""

    def __init__(self, factory: Factory, setup: TrialSetup) -> None:
        self._setup = setup
        self._waits = brief_waits()
        self._waits.__enter__()  # for as long as trials are done here
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        inputs = inputs_of(setup)
        self._transplants = Transplants(factory, setup, inputs)
        self._lines = LinesTried(self._transplants, setup)
        self._reference, self._resumed = inputs.reference, inputs.resumed
        self._streams = Streams.read(Path(setup.streams)) if setup.streams else None

    def result(self, trial: Trial) -> TrialResult:
        """Run one trial. Whatever its run raises is part of the result."""
        progress = Progress()
        try:
            with ExitStack() as stack:
                return self._compared(trial, self._given(trial, progress, stack), progress)
        except Exception as error:
            return TrialResult(
                Outcome.DIFFERENT if self._setup.raised else Outcome.UNRESOLVED,
                steps=progress.steps,
                failed=progress.failed,
                error=f"{type(error).__name__}: {error}",
            )

    def _given(self, trial: Trial, progress: Progress, stack: ExitStack) -> Run:
        """A resumed run with what the trial puts into it, by transplant or by lines of code."""
        if trial.lines is None:
            return self._transplants.run_with(trial.names, progress)
        return self._lines.run_with(trial, trial.lines, progress, stack)

    def _compared(self, trial: Trial, run: Run, progress: Progress) -> TrialResult:
        """Do the remaining steps, and compare them with what is expected."""
        with ExitStack() as stack:
            begin = self._feeding(stack, run, trial.names)
            recorder = stack.enter_context(Recorder(run, self._setup.start))
            if progress.when_made is not None:
                self._transplants.watch_late_objects(run, recorder, progress.when_made)
            expected = self._resumed if CONTROL in trial.names else self._reference
            first = self._steps(expected.trace, recorder, begin, trial.to_the_end, progress)
            same = first is None and self._ends_alike(run, expected)
            parameters = loss = None
            options: tuple[str, ...] = ()
            ended = trial.to_the_end or (not same and progress.steps == self._setup.steps - self._setup.start)
            if ended:
                parameters = parameter_distance(self._reference.end, Snapshot.capture(run_roots(run)))
                loss = loss_distance(self._reference, recorder.trace)
                options = same_options(self._reference, recorder.trace) if progress.steps > 1 else ()
        outcome = Outcome.SAME if same else Outcome.DIFFERENT
        return TrialResult(outcome, first, progress.steps, parameters, loss, progress.failed, None, options, ended)

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
        progress: Progress,
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

    def _ends_alike(self, run: Run, expected: Evidence) -> bool:
        """Whether all that tells the two runs apart at the end is as it is expected."""
        at_end = self._setup.at_end
        return not at_end or same_leaves(Snapshot.capture(run_roots(run)), expected.end, at_end)
