"""Series of checkpoints in words: what they hold, what is missing, which changes are outliers, where two diverge."""

from collections.abc import Sequence

import numpy as np

from dora_repro.checkpoint.components import COMPONENTS
from dora_repro.checkpoint.contents import LAYOUTS
from dora_repro.series.pairs import SeriesComparison
from dora_repro.series.series import LEAST_CHANGES, MEASURES, Series
from dora_repro.show.html import html_table
from dora_repro.show.names import shortened
from dora_repro.show.tables import table
from dora_repro.wording import counted, plural

LISTED = 8  # of each kind; the rest is counted
WANTED = ("optimizer", "scheduler", "rng", "data", "progress")  # beside the parameters
PRESENT, ABSENT, UNREADABLE = "✓", "–", "unreadable"
EQUAL = {True: "equal", False: "different", None: ""}


def summary(series: Series) -> str:
    """Say what the checkpoints of a folder are, and which are missing or cannot be read."""
    unit = series.unit
    units = unit if len(series.numbers) == 1 else plural(unit)
    every = f", every {series.spacing}" if series.spacing > 1 else ""
    kinds = list(dict.fromkeys(LAYOUTS[kind] for kinds in series.layouts for kind in kinds))
    layers = counted(len(series.layers), "low-rank layer")
    lines = [
        f"{series.name}: {units} {spans(series.numbers, series.spacing)}{every}; {layers}; "
        f"{'; '.join(kinds) or 'nothing could be read'}."
    ]
    missing = ", ".join(_span(*gap) for gap in series.gaps)
    lines.append(f"Missing: {unit} {missing}." if missing else f"No {unit} is missing.")
    troubles = [f"Not read: {unit} {one.number}: {one.reason}." for one in series.unread]
    lines += _some(troubles) + _missing_parts(series)
    if series.ignored:
        lines.append(f"Not part of the series: {', '.join(_some(series.ignored))}.")
    return "\n".join(lines)


def _missing_parts(series: Series) -> list[str]:
    read = [(number, parts) for number, parts in zip(series.numbers, series.components, strict=True) if parts]
    lines = []
    if nowhere := [part for part in WANTED if not any(part in parts for _, parts in read)]:
        lines.append(f"No file holds: {', '.join(nowhere)}.")
    for part in (part for part in WANTED if part not in nowhere):
        if without := [number for number, parts in read if part not in parts]:
            lines.append(f"Without {part}: {series.unit} {spans(without, series.spacing)}.")
    return lines


def contents_rows(series: Series, pair: SeriesComparison | None = None) -> tuple[list[str], list[list[str]]]:
    """Return a table, number × component, of what the checkpoints hold.

    Args:
        series: the checkpoints of a run.
        pair: of this run and another; adds a column that says where their parameters are equal.

    Returns:
        The heads of the columns, and the rows: one for each checkpoint, one for each gap.
    """
    parts = [part for part in COMPONENTS if any(part in held for held in series.components)]
    parts += [part for part in WANTED if part not in parts]
    same = {} if pair is None else dict(zip(pair.numbers, pair.equal, strict=True))
    rows = []
    for number, present in zip(series.numbers, series.components, strict=True):
        marks = [PRESENT if part in present else ABSENT for part in parts]
        compared = [] if pair is None else [EQUAL[same.get(number)]]
        torn = any(one.number == number for one in series.unread)
        read = "" if not torn else "in part" if present else UNREADABLE
        rows.append((number, [str(number), *marks, *compared, read]))
    for first, last in series.gaps:
        rows.append((first, [_span(first, last), *[""] * (len(parts) + (pair is not None)), "missing"]))
    heads = [series.unit, *parts, *(["other run"] if pair is not None else []), "files"]
    return heads, [cells for _, cells in sorted(rows)]


def contents_table(series: Series, pair: SeriesComparison | None = None) -> str:
    """Return `contents_rows` as text."""
    return table(*contents_rows(series, pair))


def contents_html(series: Series, pair: SeriesComparison | None = None) -> str:
    """Return `contents_rows` as HTML; a long table scrolls."""
    heads, rows = contents_rows(series, pair)
    return html_table(series.name, heads, rows, centred=True, height=420)


def outliers_text(series: Series | None, layers: Sequence[str] | None = None) -> str:
    """List the changes that are unlike the others of their layer, or say why none can be found.

    Args:
        series: the checkpoints of a run; if None, the text is empty.
        layers: to consider; None for all.
    """
    if series is None:
        return ""
    short = dict(zip(series.layers, shortened(series.layers), strict=True))
    outliers = [one for one in series.outliers() if layers is None or one.layer in layers]
    lines = [
        f"{series.unit} {one.number}, {short[one.layer]}: "
        + (
            f"changed by {one.change:.2g} of its size, {one.deviations:.1f} deviations from the median"
            if one.change < float("inf")
            else "not a finite number"
        )
        for one in outliers
    ]
    if lines:
        changes = counted(int(np.isfinite(series.measures["change"]).sum()), "change")
        return "\n".join([f"{series.name}: outliers among {changes}, each relative to its layer:", *_some(lines)])
    known = max((int((row == row).sum()) for row in series.measures["change"]), default=0)
    if known < LEAST_CHANGES:
        return f"{series.name}: {counted(known, 'change')}, too few to find outliers; it takes {LEAST_CHANGES}."
    return f"{series.name}: no change is an outlier of its layer."


