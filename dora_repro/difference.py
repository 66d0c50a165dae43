"""How one leaf of two runs differs: plain data, and the words for it. `comparison` measures it.

Bytes alone decide whether a leaf differs; sizes only describe how.
"""

from dataclasses import dataclass

KINDS = ("value", "missing", "unexpected", "dtype", "shape", "type")


@dataclass(frozen=True, slots=True)
class LeafDifference:
    """How one leaf differs.

    Attributes:
        path: of the leaf.
        kind: `value` (other bytes), `missing` (only expected), `unexpected` (only there), `dtype`, `shape`, `type`.
        expected, actual: a tensor as `f32[64]`, anything else as its short text; empty where there is none.
        total: number of elements compared; differing: how many of them differ in bytes.
        max_abs: largest absolute difference over elements where both are numbers; `inf` where an infinity is
            involved; None where no numbers were compared (another shape, other text, kept by digest alone).
        max_ulp: largest distance in units in the last place, over floating elements that are no NaN; None likewise.
        nan: elements where exactly one side, or both with other bits, is NaN.
        at: index of the worst element (or the first that differs), row-major.
        role: the part that the leaf plays (`parameter`, `moment`, …), where the sides are snapshots.
        draws: of a generator, how many draws the actual state is ahead (negative: behind); None where it is none.
    """

    path: str
    kind: str = "value"
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
        """Whether every element is a number within `tolerance` (absolute) of what was expected; NaN never is."""
        return self.kind == "value" and self.max_abs is not None and self.nan == 0 and self.max_abs <= tolerance

    @property
    def short(self) -> str:
        """How much of it differs: `3 of 64 elements, at most 2 ULP`; empty where no elements were compared."""
        if not self.total:
            return ""
        ulp = f", at most {self.max_ulp} ULP" if self.max_ulp is not None else ""
        return f"{self.differing} of {self.total} elements{ulp}"

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"{self.path}  missing (expected {self.expected})"
        if self.kind == "unexpected":
            return f"{self.path}  unexpected ({self.actual})"
        if self.kind in ("dtype", "shape", "type"):
            return f"{self.path}  {self.kind} changed: expected {self.expected}, got {self.actual}"
        if self.total == 0:
            return f"{self.path}  expected {self.expected}, got {self.actual}"
        worst = [f"{self.differing}/{self.total} ({100 * self.differing / self.total:.3g} %)"]
        if self.max_abs is not None:
            worst.append(f"max diff = {self.max_abs:.2e}")
        if self.max_ulp is not None:
            worst.append(f"max {self.max_ulp} ULP")
        if self.nan:
            worst.append(f"{self.nan} NaN")
        return f"{self.path}  {self.expected}  {'  '.join(worst)} at {list(self.at)}"
