"""Compare two snapshots, traces or checkpoint files leaf by leaf, by bytes.

As in `torch.testing`, pairing leaves by path, measuring a pair and wording the result are three separate steps; the
words are in `difference.py`. Bytes alone decide what is equal; the largest absolute difference, ULP distance and share
of elements only describe a difference.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np
import torch

from dora_repro.checkpoint.guard import reread
from dora_repro.checkpoint.reading import Leaves
from dora_repro.comparison.checkpoints import as_checkpoints, named_alike, unpaired
from dora_repro.comparison.files import read_side
from dora_repro.comparison.unreadable import is_below, unread, value_in
from dora_repro.contracts import Value
from dora_repro.difference import BY_DIGEST, LeafDifference
from dora_repro.errors import BadInput
from dora_repro.printable import one_line
from dora_repro.shown import Shown
from dora_repro.state.digest import digest, is_dense
from dora_repro.state.distance import distance
from dora_repro.state.draws import draws_between
from dora_repro.state.forms import differing_forms
from dora_repro.state.key_order import differing_orders
from dora_repro.state.paths import select
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Trace
from dora_repro.wording import counted, differ

Comparable: TypeAlias = Snapshot | Trace | Mapping[str, Value] | str | Path
"""What can be compared: a snapshot, a trace, a mapping of path -> value, or the path of a file that holds one."""


@dataclass(frozen=True)
class Comparison(Shown):
    """The result of comparing two sides.

    Attributes:
        name: what was compared, in a word or two.
        compared: all paths that were compared, those that one side lacks included.
        differences: one for each leaf whose bytes differ, in the order of the expected side; of files, then those of
            how they are put together.
        tolerance: the tolerance (absolute) by which the differences are described; None for none.
        notes: of files, what is no difference and yet not the same, as the order of keys; a sentence each.
    """

    name: str
    compared: tuple[str, ...]
    differences: tuple[LeafDifference, ...]
    tolerance: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", one_line(self.name))

    @property
    def equal(self) -> bool:
        """Whether all bytes are equal, over at least one leaf, and files are put together alike."""
        return bool(self.compared) and not self.differences

    @property
    def within_tolerance(self) -> bool:
        """Whether every difference is one of numbers within the tolerance; without one, whether all are equal."""
        return bool(self.compared) and self.within(self.tolerance or 0.0)

    def within(self, tolerance: float) -> bool:
        """Whether every difference is one of numbers within `tolerance` (absolute); NaN never is."""
        return all(difference.within(tolerance) for difference in self.differences)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference; NaN where a leaf is missing, changed its shape or differs in a NaN."""
        measured = [each.max_abs for each in self.differences if each.max_abs is not None and not each.nan]
        return max(measured, default=0.0) if len(measured) == len(self.differences) else math.nan

    def __repr__(self) -> str:
        wrong, total = len(self.differences), len(self.compared)
        return f"Comparison({self.name}: {wrong} of {counted(total, 'leaf')} {differ(wrong, total)})"


def compare(
    expected: Comparable,
    actual: Comparable,
    *,
    only: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    name: str = "comparison",
    tolerance: float | None = None,
) -> Comparison:
    """Compare two snapshots, two traces, two mappings of path -> value, or two checkpoint files.

    Files are compared one leaf at a time, without holding either of them in memory. A file of a folder that cannot be
    read is a difference (`unreadable`, with the reason), and the others are compared.

    Args:
        expected: the first side.
        actual: the second side; of the same kind, but a snapshot, a mapping and a checkpoint file go together.
        only: globs of the paths to compare.
        ignore: globs of paths to leave out.
        name: what is compared, in a word or two, for the result.
        tolerance: describes the differences as within it or not; bytes decide all the same.

    Raises:
        BadInput: a file cannot be read, or a trace is compared with something else.

    Example:
        Two mappings of path -> value::

            import torch

            import dora_repro

            saved = {"w": torch.tensor([1.0, 2.0]), "step": 3}
            loaded = {"w": torch.tensor([1.0, 2.5]), "step": 3}
            comparison = dora_repro.compare(saved, loaded)
            print(comparison.equal, comparison.max_abs)
            print(comparison)
            # False 0.5
            # comparison: 1 of 2 equal by bytes
            #   w  f32[2]  1/2 (50 %)  max diff = 5.00e-01  max 2097152 ULP at [1]
    """
    only, ignore = tuple(only), tuple(ignore)
    return reread(lambda: _compare(expected, actual, only, ignore, name, tolerance))


