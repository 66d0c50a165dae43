"""Captions say what their figures show."""

import math
from dataclasses import replace

import torch

from dora_repro.comparison.drift import Drift
from dora_repro.show import captions
from dora_repro.trace import Step, Trace
from tests.show import made


def trace(*losses: float, first: int = 1) -> Trace:
    return Trace([Step(number, loss, (), (), {}) for number, loss in enumerate(losses, first)])


def drift(*after: float) -> Drift:
    """Two parameters of three elements, one of which drifts by so much at the end of each step after loading at 2."""
    values = {step: {"a": torch.zeros(3), "b": torch.ones(3)} for step in range(2, 3 + len(after))}
    other = {2: values[2]} | {
        step: {"a": torch.tensor([size, 0.0, 0.0]), "b": torch.ones(3)} for step, size in enumerate(after, 3)
    }
    return Drift.between(values, other)


def test_losses_are_told_by_the_first_and_the_largest_difference():
    report = made.different(reference=trace(4.0, 3.0, 2.0, 1.0), resumed=trace(1.9, 1.5, first=3))
    assert captions.of_losses(report) == (
        "Loss of both runs at each step (top) and their difference (bottom); dotted: saved and loaded; solid: the "
        "first difference, at step 3. The losses first differ at step 3; the largest difference is 5.0e-01, at step 4."
    )
    at_once = made.different(reference=trace(4.0, 3.0, 2.0, 1.0), resumed=trace(2.0, 1.5, first=3))
    assert captions.of_losses(at_once).endswith("The losses first differ at step 4, and by the most there: 5.0e-01.")


def test_equal_losses_are_called_equal_and_one_that_is_no_number_the_largest_difference():
    same = made.report(reference=trace(4.0, 3.0, 2.0), resumed=trace(2.0, first=3))
    assert captions.of_losses(same).endswith("saved and loaded. The losses are equal at every resumed step.")
    nan = made.different(reference=trace(4.0, 3.0, 2.0), resumed=trace(math.nan, first=3))
    assert captions.of_losses(nan).endswith("The losses first differ at step 3, and by the most there: nan.")


def test_a_run_without_losses_to_compare_is_told_so():
    report = made.different(reference=trace(4.0), resumed=None)
    assert captions.of_losses(report).endswith("The resumed run has no loss to compare.")


def test_the_drift_is_told_by_its_first_step_and_its_end():
    seen = captions.of_drift_map(drift(0.0, 1e-3, 2e-3))
    assert seen.endswith(
        "The first differences are at the end of step 4; at the end of step 5, 1 of 2 parameters differ, by at most "
        "2.0e-03."
    )
    assert captions.of_drift_map(drift(0.0, 1e-3)).endswith(
        "grey: equal by bytes. At the end of step 4, the first with a difference, 1 of 2 parameters differ, by at most "
        "1.0e-03."
    )
    assert captions.of_drift_map(drift(0.0)).endswith("All parameters are equal at every step.")


def test_distances_are_told_by_how_many_elements_differ():
    assert captions.of_ulp_histogram(drift(1e-45)) == (
        "Number of elements by their distance in units in the last place (ULP), at the end of step 3. 1 of 6 elements "
        "differ, by at most 1 ULP."
    )


def test_a_fault_that_is_planted_changes_the_caption():
    one = drift(1e-3)
    assert captions.of_ulp_histogram(one) != captions.of_ulp_histogram(replace(one, max_ulp=one.max_ulp * 2))
