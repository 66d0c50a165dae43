"""The distance of two tensors whose bytes differ: how many elements, the largest difference, in ULP, and where.

A unit in the last place (ULP) is one step between neighbouring floating-point numbers of a dtype; −0 and +0 are the
same place. Counted on the bits (https://randomascii.wordpress.com/2012/02/25/comparing-floating-point-numbers-2012-edition/),
so across zero, denormals and up to infinity. Bytes decide what differs; nothing here says what is equal.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dora_repro.state.digest import bytes_of

CHUNK = 1 << 20  # elements measured at a time, so that no copy of a large tensor is made
_UNSIGNED_FLOATS = (torch.float8_e8m0fnu,)  # an exponent alone, without a sign


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of two tensors of one dtype and shape.

    Attributes:
        differing: elements with other bytes.
        nan: of these, those where either side is NaN.
        max_abs: the largest absolute difference where both are numbers; of complex numbers, the modulus of their
            difference; None where no two numbers were compared.
        max_ulp: the largest distance in ULP, of complex numbers by part; None for dtypes that are not floating.
        at: index of the element with the largest difference, or of the first that differs.
    """

    differing: int
    nan: int
    max_abs: float | None
    max_ulp: int | None
    at: tuple[int, ...]


def distance(expected: torch.Tensor, actual: torch.Tensor) -> Distance | None:
    """Measure two strided tensors of the same dtype and shape; None where all bytes are equal."""
    one, two = _elements(expected), _elements(actual)
    differing = nan = 0
    max_abs, max_ulp, worst = -1.0, -1, -1
    for start in range(0, len(one), CHUNK):
        where = np.flatnonzero(_words(one[start : start + CHUNK]) != _words(two[start : start + CHUNK]))
        if not len(where):
            continue
        where += start
        differing += len(where)
        worst = int(where[0]) if worst < 0 else worst
        differences, ulps, nans = _measure(one[where], two[where], expected.dtype)
        nan += int(nans.sum())
        numbers = ~nans
        if differences is None or not numbers.any():
            continue
        index = int(np.where(nans, -1.0, differences).argmax())
        if differences[index] > max_abs:
            max_abs, worst = float(differences[index]), int(where[index])
        if ulps is not None:
            max_ulp = max(max_ulp, int(ulps[numbers].max()))
    if not differing:
        return None
    at = tuple(int(i) for i in np.unravel_index(worst, tuple(expected.shape))) if expected.dim() else ()
    return Distance(differing, nan, max_abs if max_abs >= 0 else None, max_ulp if max_ulp >= 0 else None, at)


def ulps(expected: torch.Tensor, actual: torch.Tensor) -> np.ndarray:
    """The distance of each element in ULP, row-major; of a floating dtype and one shape. A NaN counts as any bits do.

    Raises:
        TypeError: a dtype whose elements have no such distance.
    """
    measured = _measure(_elements(expected), _elements(actual), expected.dtype)
    if measured.ulps is None:
        raise TypeError(f"no distance in ULP for {expected.dtype}")
    return measured.ulps


def _elements(tensor: torch.Tensor) -> np.ndarray:
    """The bytes of each element.  # (n, width)"""
    return bytes_of(tensor).view(np.uint8).reshape(-1, tensor.element_size())


def _words(elements: np.ndarray) -> np.ndarray:
    """Elements (n, width) as n unsigned integers, or n structures where there is no integer that wide."""
    width = elements.shape[1]
    return elements.view(np.dtype(f"u{width}") if width <= 8 else np.dtype("u8,u8")).reshape(-1)


class _Measured(NamedTuple):
    """The differences of n elements.

    Attributes:
        differences: absolute; None for dtypes whose elements are no numbers  # (n,)
        ulps: None for dtypes that are not floating  # (n,)
        nans: whether either side is NaN  # (n,), bool
    """

    differences: np.ndarray | None
    ulps: np.ndarray | None
    nans: np.ndarray


def _measure(one: np.ndarray, two: np.ndarray, dtype: torch.dtype) -> _Measured:
    """Measure elements, given by their bytes.  # (n, width) each"""
    if dtype.is_complex:
        return _measure_complex(one, two, dtype.to_real())
    bits = [_words(one), _words(two)]
    no_nans = np.zeros(len(one), bool)
    if not dtype.is_floating_point:
        if dtype.is_signed:
            bits = [side ^ _sign(side) for side in bits]  # two's complement in the order of the numbers
        return _Measured((np.maximum(*bits) - np.minimum(*bits)).astype(np.float64), None, no_nans)
    try:
        first, second = (
            torch.from_numpy(np.ascontiguousarray(side).reshape(-1)).view(dtype).to(torch.float64).numpy()
            for side in (one, two)
        )
    except (RuntimeError, NotImplementedError):  # packed dtypes, whose elements are no numbers
        return _Measured(None, None, no_nans)
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(first - second)
    places = [side.astype(np.uint64) if dtype in _UNSIGNED_FLOATS else _place(side) for side in bits]
    return _Measured(differences, np.maximum(*places) - np.minimum(*places), np.isnan(first) | np.isnan(second))


def _measure_complex(one: np.ndarray, two: np.ndarray, half: torch.dtype) -> _Measured:
    """By part: the modulus of the difference, and the larger distance in ULP."""
    real, imag = (_measure(_part(one, index), _part(two, index), half) for index in (0, 1))
    nans = real.nans | imag.nans
    if real.differences is None or imag.differences is None or real.ulps is None or imag.ulps is None:
        return _Measured(None, None, nans)  # no dtype of torch has such parts
    with np.errstate(over="ignore", invalid="ignore"):
        differences = np.hypot(real.differences, imag.differences)
    return _Measured(differences, np.maximum(real.ulps, imag.ulps), nans)


def _part(elements: np.ndarray, index: int) -> np.ndarray:
    half = elements.shape[1] // 2
    return np.ascontiguousarray(elements[:, index * half : (index + 1) * half])


def _sign(bits: np.ndarray) -> np.unsignedinteger:
    return bits.dtype.type(1) << bits.dtype.type(bits.dtype.itemsize * 8 - 1)


def _place(bits: np.ndarray) -> np.ndarray:
    """Sign and magnitude as one unsigned count in the order of the numbers, both zeros at the same place."""
    sign = _sign(bits)
    magnitude = (bits & ~sign).astype(np.uint64)
    middle = np.uint64(1 << 63)
    return np.where(bits & sign, middle - magnitude, middle + magnitude)
