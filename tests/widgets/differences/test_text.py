"""Two sides in words, leaf by leaf."""

import math

import pytest
import torch

from dora_repro import BadInput
from dora_repro.comparison.stepwise import Sides
from dora_repro.widgets.differences import text
from tests.show import made
from tests.show.test_figures import drift


def test_minus_zero_is_a_difference_in_bytes_only():
    one = {"a": torch.tensor([0.0, math.nan])}
    sides = Sides(one, {"a": torch.tensor([-0.0, math.nan])})
    assert text.leaf_sentence(sides, None, "a") == (
        "a (f32[2]): 1/2 elements (50 %) differ, in bytes only (as numbers they are equal: −0 and +0); "
        "the worst is at [0]."
    )


def test_each_kind_of_difference_has_its_words():
    one = {
        "same": 1,
        "gone": 2,
        "dtype": torch.zeros(2),
        "shape": torch.zeros(2),
        "text": "complete",
        "one": torch.ones(()),
    }
    other = {
        "same": 1,
        "new": 3,
        "dtype": torch.zeros(2).half(),
        "shape": torch.zeros(3),
        "text": "dora",
        "one": torch.zeros(()),
    }
    sides = Sides(one, other, ("A", "B"))
    said = {leaf: text.leaf_sentence(sides, None, leaf) for leaf in sides.leaves(None)}
    assert said == {
        "same": "same (1) is byte-identical.",
        "gone": "gone (2) is in A and missing in B.",
        "dtype": "dtype has a different dtype: f32[2] in A, f16[2] in B.",
        "shape": "shape has a different shape: f32[2] in A, f32[3] in B.",
        "text": "text differs: 'complete' in A, 'dora' in B.",
        "one": "one (f32[]): 1/1 elements (100 %) differ, max diff = 1.00e+00, max 1065353216 ULP.",
        "new": "new (3) is in B and missing in A.",
    }
    assert text.label(sides, None, "gone", "gone") == "≠ gone  2  missing"
    assert text.label(sides, None, "same", "same") == "= same  1"
    assert [line.split() for line in text.components_text(sides).splitlines()[2:4]] == [
        ["same", "0", "1"],
        ["gone", "1", "1"],
    ]


def test_the_first_difference_is_named_and_none_is_said():
    one = {1: {"a": torch.zeros(2)}, 2: {"a": torch.zeros(2), "b": torch.zeros(2)}}
    other = {1: {"a": torch.zeros(2)}, 2: {"a": torch.zeros(2), "b": torch.ones(2)}}
    assert text.summary(Sides(one, other), 2, None) == "Step 2: 1 of 2 leaves differs.\nFirst difference: step 2, b."
    assert text.summary(Sides(one, one), 1, "a") == (
        "Step 1: the one leaf is byte-identical.\nNo leaf differs at any of 2 steps.\na (f32[2]) is byte-identical."
    )


def test_values_without_a_figure_are_text_with_the_reason():
    sides = Sides({"a": "complete", "b": torch.tensor(1.5)}, {"a": None, "b": torch.tensor(2.5)}, ("A", "B"))
    assert text.values_text(sides, None, "a", "no tensors") == (
        "As text: no tensors.\nA: 'complete'\nB: no value (missing, or stored by digest only)"
    )
    assert text.values_text(sides, None, "b", "a number").splitlines()[1:] == ["A: 1.5", "B: 2.5"]


def test_both_runs_of_a_report_are_named_and_without_values_it_says_how_to_get_them():
    assert text.sides_of(made.different(drift=drift(3, 5))).names == ("uninterrupted", "resumed")
    with pytest.raises(BadInput, match="the report holds no values: give the check values='model/\\*', for instance"):
        text.sides_of(made.report())
