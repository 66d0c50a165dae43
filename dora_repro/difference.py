"""How one leaf of two runs differs: plain data, and the words for it. `comparison` measures it.

Bytes alone decide whether a leaf differs; sizes only describe how. Every sentence about a leaf is put together from the
words here, so that a report, a file comparison and a widget name the same size alike.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from dora_repro.state.draws import in_words

BY_DIGEST = "digest alone"  # stands for a value of which only the digest was stored

Kind: TypeAlias = Literal[
    "value", "missing", "unexpected", "dtype", "shape", "type", "order", "structure", "unreadable"
]


@dataclass(frozen=True, slots=True)
class LeafDifference:
    """How one leaf differs.

    Attributes:
        path: the path of the leaf.
        kind: `value` (different bytes), `missing` (only expected), `unexpected` (only in the second), `dtype`, `shape`,
            `type`, `order` (of a dict's keys), `structure` (of files: types of containers and keys, attributes of
            tensors, shared memory), or `unreadable` (a file of a folder; the reasons stand for the values).
        expected: the expected value: a tensor as `f32[64]`, anything else as its short text, `BY_DIGEST` where no
            value is stored; empty where there is none.
        actual: the value that is there, likewise.
        total: number of elements compared.
        differing: number of elements whose bytes differ.
        max_abs: largest absolute difference over elements where both are numbers; `inf` where an infinity is
            involved; None where no numbers were compared (different shapes, text, stored by digest alone).
        max_ulp: largest distance in units in the last place, over floating-point elements that are not NaN; None
            likewise.
        nan: number of elements where exactly one side is NaN, or both are with different bits.
        at: index of the worst element (or of the first that differs), row-major.
        role: what the leaf is to the run (`parameter`, `moment`, …), where the sides are snapshots.
        draws: for a generator, the number of draws by which the actual state is ahead (negative: behind); None where
            it is no generator, or no number of draws lies between the states.
    """

    path: str
    kind: Kind = "value"
    expected: str = ""
    actual: str = ""
    total: int = 0
    differing: int = 0
    max_abs: float | None = None
    max_ulp: int | None = None
    nan: int = 0
    at: tuple[int, ...] = ()
    role: str = ""
    draws: int | None = None

    def within(self, tolerance: float) -> bool:
        """Whether every element is a number within `tolerance` (absolute) of the expected one; NaN never is."""
        return self.kind == "value" and self.max_abs is not None and self.nan == 0 and self.max_abs <= tolerance

    @property
    def by_digest(self) -> bool:
        """Whether the digests alone were compared: of one side, at least, no value is stored."""
        return self.expected == BY_DIGEST

    @property
    def elements(self) -> str:
        """The number of elements that differ: `3/64`; empty where no elements were compared."""
        return f"{self.differing}/{self.total}" if self.total else ""

    @property
    def share(self) -> str:
        """The share of elements that differ: `4.69 %`; empty where no elements were compared."""
        return f"{100 * self.differing / self.total:.3g} %" if self.total else ""

    @property
    def sizes(self) -> tuple[str, ...]:
        """How far apart the elements are, by each measure that was taken; see `sizes`."""
        return sizes(self.max_abs, self.max_ulp, self.nan)

    @property
    def how(self) -> str:
        """How the leaf differs, without its path: all that `str` says of it."""
        if self.kind == "missing":
            return f"missing (expected {self.expected})"
        if self.kind == "unexpected":
            return f"unexpected ({self.actual})"
        if self.kind == "unreadable":
            sides = (("first", self.expected), ("second", self.actual))
            return "not compared: " + "; ".join(f"of the {side}, {reason}" for side, reason in sides if reason)
        if self.kind == "order":
            return f"keys in another order: expected {self.expected}, got {self.actual}"
        if self.kind != "value":
            return f"{self.kind} changed: expected {self.expected}, got {self.actual}"
        if self.role == "generator":
            return generator_distance(self.draws)  # its bytes are not numbers that could be close to each other
        if self.by_digest:
            return "different bytes (stored by digest alone)"
        if not self.total:
            return f"expected {self.expected}, got {self.actual}"
        return f"{self.expected}  {'  '.join((f'{self.elements} ({self.share})', *self.sizes))} at {list(self.at)}"

    @property
    def brief(self) -> str:
        """How the leaf differs, in a few words for the middle of a sentence: `3/64 elements, max 2 ULP`."""
        if self.kind in ("missing", "unexpected", "unreadable"):
            return self.kind
        if self.kind == "order":
            return "keys in another order"
        if self.kind != "value":
            return f"{self.kind} changed"
        if not self.total or self.role == "generator":
            return self.how
        return ", ".join((f"{self.elements} elements", *sizes(None, self.max_ulp, self.nan)))

    def __str__(self) -> str:
        return f"{self.path}  {self.how}"


@dataclass(frozen=True, slots=True)
class Setting:
    """A plain value that no step changes, of which the resumed run had another one.

    Attributes:
        path: the path of the leaf.
        expected: its short text in the reference; empty where the reference had none.
        actual: its short text in the resumed run; empty where that had none.
        by: `resume`, where the factory's `resume(path)` gave it; `built`, where the factory did, before `load()`;
            `load`, where `load()` changed it.
    """

    path: str
    expected: str
    actual: str
    by: str

    @property
    def change(self) -> str:
        """Both values: `0.1 → 0.01`."""
        return f"{self.expected or 'none'} → {self.actual or 'none'}"

    @property
    def words(self) -> str:
        """What became of it, in words."""
        if self.by == "load":
            return f"changed by load(): {self.change}"
        was = f"was {self.expected}" if self.expected else "was not there"
        return f"changed configuration: {was}, the resumed run was given {self.actual or 'none'}"


def sizes(max_abs: float | None, max_ulp: int | None = None, nan: int = 0) -> tuple[str, ...]:
    """How far apart tensors are: `max diff = 1.23e-04`, `max 2 ULP`, `1 NaN`, each where it was measured.

    Args:
        max_abs: the largest absolute difference.
        max_ulp: the largest distance in units in the last place.
        nan: number of elements that differ in a NaN.
    """
    found = []
    if max_abs is not None:
        found.append(f"max diff = {max_abs:.2e}")
    if max_ulp is not None:
        found.append(f"max {max_ulp} ULP")
    if nan:
        found.append(f"{nan} NaN")
    return tuple(found)


def generator_distance(draws: int | None) -> str:
    """How two states of a generator differ: `4 draws behind`; `different state` where no number of draws is known."""
    return in_words(draws) if draws else "different state"
