"""Many differing leaves in few lines: `9 × optimizer/*/exp_avg  missing`.

Leaves with the same first and last name that differ in the same way form a group; one that is alone keeps its path and
its measurements.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from dora_repro.difference import LeafDifference, generator_distance, sizes
from dora_repro.state.paths import ends, pattern
from dora_repro.wording import counted

Names = Callable[[str], str]


class Group(NamedTuple):
    """Leaves that are shown as one.

    Attributes:
        text: their line, or their name.
        leaves: how many there are.
    """

    text: str
    leaves: int


def left_over(groups: Sequence[Group], shown: int) -> str:
    """How many leaves the groups after the first `shown` have: "… and 7 more leaves"; empty where there are none."""
    left = sum(group.leaves for group in groups[shown:])
    return f"… and {counted(left, 'more leaf')}" if left else ""


def grouped(differences: Iterable[LeafDifference], names: Names = str) -> list[str]:
    """A line for each group of differences, as `groups_of` orders them."""
    return [group.text for group in groups_of(differences, names)]


def groups_of(differences: Iterable[LeafDifference], names: Names = str) -> list[Group]:
    """The groups of differences, in the order in which they begin.

    Args:
        differences: of leaves.
        names: gives the name that is shown for the path of a leaf that is alone in its group.
    """
    groups: dict[tuple[str, ...], list[LeafDifference]] = {}
    for difference in differences:
        key = (*ends(difference.path), difference.kind, difference.role)
        groups.setdefault(key, []).append(difference)
    return [Group(_line(group, names), len(group)) for group in groups.values()]


def grouped_paths(paths: Iterable[str], names: Names = str) -> list[str]:
    """The name of each group of paths: `9 × optimizer/*/exp_avg`."""
    return [group.text for group in groups_of_paths(paths, names)]


def groups_of_paths(paths: Iterable[str], names: Names = str) -> list[Group]:
    """The groups of paths, in the order in which they begin.

    Args:
        paths: of leaves.
        names: gives the name that is shown for a path that is alone in its group.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        groups.setdefault(ends(path), []).append(path)
    return [Group(f"{_count(group)}{_name(group, names)}", len(group)) for group in groups.values()]


def _line(group: list[LeafDifference], names: Names) -> str:
    paths = [difference.path for difference in group]
    if len(group) == 1:
        return f"{names(paths[0])}  {group[0].how}"
    return f"{_count(paths)}{_name(paths, names)}  {_together(group)}"


def _together(group: list[LeafDifference]) -> str:
    if group[0].kind != "value":
        return group[0].brief
    if group[0].role == "generator":
        return generator_distance(None)
    measured = [difference.max_abs for difference in group if difference.max_abs is not None and not difference.nan]
    if len(measured) < len(group):
        return "different values"
    return sizes(max(measured))[0]


def _count(group: list[str]) -> str:
    return f"{len(group)} × " if len(group) > 1 else ""


def _name(group: list[str], names: Names) -> str:
    return names(group[0]) if len(group) == 1 else pattern(group)