def _compare(
    expected: Comparable,
    actual: Comparable,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    name: str,
    tolerance: float | None,
) -> Comparison:
    (kind, first), (other, second) = _leaves(expected), _leaves(actual)
    if kind != other:
        raise BadInput(f"cannot compare a {kind} with a {other}: give two of a kind")
    alone = set[str]()
    if isinstance(first, Leaves) and isinstance(second, Leaves):
        first, second = named_alike(first, second)
        alone = set(unpaired(first, second))
    forms = _by_form(first, second)
    every = [path for path in dict.fromkeys((*first, *second, *forms)) if path.partition("/")[0] not in alone]
    ignored = set(select(ignore, every))
    paths = [path for path in select(only, every) if path not in ignored]
    found = (
        forms.get(path) or compare_leaf(path, value_in(first, path, _NOTHING), value_in(second, path, _NOTHING))
        for path in paths
    )
    differences = [difference for difference in found if difference]
    if isinstance(first, Snapshot) and isinstance(second, Snapshot):
        alone_there = {"missing": first.defaults, "unexpected": second.defaults}
        differences = [each for each in differences if each.path not in alone_there.get(each.kind, ())]
    if isinstance(first, Leaves) and isinstance(second, Leaves):
        torn = {*first.about.unread, *second.about.unread}
        paths = [path for path in paths if not is_below(path, torn)]
        differences = [difference for difference in differences if not is_below(difference.path, torn)]
        beside = as_checkpoints(first, second, paths, differences, only, ignore)
        return Comparison(
            name, beside.compared, (*beside.differences, *unread(first, second, ignore)), tolerance, beside.notes
        )
    return Comparison(name, tuple(paths), tuple(differences), tolerance)


def _by_form(first: Mapping[str, Value], second: Mapping[str, Value]) -> dict[str, LeafDifference]:
    """Path -> difference, where both snapshots have something in the same place, of different forms."""
    if not (isinstance(first, Snapshot) and isinstance(second, Snapshot)):
        return {}
    found = {}
    for path, expected, actual in differing_forms(first, second):
        leaves = [side[path] for side in (first, second) if path in side]  # of both, or of none
        if len({type(leaf.value) for leaf in leaves}) < 2:  # else the values say it
            role = leaves[0].role if leaves else "memory"
            found[path] = LeafDifference(path, "type", expected, actual, role=role)
    for path, expected, actual in differing_orders(first, second):
        found[path] = LeafDifference(path, "order", expected, actual, role="memory")
    return found


class _Nothing:
    """In place of a leaf that one side lacks: None is a value."""


_NOTHING = _Nothing()


def _leaves(side: Comparable) -> tuple[str, Mapping[str, Value]]:
    """What kind of side it is, and its leaves by path; values of a file are read when they are asked for."""
    if isinstance(side, (str, Path)):
        return _leaves(read_side(side))
    if isinstance(side, Trace):
        effects = ((step.number, effect) for step in side.steps for effect in step.effects)
        return "trace", {f"{number}/{effect.phase}/{effect.leaf}": _Digest(effect.digest) for number, effect in effects}
    if isinstance(side, Mapping):
        return "set of values", side
    raise BadInput(f"cannot compare a {type(side).__name__}: give snapshots, traces, mappings or files")


class _Digest(bytes):
    """In place of a value of which the digest alone is known."""

    def __repr__(self) -> str:
        return f"digest {self.hex()[:16]}…"


def compare_leaf(path: str, expected: Value, actual: Value) -> LeafDifference | None:
    """How two values of one leaf differ; None where they are equal by bytes.

    Args:
        path: the path of the leaf.
        expected: its value, or a `SavedLeaf` that holds it.
        actual: likewise.
    """
    found = _compare_leaf(path, expected, actual)
    role = getattr(expected, "role", "") or getattr(actual, "role", "")
    return replace(found, role=role) if found is not None else None


