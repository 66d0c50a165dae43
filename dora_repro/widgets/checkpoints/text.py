"""Series of checkpoints in words: what they hold, what is missing, what is unlike the rest, where two of them part."""

import html
from collections.abc import Sequence

import numpy as np

from dora_repro.checkpoint.components import COMPONENTS
from dora_repro.checkpoint.contents import LAYOUTS
from dora_repro.series.pairs import Parting
from dora_repro.series.series import LEAST_CHANGES, MEASURES, Series
from dora_repro.show.names import shortened
from dora_repro.show.tables import table
from dora_repro.wording import counted, plural

TOLD = 8  # of troubles and outliers; the rest is counted
WANTED = ("optimizer", "scheduler", "rng", "data", "progress")  # beside the parameters
HELD, ABSENT, UNREAD = "✓", "–", "unreadable"


def finding(series: Series) -> str:
    """What the checkpoints of a folder are, and which are missing or cannot be read."""
    unit = series.unit
    units = unit if len(series.numbers) == 1 else plural(unit)
    every = f", each {series.spacing}" if series.spacing > 1 else ""
    kinds = list(dict.fromkeys(LAYOUTS[kind] for kinds in series.layouts for kind in kinds))
    layers = counted(len(series.layers), "low-rank layer")
    lines = [
        f"{series.name}: {units} {spans(series.numbers, series.spacing)}{every}; {layers}; "
        f"{'; '.join(kinds) or 'nothing could be read'}."
    ]
    missing = ", ".join(_span(*gap) for gap in series.gaps)
    lines.append(f"Missing: {unit} {missing}." if missing else f"No {unit} is missing.")
    troubles = [f"Not read: {unit} {one.number}: {one.reason}." for one in series.troubles]
    lines += _some(troubles) + _holding(series)
    if series.aside:
        lines.append(f"Without a place in the series: {', '.join(_some(series.aside))}.")
    return "\n".join(lines)


def _holding(series: Series) -> list[str]:
    read = [(number, held) for number, held in zip(series.numbers, series.components, strict=True) if held]
    lines = []
    if none := [part for part in WANTED if not any(part in held for _, held in read)]:
        lines.append(f"No file holds: {', '.join(none)}.")
    for part in (part for part in WANTED if part not in none):
        if without := [number for number, held in read if part not in held]:
            lines.append(f"Without {part}: {series.unit} {spans(without, series.spacing)}.")
    return lines


def contents_rows(series: Series, parting: Parting | None = None) -> tuple[list[str], list[list[str]]]:
    """(heads, rows): number × component, a mark in each; a row for each gap; equal to the other run, where asked."""
    parts = [part for part in COMPONENTS if any(part in held for held in series.components)]
    parts += [part for part in WANTED if part not in parts]
    same = {} if parting is None else dict(zip(parting.numbers, parting.equal, strict=True))
    rows = []
    for number, held in zip(series.numbers, series.components, strict=True):
        marks = [HELD if part in held else ABSENT for part in parts]
        compared = [] if parting is None else [{True: "equal", False: "different"}.get(same.get(number), "")]
        torn = any(one.number == number for one in series.troubles)
        rows.append((number, [str(number), *marks, *compared, UNREAD if torn and not held else "in part" * torn]))
    for first, last in series.gaps:
        rows.append((first, [_span(first, last), *[""] * (len(parts) + (parting is not None)), "missing"]))
    heads = [series.unit, *parts, *(["other run"] if parting is not None else []), "files"]
    return heads, [cells for _, cells in sorted(rows)]


def contents_table(series: Series, parting: Parting | None = None) -> str:
    """`contents_rows` as text."""
    return table(*contents_rows(series, parting))


