"""Trials, each done once, as far as a budget goes."""

from collections.abc import Callable, Iterable

from dora_repro.explain.trials.search_result import Unit
from dora_repro.explain.trials.trial import Trial, TrialResult


class OutOfBudget(Exception):
    """No further trial may be done: the best set so far is the answer."""


class BudgetedTrials:
    """Does the trials of one search.

    Args:
        run_trial: does a trial.
        budget: largest number of trials.
        base: what every trial goes through besides.

    Attributes:
        budget: as given.
        base: as given.
        done: every trial done, in order, with its result.
    """

    def __init__(self, run_trial: Callable[[Trial], TrialResult], budget: int, base: Unit = ()):
        self.budget, self.base = budget, base
        self.done: list[tuple[Trial, TrialResult]] = []
        self._run_trial = run_trial
        self._results: dict[Trial, TrialResult] = {}

    def restores(self, names: Iterable[str]) -> bool:
        """Whether exact resume is restored where these are put back.

        Raises:
            OutOfBudget: that is not known, and no trial is left to find it out.
        """
        return self.result(names).restores

    def result(self, names: Iterable[str], to_the_end: bool = False) -> TrialResult:
        """The result where these are put back.

        Args:
            names: as of `Trial`.
            to_the_end: as of `Trial`; a trial that was done to its end is as good as one that was not to be.

        Raises:
            OutOfBudget: it is not known, and no trial is left to find it out.
        """
        trial = Trial(frozenset((*names, *self.base)), to_the_end)
        for same in (trial, Trial(trial.names, not to_the_end)):
            known = self._results.get(same)
            if known is not None and (same == trial or same.to_the_end or known.ended):
                return known
        if len(self.done) >= self.budget:
            raise OutOfBudget
        result = self._results[trial] = self._run_trial(trial)
        self.done.append((trial, result))
        return result

    def known(self, trial: Trial) -> TrialResult | None:
        """The result of a trial, where it was done."""
        return self._results.get(trial)
