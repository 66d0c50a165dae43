"""The elements of one leaf: the worst, their numbers as text, and matrices to draw that lose no difference."""

import math

import numpy as np
import pytest
import torch

from dora_repro import BadInput
from dora_repro.comparison.elements import folded_shape, images, number_text, why_no_picture, worst_elements


def test_worst_elements_come_first_and_are_counted_in_ulp():
    one = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    other = one.clone()
    other[0, 1], other[1, 2] = 2.5, torch.nextafter(one[1, 2], torch.tensor(9.0))
    first, second = worst_elements(one, other)
    assert (first.index, first.expected, first.actual, first.difference) == ((0, 1), "2.0", "2.5", 0.5)
    assert (second.index, second.ulp) == ((1, 2), 1)
    other[1, 0] = math.nan
    assert [element.index for element in worst_elements(one, other, 2)] == [(1, 0), (0, 1)]
    assert worst_elements(one, one) == []


def test_numbers_are_as_long_as_they_must_be():
    assert number_text(torch.tensor(0.1)) == "0.1"
    assert number_text(torch.tensor(0.1, dtype=torch.bfloat16)) == "0.100098"
    assert number_text(torch.tensor(True)) == "True"
    assert number_text(torch.tensor(math.nan)) == "nan (0x7fc00000)"


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (torch.ones(2), "text", "no tensor on both sides"),
        (torch.ones(2), torch.ones(3), "no counterparts"),
        (torch.ones(2).to_sparse(), torch.ones(2).to_sparse(), "sparse"),
        (torch.ones(0), torch.ones(0), "no elements"),
        (torch.ones(2, device="meta"), torch.ones(2, device="meta"), "without data"),
    ],
)
def test_what_cannot_be_drawn_says_why(one, other, said):
    assert said in why_no_picture(one, other)
    with pytest.raises(BadInput, match="no picture of"):
        images(one, other)


def test_shapes_are_folded_sensibly():
    assert folded_shape((64,)) == (1, 64, "")
    assert folded_shape((5056,)) == (71, 72, "a vector of 5056 in rows of 72")
    assert folded_shape((300, 4)) == (300, 4, "")
    assert folded_shape((32, 16, 3, 3)) == (32, 144, "32 × 16 × 3 × 3 as 32 × 144")


def test_a_small_tensor_is_shown_as_it_is():
    one = torch.arange(6.0).reshape(2, 3)
    other = one.clone()
    other[1, 0] += 0.5
    found = images(one, other)
    np.testing.assert_array_equal(found.expected, one)
    np.testing.assert_array_equal(found.actual, other)
    np.testing.assert_array_equal(found.difference, [[0, 0, 0], [0.5, 0, 0]])
    assert found.block == (1, 1) and found.differs.sum() == 1


@pytest.mark.parametrize("shape", [(600, 300), (257, 1000), (100_003,), (8, 9, 40, 50)])
def test_a_large_tensor_keeps_the_worst_of_each_block(shape):
    torch.manual_seed(0)
    one = torch.randn(shape)
    other = one + (torch.rand(shape) < 1e-3) * torch.randn(shape)
    other.view(-1)[-1] += 7.0
    found = images(one, other)
    assert max(found.difference.shape) <= 256
    assert found.difference.max() == pytest.approx((other.double() - one.double()).abs().max().item(), rel=0, abs=0)
    assert found.difference[-1].max() == found.difference.max()
    kept = np.isfinite(found.expected)
    np.testing.assert_array_equal(
        np.abs(found.actual - found.expected)[kept], found.difference[kept]
    )  # one and the same element
    rows, columns = found.shape
    full = np.zeros(rows * columns, bool)
    full[: one.numel()] = (one != other).reshape(-1).numpy()
    down, across = np.nonzero(full.reshape(rows, columns))
    assert found.differs.sum() == len({*zip(down // found.block[0], across // found.block[1], strict=True)})


def test_a_nan_and_bytes_alone_are_seen_in_a_block():
    one, other = torch.zeros(512, 512), torch.zeros(512, 512)
    other[0, 0], other[0, 1], other[4, 4] = 1.0, math.nan, -0.0
    found = images(one, other)
    assert np.isnan(found.difference[0, 0]) and found.differs[0, 0]
    assert found.difference[2, 2] == 0 and found.differs[2, 2] and found.differs.sum() == 2
