"""Trials are done once each."""

import pytest

from dora_repro.explain.trials.budget import BudgetedTrials, OutOfBudget
from dora_repro.explain.trials.trial import Outcome, TrialResult
from tests.explain.trials.searches import Rule, lost, searched


def test_a_trial_is_not_done_twice():
    rule = Rule({"a/x"})
    found = searched(rule, [lost("a/x"), lost("b/x")])
    done = [(trial.names, trial.to_the_end) for trial in rule.asked]
    assert len(done) == len(set(done)) == len(found.trials)
    assert not [names for names, to_the_end in done if not to_the_end and done.index((names, False)) > 0
                and (names, True) in done[: done.index((names, False))]]  # fmt: skip


def test_a_trial_is_done_to_its_end_only_where_that_is_asked_for():
    rule = Rule({"a"})
    trials = BudgetedTrials(rule, 5)
    assert trials.result("a").restores and trials.result("a", to_the_end=True).restores
    assert [trial.to_the_end for trial in rule.asked] == [False, True]


def test_a_trial_that_was_done_to_its_end_is_as_good_as_one_that_was_not_and_no_more_are_done_than_allowed():
    rule = Rule({"a"})
    trials = BudgetedTrials(rule, 2, base=("b",))
    assert trials.result("a", to_the_end=True).restores and trials.restores("a")
    assert [(trial.names, trial.to_the_end) for trial in rule.asked] == [({"a", "b"}, True)]
    assert not trials.restores("c") and trials.restores("a")
    with pytest.raises(OutOfBudget):
        trials.restores("d")
    assert len(trials.done) == len(rule.asked) == 2


@pytest.mark.parametrize("ended", [True, False])
def test_a_trial_that_came_to_its_end_unasked_is_not_done_again(ended):
    asked = []

    def rule(trial):
        asked.append(trial.to_the_end)
        return TrialResult(Outcome.DIFFERENT, steps=1, parameter_distance=0.5, ended=ended)

    trials = BudgetedTrials(rule, 2)
    assert trials.result("a").parameter_distance == trials.result("a", to_the_end=True).parameter_distance == 0.5
    assert asked == ([False] if ended else [False, True])
