"""How far apart two tensors are: in every dtype, across zero, at the borders of chunks, against torch and numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from dora_repro.state import distance as module
from dora_repro.state.distance import Distance, distance

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SMALL_FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


def of(one, two, dtype=torch.float32) -> Distance | None:
    return distance(torch.tensor(one, dtype=dtype), torch.tensor(two, dtype=dtype))


def ulps(one, two, dtype=torch.float32) -> int:
    return of([one], [two], dtype).max_ulp


@pytest.mark.parametrize(
    "dtype", [*FLOATS, *SMALL_FLOATS, torch.float8_e8m0fnu, torch.int8, torch.bool, torch.complex64]
)
def test_equal_bytes_have_no_distance(dtype):
    tensor = torch.tensor([1, 0, 1, 1]).to(dtype)
    assert distance(tensor, tensor.clone()) is None
    other = tensor.clone()
    other[1] = 1
    assert distance(tensor, other).differing == 1


# --- units in the last place -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_neighbours_are_one_apart(dtype):
    info = torch.finfo(dtype)
    assert ulps(1.0, 1.0 + info.eps, dtype) == ulps(-1.0, -1.0 - info.eps, dtype) == 1
    assert ulps(1.0, 1.0 - info.eps / 2, dtype) == 1
    assert ulps(1.0, 2.0, dtype) == round(1 / info.eps)


@pytest.mark.parametrize("dtype", FLOATS)
def test_zero_is_one_place_whatever_its_sign(dtype):
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    assert of([0.0], [-0.0], dtype) == Distance(1, 0, 0.0, 0, (0,))
    assert ulps(0.0, smallest, dtype) == ulps(-0.0, smallest, dtype) == ulps(-smallest, 0.0, dtype) == 1
    assert ulps(-smallest, smallest, dtype) == 2
    assert ulps(smallest, 2 * smallest, dtype) == 1
    assert ulps(torch.finfo(dtype).smallest_normal, smallest, dtype) == round(1 / torch.finfo(dtype).eps) - 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinity_follows_the_largest_number(dtype):
    largest = torch.finfo(dtype).max
    assert ulps(largest, math.inf, dtype) == ulps(-largest, -math.inf, dtype) == 1
    assert of([largest], [math.inf], dtype).max_abs == math.inf
    both = of([-math.inf], [math.inf], dtype)
    assert both.max_abs == math.inf and both.max_ulp == 2 * ulps(0.0, math.inf, dtype)


def test_the_whole_line_of_float64_is_counted_without_overflow():
    assert ulps(-math.inf, math.inf, torch.float64) == 2 * 0x7FF0000000000000
    assert of([-1.7e308], [1.7e308], torch.float64).max_abs == math.inf


@pytest.mark.parametrize("dtype", [*SMALL_FLOATS, torch.float8_e8m0fnu], ids=str)
def test_eight_bits_are_counted_as_by_sorting_all_their_numbers(dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    numbers = every.to(torch.float64)
    places = {value: place for place, value in enumerate(sorted(set(numbers[~numbers.isnan()].tolist())))}
    for i in (0, 1, 7, 8, 100, 127, 128, 130, 250, 255):
        for j in range(0, 256, 3):
            if i == j:
                continue
            found = distance(every[i : i + 1], every[j : j + 1])
            one, two = numbers[i].item(), numbers[j].item()
            if math.isnan(one) or math.isnan(two):
                assert found == Distance(1, 1, None, None, (0,))
            else:
                assert found.max_ulp == abs(places[one] - places[two])
                assert found.max_abs == abs(one - two)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 50))
def test_float32_agrees_with_numpy(one, steps):
    two = np.float32(one)
    for _ in range(steps):
        two = np.nextafter(two, np.float32(0.5))
    found = of([one], [float(two)])
    if found is not None:
        arrays = np.array([one], "f4"), np.array([two], "f4")
        np.testing.assert_array_max_ulp(*arrays, maxulp=found.max_ulp)
        assert found.max_abs == abs(float(arrays[0][0]) - float(two))
        if found.max_ulp:
            with pytest.raises(AssertionError):
                np.testing.assert_array_max_ulp(*arrays, maxulp=found.max_ulp - 1)


@given(st.floats(allow_nan=False), st.integers(1, 1000))
def test_float64_agrees_with_counting_steps(start, steps):
    end = start
    for _ in range(steps):
        end = math.nextafter(end, math.inf)
    found = of([start], [end], torch.float64)
    if found is not None:
        taken = steps if end != math.inf else None
        assert taken is None or found.max_ulp == taken


# --- NaN ---------------------------------------------------------------------------------------------------------


def test_nan_is_counted_and_no_number():
    nan, inf = math.nan, math.inf
    assert of([nan, 1.0], [nan, 1.0]) is None
    assert of([nan, 1.0], [1.0, 1.5]) == Distance(2, 1, 0.5, 1 << 22, (1,))
    assert of([1.0, nan], [nan, nan]) == Distance(1, 1, None, None, (0,))
    assert of([nan], [inf]) == Distance(1, 1, None, None, (0,))
    other = torch.tensor([nan]).view(torch.int32).add(1).view(torch.float32)
    assert distance(torch.tensor([nan]), other) == Distance(1, 1, None, None, (0,))


# --- other dtypes ------------------------------------------------------------------------------------------------

INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_over_their_whole_range(dtype):
    info = torch.iinfo(dtype)
    found = of([info.min, 3, info.max], [info.max, 3, info.max - 1], dtype)
    assert found == Distance(2, 0, float(info.max - info.min), None, (0,))
    assert of([info.max], [info.max - 1], dtype).max_abs == 1.0  # also beyond 2**53, where floats cannot tell
    if info.min:
        assert of([-1], [1], dtype).max_abs == 2.0


def test_truth_values_differ_by_one():
    assert of([True, False], [True, True], torch.bool) == Distance(1, 0, 1.0, None, (1,))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_elements(dtype):
    found = of([[1 + 1j, 2], [3, 4j]], [[1 + 1j, 2], [6 + 4j, 4j]], dtype)
    assert (found.differing, found.max_abs, found.at) == (1, 5.0, (1, 0))
    assert found.max_ulp == of([0.0], [4.0], dtype.to_real()).max_ulp
    assert of([1 + 2j], [1 - 2j], dtype).max_abs == 4.0
    assert of([complex(math.nan, 0)], [1], dtype) == Distance(1, 1, None, None, (0,))
    lazy = torch.tensor([1 + 2j], dtype=dtype).conj()
    assert distance(lazy, torch.tensor([1 - 2j], dtype=dtype)) is None


def test_packed_dtypes_are_told_apart_without_numbers():
    one, two = (torch.tensor([1, value], dtype=torch.uint8).view(torch.float4_e2m1fn_x2) for value in (2, 3))
    assert distance(one, two) == Distance(1, 0, None, None, (1,))
    assert distance(one, one) is None


# --- shapes, places, chunks --------------------------------------------------------------------------------------


def test_the_worst_element_is_found_in_any_shape():
    one = torch.zeros(2, 3, 4)
    two = one.clone()
    two[0, 1, 2], two[1, 2, 3], two[1, 0, 0] = 1.0, -2.0, 0.5
    assert distance(one, two) == Distance(3, 0, 2.0, 0x40000000, (1, 2, 3))
    assert distance(one.transpose(0, 2), two.transpose(0, 2)).at == (3, 2, 1)
    assert of(1.0, 2.0).at == ()
    assert distance(torch.zeros(0, 3), torch.ones(0, 3)) is None


@pytest.mark.parametrize("place", [0, 1, 7, 8, 9, 15, 16, 23])
def test_borders_of_chunks_hide_nothing(place, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    one = torch.arange(24.0)
    two = one.clone()
    two[place] += 5
    assert distance(one, two).at == (place,) and distance(one, two).differing == 1
    many = one + torch.tensor([0.5 if index != place else 7.0 for index in range(24)])
    found = distance(one, many)
    assert (found.differing, found.max_abs, found.at) == (24, 7.0, (place,))


def test_a_chunk_of_nans_does_not_hide_numbers_in_the_next(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    one, two = torch.zeros(6), torch.tensor([math.nan, math.nan, 0, 3.0, math.nan, 1.0])
    assert distance(one, two) == Distance(5, 3, 3.0, ulps(0.0, 3.0), (3,))


def test_any_chunking_gives_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(7, 11, generator=generator)
    two = torch.where(torch.rand(7, 11, generator=generator) < 0.3, one + 1e-3, one)
    expected = distance(one, two)
    for chunk in (1, 2, 3, 10, 76, 77, 78):
        monkeypatch.setattr(module, "CHUNK", chunk)
        assert distance(one, two) == expected


ARRAYS = nps.arrays(np.float32, 6, elements=st.floats(-1e3, 1e3, width=32))


@given(ARRAYS, ARRAYS)
def test_the_largest_difference_agrees_with_torch(one, two):
    one, two = torch.from_numpy(one), torch.from_numpy(two)
    found = distance(one, two)
    if found is None:
        assert torch.equal(one, two)
        return
    assert found.max_abs == (one.double() - two.double()).abs().max().item()
    if found.max_abs:
        with pytest.raises(AssertionError) as raised:
            torch.testing.assert_close(one.double(), two.double(), rtol=0, atol=0)
        assert f"Greatest absolute difference: {found.max_abs} at index {found.at}" in str(raised.value)
