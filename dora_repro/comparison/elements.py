"""Two tensors of one leaf, element by element: which differ in bytes, by how much, and the worst of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dora_repro.contracts import Value
from dora_repro.errors import BadInput
from dora_repro.state.digest import bytes_of, is_dense
from dora_repro.state.distance import ulps

MOST = 256  # pixels of a picture in each direction


def why_no_picture(expected: Value, actual: Value) -> str:
    """Why two values cannot be compared element by element; empty where they can."""
    if not (isinstance(expected, Tensor) and isinstance(actual, Tensor)):
        return "this is no tensor on both sides, or one that is stored by digest alone"
    for side in (expected, actual):
        if side.is_meta or not is_dense(side):
            return "the elements of such a tensor (sparse, nested, quantised, or without data) are not laid out"
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return "dtypes or shapes are not the same, so that elements have no counterparts"
    if not expected.numel():
        return "there are no elements"
    try:
        expected.reshape(-1)[:1].to(torch.complex128)
    except (RuntimeError, NotImplementedError):  # packed dtypes
        return f"the elements of {expected.dtype} are no numbers"
    return ""


def differing(expected: Tensor, actual: Tensor) -> np.ndarray:
    """Which elements differ in bytes, row-major.  # (n,), bool"""
    width = expected.element_size()
    kind = np.dtype(f"u{width}") if width <= 8 else np.dtype("u8,u8")
    one, other = (bytes_of(side).view(np.uint8).view(kind) for side in (expected, actual))
    return one != other


def numbers(tensor: Tensor) -> np.ndarray:
    """Elements as numbers, row-major: float64, or complex128.  # (n,)"""
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().cpu().reshape(-1).to(wide).resolve_conj().resolve_neg().numpy()


def absolute_differences(expected: Tensor, actual: Tensor) -> np.ndarray:
    """Absolute differences, row-major; 0 where bytes are equal, NaN where a NaN differs.  # (n,)"""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(differing(expected, actual), np.abs(numbers(expected) - numbers(actual)), 0.0)


@dataclass(frozen=True)
class Element:
    """One element that differs.

    Attributes:
        index: its place in the tensor.
        expected: its value on the one side, as text.
        actual: its value on the other side, as text.
        difference: absolute; None where either is NaN.
        ulp: the distance in ULP; None for dtypes that are not floating, and where either is NaN.
    """

    index: tuple[int, ...]
    expected: str
    actual: str
    difference: float | None
    ulp: int | None


def worst_elements(expected: Tensor, actual: Tensor, count: int = 10) -> list[Element]:
    """The elements that differ most, NaN first, then by absolute difference and ULP; none where all bytes are equal.

    Args:
        expected: the tensor of the one side.
        actual: that of the other side, of the same dtype and shape (`why_no_picture` is empty).
        count: how many elements to return at most.
    """
    where = np.flatnonzero(differing(expected, actual))
    one, other = (side.detach().cpu().reshape(-1)[torch.from_numpy(where)] for side in (expected, actual))
    sizes = absolute_differences(one, other)
    places = ulps(one, other) if one.is_floating_point() or one.is_complex() else None
    largest = -np.nan_to_num(sizes, nan=np.inf)
    keys = (largest,) if places is None else (-places.astype(np.float64), largest)
    worst = []
    for at in np.lexsort(keys)[:count]:
        index = tuple(int(i) for i in np.unravel_index(where[at], tuple(expected.shape)))
        size = None if np.isnan(sizes[at]) else float(sizes[at])
        ulp = None if places is None or size is None else int(places[at])
        worst.append(Element(index, number_text(one[at]), number_text(other[at]), size, ulp))
    return worst


def number_text(element: Tensor) -> str:
    """One element, with as few digits as distinguish it from its neighbours; a NaN with its bits."""
    value = element.detach().cpu().reshape(()).resolve_conj().resolve_neg()
    if value.is_floating_point() and bool(value.isnan()):
        return f"nan (0x{bytes_of(value).view(np.uint8)[::-1].tobytes().hex()})"
    if value.dtype in (torch.float32, torch.float16):
        return str(value.numpy()[()])
    if value.is_floating_point() and value.dtype is not torch.float64:
        return f"{value.item():.6g}"
    return str(value.item())


