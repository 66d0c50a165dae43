"""A search's result in words: the proof with its confirmation, and each trial."""

import pytest

from dora_repro.explain.confirmation import Confirmation
from dora_repro.explain.proof import describe_trial, proof
from dora_repro.explain.trials.search_result import Part, SearchResult
from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, Outcome, Trial, TrialResult

SAME, DIFFERENT = TrialResult(Outcome.SAME), TrialResult(Outcome.DIFFERENT)
TWO = SearchResult(parts=(Part("a", ("a",), without=DIFFERENT), Part("b", ("b",), without=DIFFERENT)))
ONE = SearchResult(parts=(Part("a", ("a",), without=DIFFERENT),))
SPARE = SearchResult(parts=(Part("a", ("a",), without=SAME),), others=(("b",),))


@pytest.mark.parametrize(
    ("found", "steps", "words"),
    [
        (ONE, 3, "Restoring this alone makes the remaining 3 steps identical; restoring everything else does not."),
        (ONE, 1, "Restoring this alone makes the remaining step identical; restoring everything else does not."),
        (TWO, 0, "Restoring these alone makes the state identical; leaving any one of them out does not."),
        (SPARE, 2, "Restoring this alone makes the remaining 2 steps identical; so does another set."),
    ],
)
def test_the_proof_says_what_was_restored_and_what_is_needed(found, steps, words):
    assert proof(found, steps, Confirmation(None)) == words


@pytest.mark.parametrize(
    ("confirmation", "words"),
    [
        (Confirmation(None), "does not."),
        (Confirmation(True), "does not (confirmed in a fresh process)."),
        (Confirmation(False), "does not (but not in a fresh process)."),
        (
            Confirmation(True, {"a": "inside a frame"}),
            "does not (confirmed in a fresh process, where `a` could not be put back: inside a frame).",
        ),
        (
            Confirmation(False, dict.fromkeys("abcde", "sealed")),
            "does not (but not in a fresh process, where `a` could not be put back: sealed, `b` could not be put back: "
            "sealed, `c` could not be put back: sealed, and 2 more).",
        ),
    ],
)
def test_the_proof_never_says_confirmed_without_the_leaves_that_were_not_put_back(confirmation, words):
    assert proof(ONE, 1, confirmation).endswith(words)


FOUND = SearchResult(candidates={"x, memory": ("x", "y"), "optimizer, moment": ("optimizer/w/exp_avg",)})


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "nothing"),
        (("x",), "x"),
        (("x", "optimizer/w/exp_avg"), "all but y"),
        (("x", "y", "optimizer/w/exp_avg"), "all that was lost"),
        (("x", "y", "optimizer/w/exp_avg", DATA, DRAWS), "all that was lost and the batches and the draws"),
        ((ITERATORS,), "the iterators"),
    ],
)
def test_a_trial_says_what_it_put_back(names, words):
    record = describe_trial(Trial(frozenset(names)), SAME, FOUND)
    assert (record.put_back, record.leaves, record.aim) == (words, len(names), "restores exact resume")


def test_the_control_says_what_it_aims_at():
    record = describe_trial(Trial(frozenset({CONTROL})), SAME, FOUND)
    assert record.put_back == "nothing, in a run that did the steps up to the save itself"
    assert record.aim == "does what the resumed run did"


def test_where_the_steps_are_the_same_it_is_the_state_at_the_end_that_is_restored():
    words = "Restoring this alone makes the state at the end identical; restoring everything else does not."
    assert proof(ONE, 3, Confirmation(None), at_end=True) == words
