"""The judge, on evidence made of a few words: the first verdict that holds.

`test_verdicts.py` has whole runs; here each rule of the judge stands alone.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dora_repro.checks.judge import decide, first_memory, no_later, noise_of, repeat_divergence, vacuous
from dora_repro.checks.report import Control, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference
from dora_repro.trace import Divergence, Trace
from tests.checks.made import FACTS, WRONG, W, judged
from tests.evidence import STEPS, side, snapshot
from tests.traces import trace

DETERMINISTIC = Control(("reference", "resumed"), True)


# --- nothing was tested ----------------------------------------------------------------------------------------------


def emptied(tmp_path, steps=None, save_at=2, compared=2, **facts):
    found, reference, _ = judged(tmp_path, {"facts": {**FACTS, **facts}}, {}, steps=steps)
    return vacuous(reference, replace(found, steps_compared=compared), save_at)


def lossy(*losses):
    made = trace(*[STEPS[0]] * len(losses))
    return Trace([replace(step, loss=loss) for step, loss in zip(made.steps, losses, strict=True)])


def test_a_run_that_tests_nothing_is_told_so(tmp_path):
    assert emptied(tmp_path, trainable={}) == "the run has no trainable parameter"
    assert emptied(tmp_path, trainable={"w": 0}) == "the run has no trainable parameter"
    assert emptied(tmp_path, Trace()) == "the reference did no step"
    assert emptied(tmp_path, lossy(1.0, 2.0), gradients=False) == "every gradient of the reference was zero"
    assert emptied(tmp_path, lossy(1.0, 2.0), gradients=None) is None
    assert emptied(tmp_path, lossy(1.0, 2.0), changed=False) == "no trainable parameter changed in the reference"


ZEROS, ONES = torch.zeros(2), torch.ones(2)
FRAME = {"w": (W, "memory"), "still": (ZEROS, "memory")}  # beside what changes, all else stays as it was


def by_hand(tmp_path, saved, end, trainable=0, **facts):
    told = {**FACTS, "trainable": {"w": trainable}, "gradients": None, "changed": False, **facts}
    moments = {"saved": {**FRAME, **saved}, "end": {**FRAME, **end}, "facts": told}
    found, reference, _ = judged(tmp_path, moments, {}, steps=lossy(1.0, 2.0))
    return vacuous(reference, replace(found, steps_compared=2), 2)


@pytest.mark.parametrize("make", [torch.tensor, np.array], ids=["torch", "numpy"])
def test_a_run_without_gradient_and_optimizer_trains_where_its_numbers_change(tmp_path, make):
    before, after = make([0.0, 0.0]), make([0.5, 0.0])
    assert by_hand(tmp_path / "none", {"v": before}, {"v": after}) is None
    assert by_hand(tmp_path / "frozen", {"v": before}, {"v": after}, trainable=2) is None
    nothing = "the run has no trainable parameter"
    assert by_hand(tmp_path / "still", {"v": before}, {"v": before}) == nothing
    assert by_hand(tmp_path / "gone", {"v": before}, {}) == nothing
    assert by_hand(tmp_path / "seen", {"v": before}, {"v": after}, gradients=True) == nothing
    assert by_hand(tmp_path / "one", {"v": make([0.0])}, {"v": make([0.5])}) == nothing
    assert by_hand(tmp_path / "whole", {"v": make([0, 0])}, {"v": make([5, 0])}) == nothing
    rate = {"optimizer/group.0/lr": (0.1, "option")}
    assert by_hand(tmp_path / "optimizer", {"v": before, **rate}, {"v": after, **rate}) == nothing
    unmoved = "no trainable parameter changed in the reference"
    assert by_hand(tmp_path / "part", {"v": before}, {"v": before}, trainable=2) == unmoved


def test_what_is_no_row_of_numbers_or_no_memory_trains_nothing(tmp_path):
    nothing = "the run has no trainable parameter"
    assert by_hand(tmp_path / "list", {"v": [0.0, 1.0]}, {"v": [1.0, 1.0]}) == nothing
    assert by_hand(tmp_path / "buffer", {"v": (ZEROS, "buffer")}, {"v": (ONES, "buffer")}) == nothing


def test_a_loss_that_never_changed_tests_nothing(tmp_path):
    assert emptied(tmp_path, lossy(0.5, 0.5)) == "the loss of the reference never changed (0.5 at all 2 steps)"
    assert "at all 3 steps" in emptied(tmp_path, lossy(0.5, 0.5, 0.5))
    assert emptied(tmp_path, lossy(0.5)) is None
    assert emptied(tmp_path, lossy(0.5, 0.25)) is None
    assert emptied(tmp_path, lossy(0.5, None)) is None
    assert "at all 2 steps" in emptied(tmp_path, lossy(0.5, None, 0.5))


def test_a_resume_without_a_step_tests_nothing_but_after_the_last_one(tmp_path):
    losses = lossy(0.5, 0.25, 0.125)
    assert emptied(tmp_path, losses, compared=0) == "no step was done after resuming"
    assert emptied(tmp_path, losses, compared=0, save_at=3) is None
    assert emptied(tmp_path, losses, compared=1) is None


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_repeats_differ_by_what_they_did_or_by_what_one_of_them_raised(tmp_path):
    def repeat(name, steps=None, **result):
        return side(tmp_path / name, steps, **result)

    failed = {"failure": {"error": "E", "traceback": ""}, "step": 3, "phase": "update"}
    first = repeat("a")
    assert repeat_divergence(first, repeat("b")) is None
    assert repeat_divergence(first, repeat("c", trace(*STEPS[:3], ["batch x z"]))) == Divergence(4, "batch", "x")
    raised = Divergence(4, "update", "run/exception", "raised")
    assert repeat_divergence(first, repeat("d", **failed)) == raised
    assert repeat_divergence(repeat("e", **failed), repeat("f", step=9, phase="x")) == raised
    assert repeat_divergence(repeat("g", **failed), repeat("h", **{**failed, "step": 1})) is None


def test_noise_is_what_differs_between_two_identical_runs_at_any_moment(tmp_path):
    def run(name, a, b, c, **also):
        return side(tmp_path / name, saved=snapshot(b=b), end=snapshot(a=a, b=b, same=1), loaded=snapshot(c=c), **also)

    assert noise_of(run("1", 1, 1, 1), run("2", 1, 1, 1)) == ()
    assert noise_of(run("3", 1, 1, 1), run("4", 2, 2, 2)) == ("a", "b", "c")
    less = side(tmp_path / "5", end=snapshot(a=1, b=1, same=1))
    assert noise_of(run("6", 2, 1, 1), less) == ("a",) and noise_of(less, run("7", 2, 1, 1)) == ("a",)


def test_which_of_two_divergences_comes_first_goes_by_the_order_of_execution():
    steps = trace(*STEPS)

    def before(one, other):
        return no_later(Divergence(*one), Divergence(*other), steps, 2)

    assert no_later(Divergence(3, "update", "w"), None, steps, 2)
    in_order = [
        (2, "update", "w"), (2, "backward", "not there"), (2, "save", "x"), (2, "load", "x"), (3, "batch", "x"),
        (3, "forward", "loss"), (3, "update", "w"), (4, "batch", "x"),
    ]  # fmt: skip
    for index, one in enumerate(in_order):
        assert before(one, one)
        for other in in_order[index + 1 :]:
            assert before(one, other) and not before(other, one)
    assert before((9, "x", "y"), (9, "z", "y")) and before((9, "z", "y"), (9, "x", "y"))  # steps that were not recorded


def test_the_first_memory_that_differs_is_looked_for_after_the_save_and_past_what_does_not_count(tmp_path):
    one = side(tmp_path / "a", trace(*[(STEPS[0], {"m": f"a{n}", "n": f"a{n}"}) for n in range(4)]))
    other = side(tmp_path / "b", trace(*[(STEPS[0], {"m": "z", "n": "z"}) for n in range(4)]))
    assert first_memory(one, other, 2, ("m",)) == Divergence(3, "", "n")
    assert first_memory(one, other, 1, ()) == Divergence(2, "", "m")
    assert first_memory(one, other, 1, ("m", "n")) is None


# --- the verdict -----------------------------------------------------------------------------------------------------


@pytest.fixture
def equal(tmp_path):
    return judged(tmp_path)[0]


def verdict(findings, empty=None, control=DETERMINISTIC, latent=(), tolerance=None, save_at=2, steps=4):
    return decide(findings, empty, control, latent, tolerance, save_at, steps)


APART = Divergence(3, "update", "w", "value", WRONG)


def test_the_first_verdict_that_holds_is_given(equal):
    different = replace(equal, divergence=APART)
    unsteady = Control(("reference",), False, Divergence(1, "batch", "x"))
    told, reason = verdict(different, "empty", unsteady, ("a",))
    assert told is Verdict.INCONCLUSIVE and reason.startswith("not deterministic") and "step 1" in reason
    assert verdict(equal, "no step") == (Verdict.INCONCLUSIVE, "nothing was tested: no step")
    assert verdict(different, "no step")[0] is Verdict.DIFFERENT  # does not undo a difference
    assert verdict(different) == (Verdict.DIFFERENT, f"first differs at {APART}")
    assert verdict(equal, latent=("a",)) == (Verdict.LATENT, "a lost, no effect in 2 steps")
    assert verdict(equal, latent=("a", "b"))[1] == "a and 1 more lost, no effect in 2 steps"
    assert verdict(equal, latent=("a", "b", "c"))[1] == "a and 2 more lost, no effect in 2 steps"
    exact = "all effects of 2 steps are equal by bytes, and so is the state at the end"
    assert verdict(equal) == verdict(equal, control=Control()) == (Verdict.EXACT, exact)


def test_nothing_is_accused_without_a_control(equal):
    told, reason = verdict(replace(equal, divergence=APART), control=Control())
    assert told is Verdict.INCONCLUSIVE and reason == f"not controlled: it differs at {APART}"
    lost = Verdict.INCONCLUSIVE, "not controlled: it differs at the end, a"
    assert verdict(equal, control=Control(), latent=("a", "b")) == lost


def test_a_save_after_the_last_step_compares_state_alone(equal):
    alone = Verdict.EXACT, "state alone was compared: the save was after the last step"
    assert verdict(equal, save_at=4) == verdict(equal, save_at=5) == alone
    assert verdict(replace(equal, steps_compared=0)) == alone
    assert verdict(equal, save_at=3)[1] != alone[1]


def test_the_reason_names_what_differs_at_the_end_and_is_set_aside(equal):
    books = replace(equal, bookkeeping=("losses",))
    assert verdict(books)[1].endswith("so is the state at the end, but for what is set aside: losses")
    assert verdict(replace(books, reordered=("d",)))[1].endswith("but for what is set aside: losses and 1 more")
    more = replace(
        books, set_by_load=("from",), reordered=("d",), end=(LeafDifference("noise"), LeafDifference("from"))
    )
    assert verdict(more)[1].endswith("but for what is set aside: losses and 3 more")
    returned = verdict(replace(equal, returned=("train", "main")))[1]
    assert returned.endswith("train() has returned, its state at the end is not compared: check fewer steps")


def compared(name="parameters", max_abs=0.5, compared=("w",), nan=0):
    difference = LeafDifference("w", "value", total=2, max_abs=max_abs, nan=nan)
    return Comparison(name, compared, (difference,) if max_abs is not None else ())


def test_a_tolerance_accepts_differences_of_numbers_that_are_within_it(equal):
    def told(*comparisons, tolerance=1.0, **divergence):
        found = replace(equal, divergence=replace(APART, **divergence), comparisons=comparisons)
        return verdict(found, tolerance=tolerance)

    within, reason = told(compared())
    assert within is Verdict.WITHIN_TOLERANCE and reason == f"within 1, but not exact: first differs at {APART}"
    assert told(compared(), tolerance=0.5)[0] is Verdict.WITHIN_TOLERANCE
    assert told(compared(), tolerance=0.0)[0] is Verdict.DIFFERENT
    assert told(compared(max_abs=None), tolerance=0.0)[0] is Verdict.WITHIN_TOLERANCE
    assert told(compared(), tolerance=None)[0] is Verdict.DIFFERENT
    assert told(compared(max_abs=2.0))[0] is Verdict.DIFFERENT
    assert told(compared(nan=1))[0] is Verdict.DIFFERENT  # NaN never is
    assert told(compared("load", 2.0), compared())[0] is Verdict.DIFFERENT
    assert told(compared("load"), compared())[0] is Verdict.WITHIN_TOLERANCE
    assert told(compared("load"))[0] is Verdict.DIFFERENT  # parameters were not compared
    assert told(compared(max_abs=None, compared=()))[0] is Verdict.DIFFERENT
    assert told(compared(), kind="missing")[0] is Verdict.DIFFERENT
    assert told(compared(), phase="save")[0] is Verdict.DIFFERENT