# --- as a matrix


@dataclass(frozen=True)
class Images:
    """Two tensors as matrices, reduced by blocks, and how they differ.

    Attributes:
        expected: the element of each block that differs most, of the one side; NaN where there is none  # (R, C)
        actual: likewise, of the other side  # (R, C)
        difference: its absolute difference; 0 where equal, NaN where a NaN differs  # (R, C)
        differs: whether any byte of the block differs  # (R, C), bool
        shape: rows and columns before the reduction.
        block: rows and columns that became one element.
        folded: how the tensor became a matrix, in words; empty where it was one.
    """

    expected: np.ndarray
    actual: np.ndarray
    difference: np.ndarray
    differs: np.ndarray
    shape: tuple[int, int]
    block: tuple[int, int]
    folded: str = ""


def images(expected: Tensor, actual: Tensor, most: int = MOST) -> Images:
    """Two tensors of one dtype and shape as matrices of at most `most` rows and columns.

    A vector is one row, or several where it is long; more dimensions are joined into two, as near to a square as can
    be. Of complex numbers the modulus is shown, and the modulus of their difference.

    Raises:
        BadInput: they have no elements side by side.
    """
    if reason := why_no_picture(expected, actual):
        raise BadInput(f"no picture of {tuple(getattr(expected, 'shape', ()))}: {reason}")
    rows, columns, folded = folded_shape(tuple(expected.shape), most)
    differs, difference = differing(expected, actual), absolute_differences(expected, actual)
    values = [np.abs(side) if np.iscomplexobj(side) else side for side in map(numbers, (expected, actual))]
    block = (-(-rows // most), -(-columns // most))
    # What decides: no number first, then the size; bytes alone before what is equal; padding never.
    weight = np.where(differs, np.nan_to_num(difference, nan=np.inf), -1.0)
    weight, *parts = (
        blocks(part, rows, columns, block, fill)
        for part, fill in (
            (weight, -2.0),
            (values[0], np.nan),
            (values[1], np.nan),
            (difference, 0.0),
            (differs, False),
        )
    )
    chosen = weight.argmax(axis=-1)[..., None]
    one, other, difference, differs = (np.take_along_axis(part, chosen, axis=-1)[..., 0] for part in parts)
    return Images(one, other, difference, differs, (rows, columns), block, folded)


def folded_shape(shape: Sequence[int], most: int = MOST) -> tuple[int, int, str]:
    """(rows, columns, how in words) of a tensor of any shape as a matrix."""
    count = int(np.prod(shape, dtype=np.int64))
    match shape:
        case (rows, columns):
            return rows, columns, ""
        case () | (_,):
            width = count if count <= most else int(np.ceil(np.sqrt(count)))
            return -(-count // width), width, f"a vector of {count} in rows of {width}" if width < count else ""
    sizes = [int(np.prod(shape[:at], dtype=np.int64)) for at in range(1, len(shape))]
    at = min(range(len(sizes)), key=lambda place: abs(np.log(sizes[place] ** 2 / count)))
    form = " × ".join(map(str, shape))
    return sizes[at], count // sizes[at], f"{form} as {sizes[at]} × {count // sizes[at]}"


def blocks(values: np.ndarray, rows: int, columns: int, block: tuple[int, int], fill: object) -> np.ndarray:
    """Elements by block, filled up at the end of rows and columns.  # (n,) -> (R, C, elements of a block)"""
    high, long = block
    tall, wide = -(-rows // high), -(-columns // long)
    whole = np.full((tall * high, wide * long), fill, values.dtype)
    flat = np.full(rows * columns, fill, values.dtype)
    flat[: len(values)] = values
    whole[:rows, :columns] = flat.reshape(rows, columns)
    return whole.reshape(tall, high, wide, long).swapaxes(1, 2).reshape(tall, wide, high * long)
