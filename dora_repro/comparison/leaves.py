"""Compare a snapshot, a trace or a checkpoint file with its like, leaf by leaf, by bytes.

Three separate steps, after `torch.testing`: pair the leaves of both sides by path, measure one pair, word the result.
Bytes alone decide what is equal; the largest absolute difference, ULP distance and share only describe a difference.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dora_repro.comparison.files import read_side
from dora_repro.difference import BY_DIGEST, LeafDifference
from dora_repro.errors import BadInput
from dora_repro.shown import Shown
from dora_repro.state.digest import digest
from dora_repro.state.distance import distance
from dora_repro.state.draws import draws_apart
from dora_repro.state.paths import select
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Trace
from dora_repro.wording import counted


@dataclass(frozen=True)
class Comparison(Shown):
    """The result of comparing two sides.

    Attributes:
        name: what was compared, in a word or two.
        compared: paths that both sides had or one of them lacked.
        differences: of those that are not equal by bytes, in the order of the expected side.
        tolerance: the tier (absolute) that describes the differences, or None.
    """

    name: str
    compared: tuple[str, ...]
    differences: tuple[LeafDifference, ...]
    tolerance: float | None = None

    @property
    def equal(self) -> bool:
        """By bytes, over at least one leaf."""
        return bool(self.compared) and not self.differences

    @property
    def within_tolerance(self) -> bool:
        """Whether all differences are numbers within the tier; True where there is none."""
        return bool(self.compared) and self.within(self.tolerance or 0.0)

    def within(self, tolerance: float) -> bool:
        return all(difference.within(tolerance) for difference in self.differences)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference; NaN where a leaf is missing, changed its shape or differs in a NaN."""
        if any(difference.max_abs is None or difference.nan for difference in self.differences):
            return math.nan
        return max((difference.max_abs for difference in self.differences), default=0.0)

    def __repr__(self) -> str:
        return f"Comparison({self.name}: {len(self.differences)} of {counted(len(self.compared), 'leaf')} differ)"


def compare(
    expected: Snapshot | Trace | Mapping | str | Path,
    actual: Snapshot | Trace | Mapping | str | Path,
    *,
    only: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    name: str = "comparison",
    tolerance: float | None = None,
) -> Comparison:
    """Compare two snapshots, two traces, two mappings of path -> value, or two checkpoint files.

    Files are compared one leaf at a time, without holding either of them in memory.

    Args:
        only, ignore: globs of paths.
        tolerance: a tier that describes the differences; bytes decide all the same.

    Raises:
        BadInput: a file cannot be read, or the two are not of a kind.
    """
    (kind, first), (other, second) = _leaves(expected), _leaves(actual)
    if kind != other:
        raise BadInput(f"cannot compare a {kind} with a {other}: give two of a kind")
    every = dict.fromkeys((*first, *second))
    ignored = set(select(ignore, every))
    paths = [path for path in select(only, every) if path not in ignored]
    found = (compare_leaf(path, first.get(path, _NOTHING), second.get(path, _NOTHING)) for path in paths)
    return Comparison(name, tuple(paths), tuple(difference for difference in found if difference), tolerance)


class _Nothing:
    pass


_NOTHING = _Nothing()


def _leaves(side: object) -> tuple[str, Mapping[str, object]]:
    """What a side is, and its leaves by path. A file is what it says it is; its values are read when asked for."""
    if isinstance(side, (str, Path)):
        return _leaves(read_side(side))
    if isinstance(side, Trace):
        effects = ((step.number, effect) for step in side.steps for effect in step.effects)
        return "trace", {f"{number}/{effect.phase}/{effect.leaf}": _Digest(effect.digest) for number, effect in effects}
    if isinstance(side, Mapping):
        return "set of values", side
    raise BadInput(f"cannot compare a {type(side).__name__}: give snapshots, traces, mappings or files")


class _Digest(bytes):
    """A value of which the digest alone is known."""

    def __repr__(self) -> str:
        return f"digest {self.hex()[:16]}…"


def compare_leaf(path: str, expected: object, actual: object) -> LeafDifference | None:
    """How two values of one leaf differ; None where they are equal by bytes."""
    found = _compare_leaf(path, expected, actual)
    role = getattr(expected, "role", "") or getattr(actual, "role", "")
    return replace(found, role=role) if found is not None and role else found