def contents_html(series: Series, parting: Parting | None = None) -> str:
    """`contents_rows` as HTML, in the colours of the page it lies in."""
    heads, rows = contents_rows(series, parting)
    edge = "padding: 1px 10px; text-align: center; border-bottom: 1px solid var(--jp-border-color2, #bbb)"
    head = "".join(f"<th scope='col' style='{edge}'>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='{edge}'>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows
    )
    caption = f"<caption style='text-align: left'>{html.escape(series.name)}</caption>"
    return (
        "<div style='max-height: 420px; overflow: auto; color: var(--jp-content-font-color1, inherit)'>"
        f"<table style='border-collapse: collapse'>{caption}<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def outliers_text(series: Series | None, layers: Sequence[str] | None = None) -> str:
    """Changes that are unlike the rest of their layer, or why none can be told; nothing of no series."""
    if series is None:
        return ""
    short = dict(zip(series.layers, shortened(series.layers), strict=True))
    found = [one for one in series.outliers() if layers is None or one.layer in layers]
    lines = [
        f"{series.unit} {one.number}, {short[one.layer]}: "
        + (
            f"changed by {one.change:.2g} of its size, {one.deviations:.1f} deviations from the median"
            if one.change < float("inf")
            else "not a finite number"
        )
        for one in found
    ]
    if lines:
        count = int(np.isfinite(series.measures["change"]).sum())
        few = f"{series.name}: {len(found)} of {count} changes are unlike the rest of their layer:"
        return "\n".join([few, *_some(lines)])
    known = max((int((row == row).sum()) for row in series.measures["change"]), default=0)
    if known < LEAST_CHANGES:
        return f"{series.name}: {known} changes are too few to tell an outlier by; it takes {LEAST_CHANGES}."
    return f"{series.name}: no change is unlike the rest of its layer."


def courses_text(series: Series, layers: Sequence[str] | None = None) -> str:
    """The layer that turned most from the first checkpoint to the last, and what is compared."""
    what = "effective weights" if series.based else "low-rank updates, as the files hold no base"
    chosen = [at for at, layer in enumerate(series.layers) if layers is None or layer in layers]
    cosines = [(value, row, at) for (row, at), value in _known(series.measures["to_first"][chosen])]
    last = max((at for _, _, at in cosines), default=None)
    if last is None:
        return f"{series.name}: no low-rank layer to follow."
    value, row, _ = min(one for one in cosines if one[2] == last)
    courses = []
    for measure in ("magnitude", "update"):
        known = [one for one in series.measures[measure][chosen[row]] if one == one]
        courses += [f"{MEASURES[measure]} from {known[0]:.4g} to {known[-1]:.4g}"] if known else []
    layer = shortened(series.layers)[chosen[row]]
    where = f"cosine {value:.4f} to the first at {series.unit} {series.numbers[last]}"
    return f"{series.name}: turned most: {layer}, {where}; {', '.join(courses)}. Compared: {what}."


def changes_text(series: Series, layers: Sequence[str] | None = None) -> str:
    """The largest change between two checkpoints that follow each other, and the layers that never change."""
    chosen = [at for at, layer in enumerate(series.layers) if layers is None or layer in layers]
    changes = series.measures["change"][chosen]
    finite = [(value, row, place) for (row, place), value in _known(changes)]
    if not finite:
        return f"{series.name}: no two checkpoints of these layers follow each other."
    value, row, place = max(finite)
    short = shortened(series.layers)
    still = [short[chosen[at]] for at in range(len(chosen)) if {0.0} == {v for v, r, _ in finite if r == at}]
    never = f" Never changed: {', '.join(_some(still))}." if still else ""
    where = f"to {series.unit} {series.numbers[place]}: {short[chosen[row]]}"
    return f"{series.name}: changed most {where}, by {value:.2g} of its size.{never}"


def _known(values) -> list[tuple[tuple[int, int], float]]:
    return [((row, place), float(v)) for row, line in enumerate(values) for place, v in enumerate(line) if v == v]


def parting_text(parting: Parting | None, unit: str = "epoch") -> str:
    """Where two series part, by bytes."""
    if parting is None:
        return "There is one folder: nothing to lay beside it."
    if parting.first is None:
        lines = [f"All parameters are equal by bytes at {unit} {spans(parting.numbers)}."]
    else:
        equal = [number for number in parting.numbers if number < parting.first]
        before = f"Equal by bytes at {unit} {spans(equal)}, then" if equal else "They differ from the beginning:"
        lines = [f"{before} {unit} {parting.first} is the first that differs."]
        again = [n for n, same in zip(parting.numbers, parting.equal, strict=True) if same and n > parting.first]
        lines += [f"Equal again: {unit} {spans(again)}."] if again else []
    others = {part: first for part, first in parting.components.items() if part not in ("model", "adapter", "other")}
    differ = [f"{part} ({unit} {first})" for part, first in others.items() if first is not None]
    same = [part for part, first in others.items() if first is None]
    lines += [f"Of the rest differ: {', '.join(differ)}."] if differ else []
    lines += [f"Equal throughout: {', '.join(same)}."] if same else []
    lines += [
        f"Only the {which} has {unit} {spans(numbers)}."
        for which, numbers in zip(("first", "second"), parting.alone, strict=True)
        if numbers
    ]
    return "\n".join(lines)


def spans(numbers: Sequence[int], spacing: int = 1) -> str:
    """Numbers in few words: `1–4, 6`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number - found[-1][1] == spacing:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(_some([_span(*one) for one in found]))


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _some(lines: Sequence[str]) -> list[str]:
    return [*lines[:TOLD], *([f"… and {len(lines) - TOLD} more"] if len(lines) > TOLD else [])]