def _compare_leaf(path: str, expected: Value, actual: Value) -> LeafDifference | None:
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
        return replace(found, draws=draws_between(expected.value, actual.value))
    return found


def _value(side: Value) -> Value:
    return side.value if isinstance(side, SavedLeaf) else side


def _same_digest(saved: SavedLeaf, value: Value) -> bool:
    try:
        return saved.digest == digest(value)
    except TypeError:
        return False


def _compare_values(path: str, expected: Value, actual: Value) -> LeafDifference | None:
    if type(expected) in _EXACT and type(expected) is type(actual) and expected == actual:
        return None
    if type(expected) is float and type(actual) is float and expected == actual != 0.0:  # zeros have signs
        return None
    if isinstance(expected, (list, tuple)) and type(expected) is type(actual) and _same(expected, actual):
        return None

    def words() -> tuple[str, str]:
        return describe(expected), describe(actual)

    if _is_array(expected) and _is_array(actual):
        return _compare_arrays(path, expected, actual, words)
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        return _compare_tensors(path, expected, actual, words)
    if type(expected) is not type(actual):
        return LeafDifference(path, "type", *words())
    if isinstance(expected, np.generic):
        return _compare_arrays(path, np.asarray(expected), np.asarray(actual), words)
    if _same(expected, actual):
        return None
    if type(expected) is int and type(actual) is int:
        return LeafDifference(path, "value", *words(), max_abs=_absolute_difference(expected, actual))
    if type(expected) is float and type(actual) is float:
        measured = distance(*(torch.tensor(number, dtype=torch.float64) for number in (expected, actual)))
        if measured is not None:
            return LeafDifference(
                path, "value", *words(), max_abs=measured.max_abs, max_ulp=measured.max_ulp, nan=measured.nan
            )
    return LeafDifference(path, "value", *words())


Words: TypeAlias = Callable[[], tuple[str, str]]  # what both sides are: asked for where they differ
_EXACT = frozenset((int, bool, str, bytes, type(None)))  # equal values have equal bytes


def _is_array(value: Value) -> TypeGuard[np.ndarray]:
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)


def _compare_arrays(path: str, expected: np.ndarray, actual: np.ndarray, words: Words) -> LeafDifference | None:
    if expected.dtype != actual.dtype:
        return LeafDifference(path, "dtype", *words())
    if expected.shape != actual.shape:
        return LeafDifference(path, "shape", *words())
    try:
        tensors = _as_tensor(expected), _as_tensor(actual)
    except TypeError:  # dtypes that torch lacks
        return None if _same(expected, actual) else LeafDifference(path, "value", *words())
    return _compare_tensors(path, *tensors, words)


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _absolute_difference(expected: int, actual: int) -> float:
    try:
        return float(abs(expected - actual))
    except OverflowError:
        return math.inf


def _same(expected: Value, actual: Value) -> bool:
    try:
        return digest(expected) == digest(actual)
    except TypeError:
        return bool(repr(expected) == repr(actual))  # stubs and other things that a file may hold


def _compare_tensors(path: str, expected: torch.Tensor, actual: torch.Tensor, words: Words) -> LeafDifference | None:
    if expected.dtype != actual.dtype:
        return LeafDifference(path, "dtype", *words())
    shapeless = expected.is_nested or actual.is_nested
    if not shapeless and expected.shape != actual.shape:
        return LeafDifference(path, "shape", *words())
    if not all(is_dense(side) and not side.is_meta for side in (expected, actual)):
        return None if digest(expected) == digest(actual) else LeafDifference(path, "value", *words())
    measured = distance(expected, actual)
    if measured is None:
        return None
    return LeafDifference(
        path, "value", *words(), total=expected.numel(), differing=measured.differing, nan=measured.nan, at=measured.at,
        max_abs=measured.max_abs, max_ulp=measured.max_ulp,
    )  # fmt: skip


_SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "int": "i", "uint": "u", "bool": "bool"}


def describe(value: Value) -> str:
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
