"""Many differing leaves in few lines: `9 × optimizer/*/exp_avg  missing`.

Leaves go together that have the same first and last name and differ in the same way; one that is alone keeps its path
and its measurements.
"""

import math
from collections.abc import Callable, Iterable

from dora_repro.difference import LeafDifference
from dora_repro.state.draws import in_words
from dora_repro.state.paths import ends, pattern

Names = Callable[[str], str]


def grouped(differences: Iterable[LeafDifference], names: Names = str) -> list[str]:
    """A line for each group, in the order in which the groups first come."""
    groups: dict[tuple[str, ...], list[LeafDifference]] = {}
    for difference in differences:
        key = (*ends(difference.path), difference.kind, difference.role)
        groups.setdefault(key, []).append(difference)
    return [_line(group, names) for group in groups.values()]


def grouped_paths(paths: Iterable[str], names: Names = str) -> list[str]:
    """The same for bare paths."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        groups.setdefault(ends(path), []).append(path)
    return [f"{_count(group)}{_name(group, names)}" for group in groups.values()]


def told(difference: LeafDifference) -> str:
    """How one leaf differs, without its path."""
    if difference.role == "generator" and difference.kind == "value":
        return another_state(difference.draws)  # its bytes are no numbers that could be close to each other
    return str(difference).removeprefix(difference.path).strip()


def another_state(draws: int | None) -> str:
    """Where a generator stands that should stand elsewhere."""
    return f"another state: {in_words(draws)}" if draws else "another state"


def _line(group: list[LeafDifference], names: Names) -> str:
    paths = [difference.path for difference in group]
    if len(group) == 1:
        return f"{names(paths[0])}  {told(group[0])}"
    return f"{_count(paths)}{_name(paths, names)}  {_together(group)}"


def _together(group: list[LeafDifference]) -> str:
    kind, role = group[0].kind, group[0].role
    if kind in ("missing", "unexpected"):
        return kind
    if kind != "value":
        return f"{kind} changed"
    if role == "generator":
        return "another state"
    sizes = [difference.max_abs for difference in group]
    if any(size is None or difference.nan for size, difference in zip(sizes, group, strict=True)):
        return "other values"
    return f"max diff = {max(sizes, default=math.nan):.2e}"


def _count(group: list[str]) -> str:
    return f"{len(group)} × " if len(group) > 1 else ""


def _name(group: list[str], names: Names) -> str:
    return names(group[0]) if len(group) == 1 else pattern(group)
