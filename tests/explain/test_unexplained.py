"""What is called ruled out: only what was put back, in a trial that gave a result."""

import pytest
import torch

import dora_repro
from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, Outcome, Trial, TrialResult
from dora_repro.explain.unexplained import ruled_out, used_before
from dora_repro.state.rebuild import VARIABLES, Kind
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Divergence

LOST = (LeafDifference("epoch"), LeafDifference("best"), LeafDifference("optimizer/w/exp_avg"))
CANDIDATES = {"epoch, memory": ("epoch", "best"), "optimizer, moment": ("optimizer/w/exp_avg",)}
ALL = frozenset(difference.path for difference in LOST)
DIFFERENT = TrialResult(Outcome.DIFFERENT, Divergence(4, "forward", "loss"), 1)
DIED = TrialResult(Outcome.UNRESOLVED, error="ValueError: no such epoch")
STATE = "ruled out: all 3 leaves that differ after loading, put back together"


def sentences(*trials, candidates=CANDIDATES, lost=LOST, beside=None):
    found = SearchResult(candidates=candidates, trials=[(Trial(frozenset(names)), result) for names, result in trials])
    return ruled_out(found, lost, beside or {})


def test_what_was_put_back_without_effect_is_ruled_out():
    assert sentences(((), DIFFERENT), (ALL, DIFFERENT)) == [STATE]
    assert sentences((ALL, DIFFERENT), (ALL | {DATA, DRAWS}, DIFFERENT)) == [
        STATE,
        "ruled out: the reference's batches, and its generators at the beginning of each step",
    ]
    assert sentences((ALL, DIFFERENT), (ALL | {ITERATORS}, DIFFERENT))[1] == (
        "ruled out: the reference's iterators, with all else put back around them"
    )


def test_of_a_script_the_moments_are_told_at_which_its_generators_were_put_back():
    found = SearchResult(candidates=CANDIDATES, trials=[(Trial(ALL | {DATA, DRAWS}), DIFFERENT)])
    told = ruled_out(found, LOST, {}, drawing="where the loader draws")
    assert told[1] == "ruled out: the reference's batches, and its generators where the loader draws"


def test_batches_that_another_thread_reads_are_not_ruled_out():
    found = SearchResult(candidates=CANDIDATES, trials=[(Trial(ALL | {DATA, DRAWS}), DIFFERENT)])
    told = ruled_out(found, LOST, {}, elsewhere=True)
    assert told[1] == "ruled out: the reference's generators at the beginning of each step"
    assert told[2].startswith("not ruled out: the batches, which another thread reads ahead")


def test_what_had_been_read_before_it_was_put_back_is_not_ruled_out():
    found = SearchResult(candidates=CANDIDATES, trials=[(Trial(ALL), DIFFERENT)])
    assert ruled_out(found, LOST, {}, read=("best",)) == [
        "ruled out: 2 of 3 leaves that differ after loading, put back together",
        "not ruled out, since the statement that waits had read it before it was put back: `best`",
    ]


def scaled(out, resume=None):
    """The loss is multiplied by an average that no file has, in the very statement of the forward pass."""
    torch.manual_seed(0)
    model, average, first = torch.nn.Linear(2, 1), 1.0, 0
    rows = torch.randn(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if resume:
        read = torch.load(resume)
        model.load_state_dict(read["model"])
        first = read["first"]
    for step in range(first, 6):
        loss = average * model(rows).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average = 0.5 * average + 0.5 * loss.item()
        torch.save({"model": model.state_dict(), "first": step + 1}, f"{out}/{step}.pt")


def test_a_variable_that_the_waiting_statement_had_read_is_named_in_place_of_a_cause():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    run = dora_repro.stepwise(scaled, "{out}", resumed={"resume": "{newest}"})
    report = dora_repro.check(run, steps=4, save_at=2, in_process=True)
    assert report.explanation.unexplained == "lost, and read before it was put back: `scaled/average`", report


def test_one_leaf_is_the_one():
    assert sentences((("epoch",), DIFFERENT), candidates={"epoch, memory": ("epoch",)}, lost=LOST[:1]) == [
        "ruled out: the one leaf that differs after loading, put back"
    ]


def test_a_trial_that_did_not_finish_rules_nothing_out():
    assert sentences((ALL, DIED), (ALL | {DATA, DRAWS}, DIED), (ALL | {ITERATORS}, DIED)) == [
        "not ruled out: with all 3 leaves that differ after loading put back together, the trial did not finish: "
        "ValueError: no such epoch"
    ]


def test_a_leaf_that_could_not_be_put_back_is_named_and_not_counted():
    result = TrialResult(Outcome.DIFFERENT, failed={"best": "stored by digest alone"})
    assert sentences((ALL, result)) == [
        "ruled out: 2 of 3 leaves that differ after loading, put back together",
        "not ruled out, since it is lost and could not be put back: `best` (stored by digest alone)",
    ]


def test_leaves_that_no_trial_put_back_are_not_counted():
    names = {"epoch, memory": ("epoch",)}
    assert sentences((("epoch",), DIFFERENT), candidates=names) == [
        "ruled out: 1 of 3 leaves that differ after loading, put back together; not put back: others (2)"
    ]
    assert sentences((("epoch",), DIFFERENT), candidates=names, beside={"noise": ["best"]}) == [
        "ruled out: 1 of 3 leaves that differ after loading, put back together; not put back: noise (1), others (1)"
    ]


@pytest.mark.parametrize("trials", [(), (((), DIFFERENT),), ((("epoch",), DIFFERENT),)])
def test_where_not_all_was_put_back_nothing_is_ruled_out(trials):
    assert sentences(*trials) == []


def test_a_control_that_fails_says_that_loading_changes_something_else():
    (_, words) = sentences((ALL, DIFFERENT), ((CONTROL,), DIFFERENT), (ALL | {ITERATORS}, DIFFERENT))
    assert words.startswith("a run that did the steps up to the save itself differs from the resumed one")


def test_what_a_function_had_done_with_its_variables_before_is_not_ruled_out():
    found = SearchResult(candidates={"memory": ("train/frozen", "best")})
    assert "what `train()` had done with its variables" in "".join(
        used_before(found, Snapshot({}, kinds={"train": Kind(VARIABLES)}))
    )
    assert not [*used_before(found, Snapshot({}, kinds={"train": Kind("dict")}))]
