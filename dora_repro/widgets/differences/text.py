"""Two sides leaf by leaf, in words: how many leaves differ, where first, and how one leaf does."""

from collections import Counter
from collections.abc import Callable

from torch import Tensor

from dora_repro.checks.report import Report
from dora_repro.comparison.elements import number_text, why_no_picture
from dora_repro.comparison.leaves import describe
from dora_repro.comparison.stepwise import Sides
from dora_repro.difference import generator_distance
from dora_repro.errors import BadInput
from dora_repro.show.tables import table
from dora_repro.wording import counted


def sides_of(report: Report) -> Sides:
    """Both runs of a report, step by step.

    Raises:
        BadInput: the report has no values.
    """
    if report.drift is None:
        raise BadInput("the report holds no values: ask the check for them, as in values='model/*'")
    return Sides(report.drift.expected, report.drift.actual, ("uninterrupted", "resumed"))


def finding(sides: Sides, step: int | None, leaf: str | None, names: Callable[[str], str] = str) -> str:
    """How many leaves differ, where first, and how one leaf does: up to three lines."""
    found, all_leaves = sides.differing(step), sides.leaves(step)
    at = "" if step is None else f"Step {step}: "
    if found:
        lines = [f"{at}{len(found)} of {counted(len(all_leaves), 'leaf')} differ by bytes."]
    else:
        lines = [f"{at}all {counted(len(all_leaves), 'leaf')} are equal by bytes."]
    first = sides.first
    if first is None and len(sides.steps) > 1:
        lines.append(f"No leaf differs at any of {counted(len(sides.steps), 'step')}.")
    elif first is not None:
        lines.append(f"First difference: {'' if first[0] is None else f'step {first[0]}, '}{names(first[1])}.")
    if leaf is not None:
        lines.append(leaf_sentence(sides, step, leaf, names))
    return "\n".join(lines)


def leaf_sentence(sides: Sides, step: int | None, leaf: str, names: Callable[[str], str] = str) -> str:
    """One leaf of both sides in a sentence."""
    found, name, (one, other) = sides.difference(step, leaf), names(leaf), sides.names
    kind = sides.kind(step, leaf)
    if found is None:
        return f"{name} ({kind}) is equal by bytes."
    if found.kind in ("missing", "unexpected"):
        has, lacks = (one, other) if found.kind == "missing" else (other, one)
        return f"{name} ({kind}) is there in {has} and missing in {lacks}."
    if found.kind != "value":
        return f"{name} has another {found.kind}: {found.expected} in {one}, {found.actual} in {other}."
    if not found.total:
        return f"{name} differs: {found.expected} in {one}, {found.actual} in {other}."
    if found.max_abs == 0 and not found.nan:
        measured: tuple[str, ...] = ("in bytes alone (as numbers they are equal: −0 and +0)",)
    else:
        measured = found.sizes
    worst = f"; the worst is at {list(found.at)}" if found.at and found.total > 1 else ""
    draws = f"; the generator is {generator_distance(found.draws)}" if found.draws else ""
    differ = f"{found.elements} elements ({found.share}) differ"
    return f"{name} ({kind}): {', '.join((differ, *measured))}{worst}{draws}."


def label(sides: Sides, step: int | None, leaf: str, name: str) -> str:
    """A leaf in a list: a mark for differs or equal, its name, what it is, and how far apart the sides are."""
    found = sides.difference(step, leaf)
    if found is None:
        return f"= {name}  {sides.kind(step, leaf)}"
    if found.kind != "value":
        size: str = found.kind
    elif found.max_abs is None:
        size = "differs"
    else:
        size = f"{found.max_abs:.1e}" if not found.nan else "NaN"
    return f"≠ {name}  {sides.kind(step, leaf)}  {size}"


def both_told(sides: Sides, step: int | None, leaf: str, reason: str) -> str:
    """Both values of a leaf as text, where there is no picture, and why there is none."""
    lines = [f"As text, since {reason}."]
    for name, value in zip(sides.names, sides.values(step, leaf), strict=True):
        if value is None and sides.difference(step, leaf) is None:
            told = sides.kind(step, leaf)  # None itself, or a digest
        elif isinstance(value, Tensor) and value.numel() == 1 and not why_no_picture(value, value):
            told = number_text(value)
        else:
            told = "nothing, or a digest alone" if value is None else describe(value)
        lines.append(f"{name}: {told}")
    return "\n".join(lines)


def parts_text(sides: Sides, step: int | None = None) -> str:
    """How many leaves differ of each part (the path up to its first slash), a line each."""
    every, apart = (
        Counter(leaf.partition("/")[0] for leaf in leaves) for leaves in (sides.leaves(step), sides.differing(step))
    )
    return table(("part", "differ", "of"), [(part, str(apart[part]), str(every[part])) for part in every])
