"""Two sides leaf by leaf: which differ, where first and by how much, as data and words.

A side is one set of leaves (a snapshot, a checkpoint file, a mapping), or one at each of several steps. Bytes alone
decide what is equal (`leaves.py`). A leaf is measured when its difference is first needed, and remembered. Elements of
one leaf are in `elements.py`, words and pictures in `widgets/differences`.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from dora_repro.comparison.files import read_side
from dora_repro.comparison.leaves import compare, compare_leaf, describe
from dora_repro.contracts import Value
from dora_repro.difference import LeafDifference
from dora_repro.errors import BadInput
from dora_repro.state.snapshot import SavedLeaf
from dora_repro.trace import Trace
from dora_repro.wording import counted

ORDERS = {
    "as they come": "given",
    "first difference first": "first",
    "largest absolute difference": "max_abs",
    "largest ULP": "max_ulp",
}
Leaves: TypeAlias = Mapping[str, Any]
NAMES = ("expected", "actual")


class Sides:
    """Two sides, step by step; what is measured is remembered by (step, leaf).

    Args:
        expected: a snapshot, a checkpoint file, or a mapping path -> tensor (or other value); or a mapping from steps
            (whole numbers) to any of these.
        actual: likewise.
        names: what the two are called in words and pictures.

    Attributes:
        names: as given.
        steps: those of both sides, in the order of the first; (None,) where the sides have no steps.

    Raises:
        BadInput: a side that is none of these or cannot be read; no step or no leaf in common.
    """

    def __init__(self, expected: Value, actual: Value, names: tuple[str, str] = NAMES):
        self.names = names
        self._expected, self._actual = one, other = _by_step(expected), _by_step(actual)
        if (None in one) != (None in other):
            raise BadInput("one side has steps and the other has none: give both by step (step -> leaves), or neither")
        self.steps = tuple(step for step in one if step in other)
        if not self.steps:
            steps = " and ".join(", ".join(map(str, list(side)[:5])) for side in (one, other))
            raise BadInput(f"the two sides have no step in common (steps {steps}): there is nothing to compare")
        if not any(path in other[step] for step in self.steps for path in one[step]):
            first = " and ".join(repr(next(iter(side[self.steps[0]]), "none")) for side in (one, other))
            raise BadInput(f"the two sides have no leaf in common (they begin with {first}): give two with equal names")
        self._found: dict[tuple[int | None, str], LeafDifference | None] = {}
        self._kinds: dict[tuple[int | None, str], str] = {}

    def leaves(self, step: int | None) -> tuple[str, ...]:
        """Paths that either side has at a step, in the order of the first."""
        return tuple(dict.fromkeys((*self._expected[step], *self._actual[step])))

    def values(self, step: int | None, leaf: str) -> tuple[Value, Value]:
        """The values of both sides; None where one lacks the leaf, or stores it by digest alone."""
        expected, actual = (side[step].get(leaf) for side in (self._expected, self._actual))
        return (
            expected.value if isinstance(expected, SavedLeaf) else expected,
            actual.value if isinstance(actual, SavedLeaf) else actual,
        )

    def difference(self, step: int | None, leaf: str) -> LeafDifference | None:
        """How a leaf differs; None where it is equal by bytes."""
        if (step, leaf) not in self._found:
            # Read once: the value of a file's leaf is loaded at each access.
            values = [side[step][leaf] for side in (self._expected, self._actual) if leaf in side[step]]
            difference: LeafDifference | None
            if len(values) == 2:
                difference = compare_leaf(leaf, *values)
            else:
                there = {leaf: values[0]}
                (difference,) = compare(*((there, {}) if leaf in self._expected[step] else ({}, there))).differences
            self._found[step, leaf], self._kinds[step, leaf] = difference, describe(values[0])
        return self._found[step, leaf]

    def kind(self, step: int | None, leaf: str) -> str:
        """What a leaf is, in short: a tensor as `f32[64]`, anything else as its text."""
        self.difference(step, leaf)
        return self._kinds[step, leaf]

    def differing(self, step: int | None) -> tuple[str, ...]:
        return tuple(leaf for leaf in self.leaves(step) if self.difference(step, leaf))

    @property
    def first(self) -> tuple[int | None, str] | None:
        """The first step at which some leaf differs, and the first such leaf; None where none ever does."""
        each = ((step, leaf) for step in self.steps for leaf in self.leaves(step))
        return next(((step, leaf) for step, leaf in each if self.difference(step, leaf)), None)

    def first_place(self, leaf: str) -> float:
        """The place among the steps at which a leaf first differs; infinite where it never does."""
        present = (
            (place, step)
            for place, step in enumerate(self.steps)
            if leaf in self._expected[step] or leaf in self._actual[step]
        )
        return next((float(place) for place, step in present if self.difference(step, leaf)), math.inf)

    def ordered(
        self, step: int | None, order: str = "given", search: str = "", names: Callable[[str], str] = str
    ) -> list[str]:
        """Leaves whose path or name contains a text (case is ignored), in one of `ORDERS`; ties as they come.

        Raises:
            BadInput: another order.
        """
        if order not in ORDERS.values():
            raise BadInput(f"order={order!r}: choose from {', '.join(ORDERS.values())}")
        wanted = search.strip().lower()
        found = [leaf for leaf in self.leaves(step) if wanted in leaf.lower() or wanted in names(leaf).lower()]
        if order == "first":
            return sorted(found, key=self.first_place)
        if order != "given":
            return sorted(found, key=lambda leaf: -_rank(self.difference(step, leaf), order))
        return found

    def __repr__(self) -> str:
        return f"Sides({counted(len(self.leaves(self.steps[0])), 'leaf')}, {counted(len(self.steps), 'step')})"


def _by_step(side: Value) -> dict[int | None, Leaves]:
    """A side as leaves by step; the one step is None where it has no steps."""
    if isinstance(side, Mapping) and side and all(type(step) is int for step in side):
        return {step: leaves_of(leaves) for step, leaves in side.items()}
    return {None: leaves_of(side)}


def leaves_of(side: Value) -> Leaves:
    """The leaves of a snapshot, a mapping or a file, by path; a file's values are read at each access.

    Raises:
        BadInput: it is none of these, or cannot be read.
    """
    if isinstance(side, (str, Path)):
        leaves = read_side(side)
        if isinstance(leaves, Trace):
            raise BadInput(f"{side} is a trace, which holds digests: give a snapshot or a checkpoint file")
        return leaves
    if isinstance(side, Mapping):
        return side
    raise BadInput(
        f"cannot compare a {type(side).__name__}: give a snapshot, a checkpoint file, a mapping of leaves, "
        "or a mapping from steps to these"
    )


def _rank(found: LeafDifference | None, measure: str) -> float:
    """The larger, the further to the front: what has no size stands before what has one, what is equal is last."""
    if found is None:
        return -1.0
    if found.kind != "value" or found.nan:
        return math.inf
    size = getattr(found, measure)
    return 0.0 if size is None else float(size)
