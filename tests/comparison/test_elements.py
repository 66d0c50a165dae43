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


def test_of_elements_as_far_apart_the_further_in_ulp_comes_first_and_of_ten_no_more_are_told():
    one = torch.tensor([64.0, 1.0])
    assert [element.index for element in worst_elements(one, one + 0.5)] == [(1,), (0,)]
    assert len(worst_elements(torch.zeros(30), torch.ones(30))) == 10


def test_a_nan_has_no_distance_and_an_integer_none_in_ulp():
    (nan,) = worst_elements(torch.tensor(1.0), torch.tensor(math.nan))
    assert (nan.index, nan.difference, nan.ulp) == ((), None, None)
    first, second = worst_elements(torch.tensor([1, 5, 9]), torch.tensor([1, 7, 0]))
    assert (first.index, first.expected, first.actual, first.difference, first.ulp) == ((2,), "9", "0", 9.0, None)
    assert (second.index, second.difference) == ((1,), 2.0)
    infinite = worst_elements(torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 2.0]))
    assert [(element.index, element.difference) for element in infinite] == [((1,), 1.0)]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_elements_are_as_far_apart_as_the_modulus_says(dtype):
    one, other = torch.tensor([3 + 4j, 1j, 2.0], dtype=dtype), torch.tensor([0j, 1j, 2.5], dtype=dtype)
    first, second = worst_elements(one, other)
    assert (first.index, first.expected, first.actual, first.difference) == ((0,), "(3+4j)", "0j", 5.0)
    assert (second.index, second.difference) == ((2,), 0.5) and second.ulp > 0
    found = images(one, other)
    np.testing.assert_array_equal(found.expected, [[5.0, 1.0, 2.0]])
    np.testing.assert_array_equal(found.difference, [[5.0, 0.0, 0.5]])


def test_what_torch_negates_or_conjugates_only_when_it_is_read_has_elements_too():
    for dtype in (torch.complex64, torch.complex128):
        value = torch.tensor([1 + 2j, 3 - 4j], dtype=dtype)
        negated = value.conj().imag
        assert negated.is_neg()
        np.testing.assert_array_equal(images(negated, value.imag).difference, [[4.0, 8.0]])
        assert [number_text(element) for element in (negated[0], value.conj()[1])] == ["-2.0", "(3+4j)"]
        assert worst_elements(negated, value.imag)[0].expected == "4.0"
        assert worst_elements(value, value.conj())[0].actual == "(3+4j)"


def test_numbers_are_as_long_as_they_must_be():
    tenth = {
        torch.float32: "0.1", torch.float64: "0.1", torch.float16: "0.1", torch.bfloat16: "0.100098",
        torch.float8_e4m3fn: "0.101562",
    }  # fmt: skip
    assert {dtype: number_text(torch.tensor(0.1, dtype=torch.float64).to(dtype)) for dtype in tenth} == tenth
    assert number_text(torch.tensor(1 / 3, dtype=torch.float64)) == "0.3333333333333333"
    assert [number_text(torch.tensor(value)) for value in (True, -3, 0.5j)] == ["True", "-3", "0.5j"]
    assert number_text(torch.tensor(math.nan)) == "nan (0x7fc00000)"
    assert number_text(torch.tensor(math.nan, dtype=torch.bfloat16)) == "nan (0x7fc0)"
    assert number_text(torch.tensor(complex(math.nan, 1))) == "(nan+1j)"


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (torch.ones(2), "text", "no tensor on both sides"),
        ("text", torch.ones(2), "no tensor on both sides"),
        (torch.ones(2), torch.ones(3), "no counterparts"),
        (torch.ones(2), torch.ones(2, dtype=torch.int32), "no counterparts"),
        (torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),) * 2 + ("float4_e2m1fn_x2 are no numbers",),
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
    assert folded_shape((2, 3, 50)) == (6, 50, "2 × 3 × 50 as 6 × 50")
    assert folded_shape((5, 4, 30)) == (20, 30, "5 × 4 × 30 as 20 × 30")
    assert folded_shape(()) == (1, 1, "")
    assert folded_shape((256,)) == (1, 256, "") and folded_shape((257,))[:2] == (16, 17)


def test_no_picture_has_more_than_256_pixels_in_a_row_unless_that_is_asked_for():
    one = torch.zeros(256, 257)
    assert images(one, one).difference.shape == (256, 129) and images(one, one, 300).difference.shape == (256, 257)
    assert images(torch.zeros(257), torch.zeros(257)).shape == (16, 17)


def test_what_fills_a_block_at_the_edge_is_never_shown():
    one, other = torch.zeros(3, 3), torch.zeros(3, 3)
    other[2, 2] = 1.0
    found = images(one, other, most=2)
    assert found.block == (2, 2)
    np.testing.assert_array_equal(found.expected, np.zeros((2, 2)))
    np.testing.assert_array_equal(found.actual, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(found.differs, [[False, False], [False, True]])
    vector = images(torch.zeros(5), torch.ones(5), most=4)  # two rows of three: the last place is of no element
    np.testing.assert_array_equal(vector.expected, [[0, 0, 0], [0, 0, np.nan]])
    np.testing.assert_array_equal(vector.differs, [[True] * 3, [True, True, False]])


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