def _compare_leaf(path: str, expected: object, actual: object) -> LeafDifference | None:
    if isinstance(expected, SavedLeaf) and isinstance(actual, SavedLeaf):
        return _compare_saved(path, expected, actual)
    if isinstance(expected, SavedLeaf) and not expected.kept and actual is not _NOTHING:
        return None if _same_digest(expected, actual) else LeafDifference(path, "value", BY_DIGEST, BY_DIGEST)
    if isinstance(actual, SavedLeaf) and not actual.kept and expected is not _NOTHING:
        return None if _same_digest(actual, expected) else LeafDifference(path, "value", BY_DIGEST, BY_DIGEST)
    if expected is _NOTHING:
        return LeafDifference(path, "unexpected", actual=describe(actual))
    if actual is _NOTHING:
        return LeafDifference(path, "missing", expected=describe(expected))
    return _compare_values(path, _value(expected), _value(actual))


def _compare_saved(path: str, expected: SavedLeaf, actual: SavedLeaf) -> LeafDifference | None:
    if expected.digest == actual.digest:
        return None
    if not (expected.kept and actual.kept):
        return LeafDifference(path, "value", BY_DIGEST, BY_DIGEST)
    # The digests have decided: what the values cannot show is a difference all the same.
    found = _compare_values(path, expected.value, actual.value)
    found = found or LeafDifference(path, "value", describe(expected), describe(actual))
    if expected.role == actual.role == "generator":
        return replace(found, draws=draws_apart(expected.value, actual.value))
    return found


def _value(side: object) -> object:
    return side.value if isinstance(side, SavedLeaf) else side


def _same_digest(saved: SavedLeaf, value: object) -> bool:
    try:
        return saved.digest == digest(value)
    except TypeError:
        return False


def _compare_values(path: str, expected: object, actual: object) -> LeafDifference | None:
    words = describe(expected), describe(actual)
    if all(isinstance(side, np.ndarray) and not isinstance(side, np.ma.MaskedArray) for side in (expected, actual)):
        if expected.dtype != actual.dtype:
            return LeafDifference(path, "dtype", *words)
        if expected.shape != actual.shape:
            return LeafDifference(path, "shape", *words)
        try:
            expected, actual = (_as_tensor(array) for array in (expected, actual))
        except TypeError:  # dtypes that torch lacks
            return None if _same(expected, actual) else LeafDifference(path, "value", *words)
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        return _compare_tensors(path, expected, actual, words)
    if type(expected) is not type(actual):
        return LeafDifference(path, "type", *words)
    if _same(expected, actual):
        return None
    if type(expected) is int:
        return LeafDifference(path, "value", *words, max_abs=_gap(expected, actual))
    if type(expected) is float:
        found = distance(*(torch.tensor(number, dtype=torch.float64) for number in (expected, actual)))
        return LeafDifference(path, "value", *words, max_abs=found.max_abs, max_ulp=found.max_ulp, nan=found.nan)
    return LeafDifference(path, "value", *words)


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _gap(expected: int, actual: int) -> float:
    try:
        return float(abs(expected - actual))
    except OverflowError:
        return math.inf


def _same(expected: object, actual: object) -> bool:
    try:
        return digest(expected) == digest(actual)
    except TypeError:
        return bool(repr(expected) == repr(actual))  # stubs and other things that a file may hold


def _compare_tensors(
    path: str, expected: torch.Tensor, actual: torch.Tensor, words: tuple[str, str]
) -> LeafDifference | None:
    if expected.dtype != actual.dtype:
        return LeafDifference(path, "dtype", *words)
    measurable = all(side.layout is torch.strided and not side.is_nested for side in (expected, actual))
    if measurable and expected.shape != actual.shape:
        return LeafDifference(path, "shape", *words)
    if not measurable or expected.is_quantized or expected.is_meta or actual.is_meta:
        return None if digest(expected) == digest(actual) else LeafDifference(path, "value", *words)
    found = distance(expected, actual)
    if found is None:
        return None
    return LeafDifference(
        path, "value", *words, total=expected.numel(), differing=found.differing, nan=found.nan, at=found.at,
        max_abs=found.max_abs, max_ulp=found.max_ulp,
    )  # fmt: skip


_SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "int": "i", "uint": "u", "bool": "bool"}


def describe(value: object) -> str:
    """A tensor as `f32[64]`, anything else as its text, cut to 60 characters."""
    if isinstance(value, SavedLeaf):
        if not value.kept:
            return f"digest {value.digest.hex()[:16]}…"
        value = value.value
    if isinstance(value, torch.Tensor) and value.is_nested:
        return "nested tensor"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        name = str(value.dtype).removeprefix("torch.")
        letters = name.rstrip("0123456789")
        return f"{_SHORT.get(letters, letters)}{name[len(letters) :]}[{', '.join(map(str, value.shape))}]"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"
