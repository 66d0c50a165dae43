"""Results that were written as JSON are the same results when they are read."""

import json
import math
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

import pytest

from dora_repro.checks.report import Report, Verdict, as_json
from dora_repro.checks.rereading import from_json
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference, Setting
from dora_repro.explain.explanation import Cause, Explanation, TrialRecord
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.trace import Divergence

SIZED = LeafDifference("model/weight", "value", "f32[4]", "f32[4]", 4, 1, math.inf, 7, 0, (2,), "parameter")
TRIED = TrialResult(Outcome.DIFFERENT, Divergence(4, "update", "model/weight"), 2, 0.5, None, {"a": "gone"}, "raised")
REPORT = Report(
    Verdict.DIFFERENT,
    "first differs",
    3,
    6,
    Divergence(4, "update", "model/weight", difference=SIZED),
    comparisons=(Comparison("load", ("model/weight",), (SIZED,), 1e-12, ("a note",)),),
    lost=(SIZED, LeafDifference("rng/torch.cpu", "missing", draws=-3)),
    configuration=(Setting("start", "0", "3", "resume"),),
    environment={"torch": "2", "flags": {"tf32": False}},
    histories={"reference": {"losses": [1, 0.5, math.inf]}},
    seconds={"reference": 1},
    explanation=Explanation(
        (Cause("optimizer/step", ("optimizer/step",), alone=TRIED),), trials=(TrialRecord("a", 1, TRIED),)
    ),
)


def test_a_report_is_the_same_one_when_it_is_read_again():
    read = from_json(Report, json.loads(json.dumps(as_json(REPORT), allow_nan=False)))
    assert read == REPORT
    assert read.verdict is Verdict.DIFFERENT and read.explanation.trials[0].result.outcome is Outcome.DIFFERENT
    assert str(read) == str(REPORT)


def test_a_number_that_json_has_not_comes_back():
    worst = replace(SIZED, max_abs=math.nan)
    assert math.isnan(from_json(LeafDifference, as_json(worst)).max_abs)


def test_fields_that_are_not_there_keep_their_defaults_and_more_is_passed_over():
    assert from_json(Divergence, {"step": 1, "phase": "load", "leaf": "a", "later": True}) == Divergence(1, "load", "a")


@dataclass(frozen=True)
class Pair:
    both: tuple[int, str]
    one: Verdict | float | None = None


def test_tuples_of_two_kinds_and_unions_are_read_by_their_types():
    assert from_json(Pair, {"both": [1, "a"], "one": "EXACT"}) == Pair((1, "a"), Verdict.EXACT)
    assert from_json(Pair, {"both": [1, "a"], "one": 2.5}) == Pair((1, "a"), 2.5)
    assert from_json(Pair, {"both": [1, "a"], "one": None}) == Pair((1, "a"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "load", "leaf": "a"},
        {"step": "1", "phase": "load", "leaf": "a"},
        {"step": True, "phase": "load", "leaf": "a"},
        {"step": 1, "phase": None, "leaf": "a"},
        ["a"],
    ],
)
def test_what_is_not_of_the_class_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is no|no whole"):
        from_json(Divergence, wrong)


@pytest.mark.parametrize("wrong", [["1", "a"], [1], [1, "a", "b"], 1])
def test_a_tuple_of_another_length_or_kind_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is no|argument 2 is"):
        from_json(Pair, {"both": wrong})


class Entries(TypedDict):
    where: Literal["load", "save"]
    steps: dict[str, list[int]]
    why: str | None


def test_a_dictionary_of_known_entries_is_read_by_their_types():
    whole = {"where": "save", "steps": {"a": [1]}, "why": None}
    assert from_json(Entries, {**whole, "later": 1}) == whole
    for wrong in ({"where": "end"}, {"where": []}, {"steps": {"a": [1.5]}}, {"steps": []}, {"why": 3}):
        with pytest.raises(ValueError, match="is no"):
            from_json(Entries, {**whole, **wrong})
    with pytest.raises(ValueError, match="no whole Entries: it has no 'why'"):
        from_json(Entries, {"where": "save", "steps": {}})
