"""How far apart two tensors are whose bytes differ: how many elements, the largest difference, in ULP, and where.

A unit in the last place (ULP) is one step between neighbouring floating-point numbers of a dtype; −0 and +0 are the
same place. Counted on the bits (https://randomascii.wordpress.com/2012/02/25/comparing-floating-point-numbers-2012-edition/),
so across zero, denormals and up to infinity. Bytes decide what differs; nothing here says what is equal.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dora_repro.state.digest import bytes_of

CHUNK = 1 << 20  # elements measured at a time, so that no copy of a large tensor is made
_UNSIGNED_FLOATS = (torch.float8_e8m0fnu,)  # an exponent alone, without a sign


@dataclass(frozen=True, slots=True)
class Distance:
    """Between two tensors of one dtype and shape.

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
    width = expected.element_size()
    one, two = (bytes_of(tensor).view(np.uint8).reshape(-1, width) for tensor in (expected, actual))  # (n, width)
    differing = nan = 0
    max_abs, max_ulp, worst = -1.0, -1, -1
    for start in range(0, len(one), CHUNK):
        where = np.flatnonzero(_words(one[start : start + CHUNK]) != _words(two[start : start + CHUNK]))
        if not len(where):
            continue
        where += start
        differing += len(where)
        worst = int(where[0]) if worst < 0 else worst
        apart, ulps, nans = _measure(one[where], two[where], expected.dtype)
        nan += int(nans.sum())
        numbers = ~nans
        if apart is None or not numbers.any():
            continue
        index = int(np.where(nans, -1.0, apart).argmax())
        if apart[index] > max_abs:
            max_abs, worst = float(apart[index]), int(where[index])
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
    width = expected.element_size()
    one, two = (bytes_of(tensor).view(np.uint8).reshape(-1, width) for tensor in (expected, actual))  # (n, width)
    _, found, _ = _measure(one, two, expected.dtype)
    if found is None:
        raise TypeError(f"no distance in ULP for {expected.dtype}")
    return found


def _words(elements: np.ndarray) -> np.ndarray:
    """Elements (n, width) as n unsigned integers, or n structures where there is no integer that wide."""
    width = elements.shape[1]
    return elements.view(np.dtype(f"u{width}") if width <= 8 else np.dtype("u8,u8")).reshape(-1)


def _measure(one: np.ndarray, two: np.ndarray, dtype: torch.dtype) -> tuple:
    """(absolute differences or None, ULP distances or None, whether either is NaN) of elements (n, width)."""
    if dtype.is_complex:
        half = dtype.to_real()
        parts = [_measure(*(_part(side, index) for side in (one, two)), half) for index in (0, 1)]
        (real, real_ulps, real_nans), (imag, imag_ulps, imag_nans) = parts
        with np.errstate(over="ignore", invalid="ignore"):
            return np.hypot(real, imag), np.maximum(real_ulps, imag_ulps), real_nans | imag_nans
    bits = _words(one), _words(two)
    none = np.zeros(len(one), bool)
    if not dtype.is_floating_point:
        if dtype.is_signed:
            bits = tuple(side ^ _sign(side) for side in bits)  # two's complement in the order of the numbers
        return (np.maximum(*bits) - np.minimum(*bits)).astype(np.float64), None, none
    try:
        first, second = (
            torch.from_numpy(np.ascontiguousarray(side).reshape(-1)).view(dtype).to(torch.float64).numpy()
            for side in (one, two)
        )
    except (RuntimeError, NotImplementedError):  # packed dtypes, whose elements are no numbers
        return None, None, none
    nans = np.isnan(first) | np.isnan(second)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(first - second)
    places = [side.astype(np.uint64) if dtype in _UNSIGNED_FLOATS else _place(side) for side in bits]
    return apart, np.maximum(*places) - np.minimum(*places), nans


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
