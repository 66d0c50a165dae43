"""Trials of scripts: the resume command, launched again with state of the uninterrupted run put in.

Each is a process of its own that ends at the first difference. What is put in, and where, is `anchors.py`'s: leaves
before the first training forward pass; generators besides where the loader draws.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dora_repro.alignment.divergence import first_divergence
from dora_repro.comparison.leaves import compare
from dora_repro.explain.trials.ends import same_leaves
from dora_repro.explain.trials.trial import BEYOND, DATA, DRAWS, POSITION, Outcome, Trial, TrialResult
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Anchor, Begun
from dora_repro.scripts.assignment import Given, Meet, Round
from dora_repro.scripts.launching import Launch
from dora_repro.scripts.sides import trace_of
from dora_repro.sides.evidence import Sides
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace

RNG = "rng/"


@dataclass(frozen=True)
class TrialLaunch:
    """How a trial is launched.

    Attributes:
        given: what is put in; None for nothing.
        to_the_end: go on after a difference.
        meet: the round of the script's loop at which it is put in; None for the first training forward pass.
    """

    given: Given | None
    to_the_end: bool
    meet: Meet | None = None


@dataclass(frozen=True)
class AtRound:
    """A round of the script's loop at which both runs have come by.

    Attributes:
        round: where it begins.
        reference: the file of the uninterrupted run's state there.
        resumed: the file of the resumed run's, with nothing put in.
        meet: how a trial meets it.
        nothing: result of the trial with nothing put in.
        objects: the file of the objects that the resumed run lacks, whole; None for none.
    """

    round: Round
    reference: Path
    resumed: Path
    meet: Meet
    nothing: TrialResult
    objects: Path | None = None


class ScriptTrials:
    """Runs trials.

    Args:
        sides: the uninterrupted side, and the resumed one.
        saved: the file of the uninterrupted run's state where the resumed one goes on.
        first: what was known of the resumed run's loader before its first step.
        launch: launches the resume command once more, from what the killed run had left.
        batches: returns the file of the uninterrupted run's batches, which it may have to be run again for; None where
            they could not be stored.
        at_end: leaves that must be the uninterrupted run's at the end as well.

    Attributes:
        saved: as given.
        anchor: what was known of the uninterrupted run's loader where the resumed one goes on.
    """

    def __init__(
        self,
        sides: Sides,
        saved: Path,
        first: Anchor,
        launch: Callable[[TrialLaunch], Launch],
        batches: Callable[[], Path | None],
        at_end: tuple[str, ...] = (),
    ):
        self._sides, self.saved, self._first = sides, saved, first
        self._launch, self._batches, self._at_end = launch, batches, at_end
        self.anchor = Anchor.read(saved.with_name(f"{saved.name}{assignment.ANCHOR}"))
        self._at: AtRound | None = None
        self._world = tuple(path for path in Snapshot.read(saved) if path.startswith(RNG))

    def at(self, found: AtRound) -> "ScriptTrials":
        """The same, with state put in where a round of the script's loop begins."""
        trials = copy.copy(self)
        trials._at = found
        return trials

    @property
    def feeds(self) -> bool:
        """Whether the batches come from a loader, so that others can be given, and its order put back."""
        return self.anchor.begun is not None and self._at is None

    @property
    def begun_since(self) -> Begun | None:
        """The loader's iterator that the first batch is from, where it was begun after the save; else None."""
        return self.anchor.begun if self.feeds and self._drawn_since else None

    @property
    def used(self) -> int:
        """Number of batches of the epoch that had been used, and that the resumed run's loader did not pass over."""
        return self.anchor.used_before(self._first) if self._at is None else 0

    def __call__(self, trial: Trial) -> TrialResult:
        if trial.names & BEYOND - {DATA, DRAWS, POSITION}:
            return TrialResult(Outcome.UNRESOLVED, error="not run: what a script has half done cannot be put back")
        given = self._given(trial)
        if given is None:
            return TrialResult(Outcome.UNRESOLVED, error="not run: the batches could not be stored")
        if self._at is not None and not trial.names:
            return self._at.nothing
        meet = None if self._at is None else self._at.meet
        launched = self._launch(TrialLaunch(given, trial.to_the_end, meet))
        return self._result(launched, trial)

    def judged(self, launched: Launch) -> TrialResult:
        """What a launch came to that ends at its first difference: whether it did what the uninterrupted run did."""
        return self._result(launched, Trial(frozenset()))

    def _given(self, trial: Trial) -> Given | None:
        """What a trial puts in; None where it cannot be had."""
        leaves = tuple(sorted(trial.names - BEYOND))
        if self._at is not None:
            return Given(self._at.reference, leaves, objects=self._at.objects)
        batches = None
        if DATA in trial.names and (batches := self._batches()) is None:
            return None
        if DRAWS in trial.names:
            leaves = tuple(dict.fromkeys((*leaves, *self._world)))
        generators = tuple(path.removeprefix(RNG) for path in leaves if path.startswith(RNG))
        if DRAWS not in trial.names and not self._drawn_since:
            generators = ()  # the order was drawn before the save: a generator that was saved then has nothing of it
        fetched = self._first.begun.fetched if self._first.begun is not None else 0
        own = max(0, fetched - self._first.batches)
        since, draws = self._drawn_since, DRAWS in trial.names
        used = self.used if POSITION in trial.names else 0
        return Given(self.saved, leaves, generators, batches, own, self._first.batches, since, draws, used)

    @property
    def _drawn_since(self) -> bool:
        """Whether the loader's iterator was begun after the save, so that it drew from the generators as saved."""
        return self.anchor.begun is not None and self.anchor.begun.step >= self._sides.save_at

    def _result(self, launched: Launch, trial: Trial) -> TrialResult:
        folder = launched.folder
        missing = folder / assignment.MISSING
        failed = json.loads(missing.read_text(encoding="utf-8")) if missing.exists() else {}
        trace = trace_of(launched, self._sides.save_at)
        found = first_divergence(self._sides.reference.trace, trace, self._sides.save_at)
        stopped = (folder / assignment.STOPPED).exists()
        if launched.code != 0 and not stopped:
            raised = Outcome.DIFFERENT if self._sides.resumed.failure is not None else Outcome.UNRESOLVED
            return TrialResult(raised, found, len(trace.steps), failed=failed, error=f"the command {launched.ending}")
        same = found is None and not stopped and self._ends_alike(folder)
        distances = self._distances(folder, trace) if trial.to_the_end else (None, None)
        outcome = Outcome.SAME if same else Outcome.DIFFERENT
        return TrialResult(outcome, found, len(trace.steps), *distances, failed)

    def _ends_alike(self, folder: Path) -> bool:
        if not self._at_end:
            return True
        end = folder / assignment.END
        return end.exists() and same_leaves(Snapshot.read(end), self._sides.reference.end, self._at_end)

    def _distances(self, folder: Path, trace: Trace) -> tuple[float | None, float | None]:
        """Largest distance of a parameter from the uninterrupted run's at the end, and of the last losses."""
        path, theirs = folder / assignment.END, self._sides.reference.trace
        if not path.exists() or not trace.steps:
            return None, None
        differences = compare(self._sides.reference.end, Snapshot.read(path)).differences
        sizes = [each.max_abs for each in differences if each.role == "parameter" and each.max_abs is not None]
        one, other = theirs.step(trace.steps[-1].number), trace.steps[-1].loss
        loss = None if one is None or one.loss is None or other is None else abs(one.loss - other)
        return max(sizes, default=0.0), loss
