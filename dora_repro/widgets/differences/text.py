"""Two sides leaf by leaf, in words: how many leaves differ, where first, and how one leaf differs."""

from collections import Counter
from collections.abc import Callable

from torch import Tensor

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.comparison.elements import number_text, why_no_picture
from dora_repro.comparison.leaves import describe
from dora_repro.comparison.stepwise import Sides
from dora_repro.difference import generator_distance
from dora_repro.errors import BadInput
from dora_repro.show.tables import table
from dora_repro.wording import counted, differ

RUNS = ("uninterrupted", "resumed")


def sides_of(report: Report) -> Sides:
    """Return both runs of a report, step by step.

    Raises:
        BadInput: the report holds no values.
    """
    drift = drift_of(report)
    return Sides(drift.expected, drift.actual, RUNS)


def drift_of(report: Report) -> Drift:
    """Return the values of both runs of a report, and their distance.

    Raises:
        BadInput: the report holds no values.
    """
    if report.drift is None:
        raise BadInput("the report holds no values: give the check values='model/*', for instance")
    return report.drift


def summary(sides: Sides, step: int | None, leaf: str | None, names: Callable[[str], str] = str) -> str:
    """Say in up to three lines how many leaves differ, where first, and how one leaf differs.

    Args:
        sides: to compare.
        step: to describe; None if the sides have no steps.
        leaf: to describe; may be None.
        names: maps a path to the name to show.
    """
    differing, count = len(sides.differing(step)), len(sides.leaves(step))
    leaves, at = counted(count, "leaf"), "" if step is None else f"Step {step}: "
    if differing:
        lines = [f"{at}{differing:,} of {leaves} {differ(differing, count)}."]
    else:
        lines = [f"{at}{'the one leaf is' if count == 1 else f'all {leaves} are'} byte-identical."]
    first = sides.first
    if first is None and len(sides.steps) > 1:
        lines.append(f"No leaf differs at any of {counted(len(sides.steps), 'step')}.")
    elif first is not None:
        lines.append(f"First difference: {'' if first[0] is None else f'step {first[0]}, '}{names(first[1])}.")
    if leaf is not None:
        lines.append(leaf_sentence(sides, step, leaf, names))
    return "\n".join(lines)


def leaf_sentence(sides: Sides, step: int | None, leaf: str, names: Callable[[str], str] = str) -> str:
    """Say in a sentence how one leaf differs.

    Args:
        sides: to compare.
        step: to describe; None if the sides have no steps.
        leaf: path of the leaf.
        names: maps a path to the name to show.
    """
    difference, name, (one, other) = sides.difference(step, leaf), names(leaf), sides.names
    kind = sides.kind(step, leaf)
    if difference is None:
        return f"{name} ({kind}) is byte-identical."
    if difference.kind in ("missing", "unexpected"):
        has, lacks = (one, other) if difference.kind == "missing" else (other, one)
        return f"{name} ({kind}) is in {has} and missing in {lacks}."
    values = f"{difference.expected} in {one}, {difference.actual} in {other}"
    if difference.kind != "value":
        return f"{name} has a different {difference.kind}: {values}."
    if not difference.total:
        return f"{name} differs: {values}."
    if difference.max_abs == 0 and not difference.nan:
        measured: tuple[str, ...] = ("in bytes only (as numbers they are equal: −0 and +0)",)
    else:
        measured = difference.sizes
    worst = f"; the worst is at {list(difference.at)}" if difference.at and difference.total > 1 else ""
    draws = f"; the generator is {generator_distance(difference.draws)}" if difference.draws else ""
    differ = f"{difference.elements} elements ({difference.share}) differ"
    return f"{name} ({kind}): {', '.join((differ, *measured))}{worst}{draws}."


def label(sides: Sides, step: int | None, leaf: str, name: str) -> str:
    """Describe a leaf in a list: a mark for different or equal, its name, what it is, the size of its difference."""
    difference = sides.difference(step, leaf)
    if difference is None:
        return f"= {name}  {sides.kind(step, leaf)}"
    if difference.kind != "value":
        size: str = difference.kind
    elif difference.max_abs is None:
        size = "differs"
    else:
        size = f"{difference.max_abs:.1e}" if not difference.nan else "NaN"
    return f"≠ {name}  {sides.kind(step, leaf)}  {size}"


def values_text(sides: Sides, step: int | None, leaf: str, reason: str) -> str:
    """Return both values of a leaf as text.

    Args:
        sides: to compare.
        step: to describe; None if the sides have no steps.
        leaf: path of the leaf.
        reason: why there is no figure.
    """
    lines = [f"As text: {reason}."]
    for name, value in zip(sides.names, sides.values(step, leaf), strict=True):
        if value is None and sides.difference(step, leaf) is None:
            shown = sides.kind(step, leaf)  # None itself, or a digest
        elif isinstance(value, Tensor) and value.numel() == 1 and not why_no_picture(value, value):
            shown = number_text(value)
        else:
            shown = "no value (missing, or stored by digest only)" if value is None else describe(value)
        lines.append(f"{name}: {shown}")
    return "\n".join(lines)


def components_text(sides: Sides, step: int | None = None) -> str:
    """Return a table of the components (a path up to its first slash): how many leaves of each differ."""
    leaves, differing = (
        Counter(leaf.partition("/")[0] for leaf in leaves) for leaves in (sides.leaves(step), sides.differing(step))
    )
    rows = [(component, str(differing[component]), str(leaves[component])) for component in leaves]
    return table(("component", "differ", "of"), rows)