def trajectories_text(series: Series, layers: Sequence[str] | None = None) -> str:
    """Name the layer that turned most from the first checkpoint to the last, and say what is compared.

    Args:
        series: the checkpoints of a run.
        layers: to consider; None for all.
    """
    compared = "effective weights" if series.has_base else "low-rank updates (the files hold no base)"
    chosen = _positions(series, layers)
    cosines = _known(series.measures["to_first"][chosen])
    if not cosines:
        return f"{series.name}: no low-rank layer to follow."
    last = max(column for _, _, column in cosines)
    value, row, _ = min(one for one in cosines if one[2] == last)
    lengths = []
    for measure in ("magnitude", "update"):
        known = [one for one in series.measures[measure][chosen[row]] if one == one]
        lengths += [f"{MEASURES[measure]} from {known[0]:.4g} to {known[-1]:.4g}"] if known else []
    layer = shortened(series.layers)[chosen[row]]
    where = f"cosine {value:.4f} to the first at {series.unit} {series.numbers[last]}"
    return f"{series.name}: turned most: {layer}, {where}; {', '.join(lengths)}. Compared: {compared}."


def changes_text(series: Series, layers: Sequence[str] | None = None) -> str:
    """Name the largest change between consecutive checkpoints, and the layers that never change.

    Args:
        series: the checkpoints of a run.
        layers: to consider; None for all.
    """
    chosen = _positions(series, layers)
    changes = _known(series.measures["change"][chosen])
    if not changes:
        return f"{series.name}: there are no consecutive checkpoints of these layers."
    value, row, column = max(changes)
    short = shortened(series.layers)
    still = [short[at] for row, at in enumerate(chosen) if {0.0} == {size for size, r, _ in changes if r == row}]
    never = f" Never changed: {', '.join(_some(still))}." if still else ""
    where = f"to {series.unit} {series.numbers[column]}: {short[chosen[row]]}"
    return f"{series.name}: changed most {where}, by {value:.2g} of its size.{never}"


def _positions(series: Series, layers: Sequence[str] | None) -> list[int]:
    return [at for at, layer in enumerate(series.layers) if layers is None or layer in layers]


def _known(values: np.ndarray) -> list[tuple[float, int, int]]:
    """Return (value, row, column) of what is not NaN."""
    return [(float(v), row, column) for row, line in enumerate(values) for column, v in enumerate(line) if v == v]


def divergence_text(pair: SeriesComparison | None, unit: str = "epoch") -> str:
    """Say where two series diverge, by bytes.

    Args:
        pair: of the two; None if there is one only.
        unit: what their numbers count.
    """
    if pair is None:
        return "There is one folder only: nothing to compare it with."
    if pair.first is None:
        lines = [f"All parameters are byte-identical at {unit} {spans(pair.numbers)}."]
    else:
        equal = [number for number in pair.numbers if number < pair.first]
        before = f"Byte-identical at {unit} {spans(equal)}" if equal else "Different from the beginning"
        lines = [f"{before}; {unit} {pair.first} is the first that differs."]
        again = [n for n, same in zip(pair.numbers, pair.equal, strict=True) if same and n > pair.first]
        lines += [f"Byte-identical again at {unit} {spans(again)}."] if again else []
    others = {part: first for part, first in pair.components.items() if part not in ("model", "adapter", "other")}
    differ = [f"{part} (from {unit} {first})" for part, first in others.items() if first is not None]
    same = [part for part, first in others.items() if first is None]
    lines += [f"Beside the parameters, different: {', '.join(differ)}."] if differ else []
    lines += [f"Identical throughout: {', '.join(same)}."] if same else []
    lines += [
        f"Only the {which} has {unit} {spans(numbers)}."
        for which, numbers in zip(("first", "second"), pair.only_in, strict=True)
        if numbers
    ]
    return "\n".join(lines)


def spans(numbers: Sequence[int], spacing: int = 1) -> str:
    """Write numbers in ranges: `1–4, 6`.

    Args:
        numbers: in order.
        spacing: the distance of numbers in a range.
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number - ranges[-1][1] == spacing:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(_some([_span(*each) for each in ranges]))


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _some(lines: Sequence[str]) -> list[str]:
    return [*lines[:LISTED], *([f"… and {len(lines) - LISTED} more"] if len(lines) > LISTED else [])]
