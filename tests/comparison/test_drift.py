"""How far apart two runs are, step by step: known values, known distances."""

import math

import numpy as np
import pytest
import torch

from dora_repro import BadInput, Drift
from dora_repro.state.distance import ulps


def course(*steps: dict[str, list[float]], first: int = 2) -> dict[int, dict[str, torch.Tensor]]:
    return {
        first + index: {path: torch.tensor(values) for path, values in step.items()} for index, step in enumerate(steps)
    }


A = {"a": [1.0, 2.0], "b": [3.0]}
NEXT = math.nextafter(1.0, 2.0)


def test_a_drift_is_measured_over_the_steps_and_parameters_that_both_have():
    expected = course({"a": [0.0, 0.0], "b": [0.0]}, A, A, A, first=1)
    actual = course(A, {"a": [1.0, 2.5], "b": [3.0]}, {"a": [1.5, 2.25], "b": [float("nan")]})
    drift = Drift.between(expected, actual)
    assert (drift.steps, drift.leaves) == ((2, 3, 4), ("a", "b"))
    assert drift.max_abs[0].tolist() == [0.0, 0.5, 0.5]
    assert drift.max_abs[1, :2].tolist() == [0.0, 0.0] and math.isnan(drift.max_abs[1, 2])
    assert drift.share.tolist() == [[0.0, 0.5, 1.0], [0.0, 0.0, 1.0]]
    assert drift.max_ulp[0].tolist() == [0, 1 << 21, 1 << 22]
    assert drift.first == (3, "a")
    assert repr(drift) == "Drift(2 parameters, steps 2–4, first at (3, 'a'))"


def test_equal_bytes_are_no_drift_and_one_bit_is():
    drift = Drift.between(course(A, A), course(A, A))
    assert drift.first is None and not drift.share.any() and drift.after(1) == 0.0
    minus = course({"a": [0.0]}), course({"a": [-0.0]})
    assert Drift.between(*minus).first == (2, "a")  # by bytes, although the numbers are equal
    assert Drift.between(*minus).max_abs.tolist() == [[0.0]]


def test_a_parameter_that_changed_its_shape_or_dtype_or_is_gone_differs_everywhere():
    for other in ({"a": [1.0, 2.0, 3.0]}, {}):
        both = course({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}), course({"a": [1.0, 2.0]}, other)
        for drift in (Drift.between(*both), Drift.between(*both[::-1])):
            assert drift.share.tolist() == [[0.0, 1.0]] and math.isnan(drift.max_abs[0, 1])


def test_of_parameters_that_differ_at_once_the_first_is_named_and_a_later_step_never():
    later = course({"b": [1.0], "a": [1.0], "c": [1.0]}, {"b": [2.0], "a": [1.0], "c": [1.0]})
    other = course({"b": [1.0], "a": [3.0], "c": [4.0]}, {"b": [3.0], "a": [3.0], "c": [4.0]})
    assert Drift.between(later, other).first == (2, "a")


def test_whole_numbers_have_no_distance_in_ulp_and_a_nan_hides_how_far_the_others_are():
    one = {2: {"n": torch.tensor([1, 2]), "w": torch.tensor([1.0, 2.0]), "d": torch.ones(2)}}
    other = {2: {"n": torch.tensor([1, 5]), "w": torch.tensor([math.nan, 3.0]), "d": torch.ones(2).double()}}
    drift = Drift.between(one, other)
    assert drift.max_abs[0, 0] == 3.0 and np.isnan(drift.max_abs[1:, 0]).all()
    assert drift.max_ulp[:, 0].tolist() == [0, 1 << 22, 0] and drift.share[:, 0].tolist() == [0.5, 1.0, 1.0]


def test_a_dtype_whose_elements_are_no_numbers_has_a_share_and_no_distance():
    one, other = (torch.tensor(data, dtype=torch.uint8).view(torch.float4_e2m1fn_x2) for data in ([1, 2], [1, 3]))
    drift = Drift.between({1: {"w": one}}, {1: {"w": other}})
    assert np.isnan(drift.max_abs[0, 0]) and (drift.max_ulp[0, 0], drift.share[0, 0]) == (0, 0.5)


def test_how_far_apart_after_so_many_steps():
    drift = Drift.between(course(A, A), course(A, {"a": [1.0, 2.5], "b": [2.0]}))
    assert [drift.after(0), drift.after(1)] == [0.0, 1.0]
    with pytest.raises(BadInput, match="steps=2: both runs did 1 step after loading"):
        drift.after(2)


def test_runs_without_a_common_step_or_parameter_cannot_be_measured():
    with pytest.raises(BadInput, match="no step in common"):
        Drift.between(course(A, first=1), course(A, first=5))
    with pytest.raises(BadInput, match="no parameter in common"):
        Drift.between(course({"a": [1.0]}), course({"b": [1.0]}))


def test_the_distance_of_each_element_in_ulp():
    one = torch.tensor([1.0, 1.0, -0.0, 2.0], dtype=torch.float64)
    two = torch.tensor([1.0, NEXT, 0.0, -2.0], dtype=torch.float64)
    found = ulps(one, two)
    assert found[:3].tolist() == [0, 1, 0]
    assert found[3] == 2 * np.float64(2.0).view(np.uint64)
    with pytest.raises(TypeError, match=r"no distance in ULP for torch\.int64"):
        ulps(torch.tensor([1]), torch.tensor([2]))
