"""Figures of a leaf and of a DoRA layer: what is drawn is what was measured."""

import numpy as np
import pytest
import torch

from dora_repro import BadInput
from dora_repro.comparison.stepwise import Sides
from dora_repro.dora.layers import dora_layer
from dora_repro.widgets.differences import figures
from tests.dora.layers import LAYER, leaves_of_layer, whole_layers
from tests.show.test_figures import outside, overlapping


def test_the_difference_is_grey_where_bytes_are_equal():
    one = torch.randn(6, 6)
    other = one.clone()
    other[2, 3] += 1e-5
    figure = figures.both_and_difference(one, other, "leaf", ("A", "B"))
    first, second, third = figure.axes[:3]
    assert [axes.get_title(loc="left") for axes in (first, second, third)] == ["A", "B", "difference"]
    shown = third.images[0].get_array()
    assert shown.count() == 1 and not np.ma.getmaskarray(shown)[2, 3]
    np.testing.assert_allclose(first.images[0].get_array(), one)
    equal = figures.both_and_difference(one, one)
    assert (
        equal.axes[2].get_title(loc="left") == "difference: none" and equal.axes[2].images[0].get_array().count() == 0
    )


def test_a_tall_matrix_lies_down():
    figure = figures.both_and_difference(torch.zeros(30, 2), torch.ones(30, 2))
    assert figure.axes[0].images[0].get_array().shape == (2, 30)
    assert figure.axes[2].get_xlabel() == "row"


def test_a_histogram_counts_the_elements_of_the_leaf():
    one = torch.ones(8)
    other = one.clone()
    other[:3] = torch.nextafter(one[:3], torch.full((3,), 2.0))
    figure = figures.leaf_ulp_histogram(one, other, "leaf")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [5, 3]
    with pytest.raises(BadInput, match="int64 is not a floating-point dtype"):
        figures.leaf_ulp_histogram(torch.ones(2).long(), torch.ones(2).long())


def test_without_directions_the_picture_is_of_the_low_rank_update():
    one, other = (leaves_of_layer(layer) for layer in whole_layers())
    del one[f"{LAYER}.D"], other[f"{LAYER}.D"]
    alone = dora_layer(Sides(one, other), None, f"{LAYER}.m")
    assert "low-rank update: absolute difference" in figures.dora_rows(alone).axes[3].get_title(loc="left")


def test_a_row_picture_shows_both_lengths_and_leaves_equal_rows_out():
    one, other = whole_layers()
    figure = figures.dora_rows(
        dora_layer(Sides(leaves_of_layer(one), leaves_of_layer(other)), None, f"{LAYER}.m"), ("A", "B")
    )
    lengths, turned, off, _ = figure.axes[:4]
    assert [line.get_label() for line in lengths.lines] == ["A", "B"]
    np.testing.assert_allclose(lengths.lines[1].get_ydata(), other.m.detach())
    assert np.isfinite(turned.lines[0].get_ydata()[3])
    assert np.flatnonzero(np.isfinite(off.lines[1].get_ydata())).tolist() == [1]


SQUARE = torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
BROKEN = SQUARE.clone()
BROKEN[3:9] += 1e-5
BROKEN[20, 20] = float("nan")
DRAWN = {
    "side by side": lambda: figures.both_and_difference(SQUARE, BROKEN, "a leaf"),
    "above each other": lambda: figures.both_and_difference(SQUARE.reshape(3, -1), BROKEN.reshape(3, -1), "a leaf"),
    "lying down": lambda: figures.both_and_difference(SQUARE.reshape(-1, 3), BROKEN.reshape(-1, 3), "a leaf"),
    "histogram": lambda: figures.leaf_ulp_histogram(SQUARE, BROKEN, "a leaf"),
    "rows": lambda: figures.dora_rows(dora_layer(Sides(*map(leaves_of_layer, whole_layers())), None, f"{LAYER}.m")),
}


@pytest.mark.parametrize("name", DRAWN)
def test_no_label_lies_over_another_or_outside(name):
    figure = DRAWN[name]()
    assert overlapping(figure) == [] and outside(figure) == []
