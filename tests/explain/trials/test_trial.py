"""Trials and their results travel between processes as JSON, and come back as they were."""

import json

import pytest

from dora_repro.explain.trials.trial import DATA, Lines, Outcome, Trial, TrialResult
from dora_repro.trace import Divergence

LINES = Lines(("state['x'] = self.x",), (("", "self.x = state['x']"), ("more.pt", "self.y = state['y']")))
RESULTS = (
    TrialResult(Outcome.SAME, steps=3, parameter_distance=0.0, loss_distance=0.0),
    TrialResult(Outcome.DIFFERENT, Divergence(4, "backward[2]", "model/w/grad", "missing"), 1),
    TrialResult(Outcome.UNRESOLVED, failed={"x": "inside a frame"}, error="ValueError: no"),
)


@pytest.mark.parametrize(
    "trial", [Trial(frozenset()), Trial(frozenset({"b", "a", DATA}), True), Trial(frozenset({"a"}), lines=LINES)]
)
def test_a_trial_comes_back_as_it_was(trial):
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@pytest.mark.parametrize("result", RESULTS)
def test_a_result_comes_back_as_it_was_whatever_else_the_message_has(result):
    message = json.loads(json.dumps({"event": "answer", **result.to_dict()}))
    assert TrialResult.from_dict(message) == result
    assert TrialResult.from_dict({**message, "steps": 7}) != result


def test_only_the_same_outcome_restores_exact_resume():
    assert [result.restores for result in RESULTS] == [True, False, False]
    assert json.dumps(RESULTS[0].to_dict()["outcome"]) == '"same"'
