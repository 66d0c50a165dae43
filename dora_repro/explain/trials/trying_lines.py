"""Advised lines of code tried in the place of a transplant.

Those of save are run on a run that has what the reference had, those of load on one as it was resumed. Lines for
objects that a run makes in its first step wait for these, on both.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from dora_repro.contracts import Run, Value
from dora_repro.explain.trials.run_lines import fill, read_into
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.explain.trials.transplanting import Progress, Transplants
from dora_repro.explain.trials.trial import LATE, Lines, Trial
from dora_repro.recording import Recorder


class _Reached(Exception):
    """A run's late objects are there, and all that was wanted of it was done."""


class LinesTried:
    """Runs lines of code on runs of trials.

    Args:
        transplants: makes the runs.
        setup: what all trials have in common.
    """

    def __init__(self, transplants: Transplants, setup: TrialSetup) -> None:
        self._transplants, self._start, self._load = transplants, setup.start, Path(setup.load)

    def run_with(self, trial: Trial, lines: Lines, progress: Progress, stack: ExitStack) -> Run:
        """A run as the resumed one was after loading, on which the lines of load were run.

        Args:
            trial: names what the reference had, for the lines of save, and what is put back beside the lines.
            lines: the lines.
            progress: gets what could not be put in, and what is still to be done in the first step.
            stack: closed when the trial is over.
        """
        folder = stack.enter_context(tempfile.TemporaryDirectory())  # for a file beside the checkpoint: that one stays
        beside = Path(folder) / self._load.name
        if self._load.is_dir():
            beside.mkdir()
        filled = self._filled(trial, lines, beside, progress) if lines.save else {}
        run = self._transplants.run_with(trial.beside | (trial.names & {LATE}), progress)
        read_into(run, lines.of_late_objects(False), filled, self._load, beside)
        if LATE in trial.names:
            put_in, late = progress.when_made or _nothing, lines.of_late_objects(True)

            def read() -> None:
                put_in()
                read_into(run, late, filled, self._load, beside)

            progress.when_made = read
        return run

    def _filled(self, trial: Trial, lines: Lines, beside: Path, progress: Progress) -> dict[str, Value]:
        """What the lines of save make of a run that has what the reference had."""
        run = self._transplants.run_with(trial.names, progress)
        filled = fill(lines.of_late_objects(False), run, beside)
        if LATE not in trial.names:
            return filled
        put_in: Callable[[], None] = progress.when_made or _nothing

        def save() -> None:
            put_in()
            filled.update(fill(lines.of_late_objects(True), run, beside))
            raise _Reached

        with Recorder(run, self._start) as recorder, suppress(_Reached):
            self._transplants.watch_late_objects(run, recorder, save)
            recorder.step()
        return filled


def _nothing() -> None:
    pass
