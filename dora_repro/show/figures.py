"""Results as figures: pure functions, each from a result to a closed `Figure`, for a notebook or a page.

Style and colours are those of `style.py`. What is drawn can be read back from the axes, and tests do so. matplotlib is
an extra (`notebooks`), imported with this module.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.errors import MissingExtra
from dora_repro.show.names import cut, in_legend, shortened
from dora_repro.show.style import COLOURS, DASHES, EQUAL, INK, SIGNED, SIZES, WIDTH, Scale, scale_of, styled
from dora_repro.state.distance import ulps

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter
except ImportError as error:
    raise MissingExtra("matplotlib", "notebooks", "a figure") from error

LABELS = 36  # rows of a heat map that can each have their name
MEASURES = {
    "max_abs": "largest absolute difference",
    "max_ulp": "largest difference in ULP",
    "share": "share of elements that differ",
}


@styled
def losses(report: Report) -> Figure:
    """Draw the loss of both runs over the steps, with the save point and the first difference; below, their distance.

    Raises:
        ValueError: the report holds no losses.
    """
    sides = {"uninterrupted": report.reference, "resumed": report.resumed}
    points = {
        name: [(step.number, step.loss) for step in trace.steps if step.loss is not None]
        for name, trace in sides.items()
        if trace is not None
    }
    if not any(points.values()):
        raise ValueError("no losses to draw: step() returned None")
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(WIDTH, 4.2), height_ratios=(2.2, 1))
    for index, (name, line) in enumerate(points.items()):
        # The resumed line is drawn over the other, thinner, so that both are seen where they are equal.
        above.plot(
            [step for step, _ in line], [loss for _, loss in line], label=name, marker="o", markersize=4 - index,
            color=COLOURS[index], linestyle=DASHES[index], linewidth=3.0 - 1.4 * index,
        )  # fmt: skip  # a row of arguments
    above.set_ylabel("loss")
    expected = dict(points.get("uninterrupted", ()))
    common = {step: loss for step, loss in points.get("resumed", ()) if step in expected}
    distances = [abs(loss - expected[step]) for step, loss in common.items()]
    below.plot(list(common), distances, color=INK, marker="o", markersize=3)
    below.set_ylabel("difference")
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        _mark_steps(axes, report)
    above.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=4)
    return figure


def _mark_steps(axes: Axes, report: Report) -> None:
    """Draw vertical lines where the run was saved and loaded, and where it first differs."""
    axes.axvline(report.save_at + 0.5, color=COLOURS[2], linestyle=":", linewidth=1.2, label="saved, loaded", zorder=0)
    if report.divergence is not None:
        axes.axvline(report.divergence.step, color=COLOURS[1], linewidth=1.2, label="first difference", zorder=0)


@styled
def causes(report: Report) -> Figure:
    """Draw the distance of the runs at the end, with each part of the cause restored alone and left out alone.

    Raises:
        ValueError: the report names no cause, or its parts were not measured.
    """
    rows = _restored(report)
    if not rows:
        raise ValueError("the report names no cause whose parts were measured")
    labels, sizes = zip(*rows, strict=True)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(rows)))
    # A whole power of ten, so that at least two of them are on the scale.
    least = 10.0 ** math.floor(math.log10(min((size for size in sizes if size), default=1.0) / 3))
    for row, size in enumerate(sizes):
        # Zero has no place on a logarithmic scale: "identical" is written instead.
        if size:
            axes.barh(row, size - least, left=least, color=COLOURS[1], height=0.6)
        else:
            axes.text(least, row, " identical", va="center", color=COLOURS[2], weight="bold")
    axes.set_xscale("log")
    axes.set_xlim(least, max((size for size in sizes if size), default=1.0) * 3)
    axes.xaxis.set_minor_formatter(NullFormatter())  # labels between powers of ten would overlap
    axes.set_yticks(range(len(rows)), [cut(label, 48) for label in labels])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("largest difference of a parameter at the end")
    return figure


def _restored(report: Report) -> list[tuple[str, float]]:
    """Return (what was restored, largest difference at the end), from nothing to all of the cause."""
    whole = report.comparison("parameters")
    rows = []
    if whole is not None and whole.max_abs is not None and not math.isnan(whole.max_abs):
        rows.append(("nothing restored", whole.max_abs))
    measured = [cause for cause in report.causes if cause.without is not None]
    if not measured:
        return []
    several = len(report.causes) > 1
    for cause in measured:
        if several and cause.alone is not None and cause.alone.parameter_distance is not None:
            rows.append((f"only {cause.name}", cause.alone.parameter_distance))
    for cause in measured:
        if cause.without is not None and cause.without.parameter_distance is not None:
            rows.append((f"all but {cause.name}", cause.without.parameter_distance))
    return [*rows, ("all of these" if several else f"only {report.causes[0].name}", 0.0)]


@styled
def growth(
    curves: Mapping[str, Sequence[tuple[int, float]]], points: Mapping[str, Sequence[tuple[int, float]]]
) -> Figure:
    """Draw how far a loss departs from what it would have been, in per cent, over epochs after loading.

    Args:
        curves: (epochs after loading, per cent) by name, a line for each resumed run.
        points: the same as measured by others, drawn as marks alone.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    sizes = [size for line in (*curves.values(), *points.values()) for _, size in line if size]
    least = min(sizes, default=1.0) / 3  # stands for 0 on the logarithmic scale
    for index, (name, line) in enumerate(curves.items()):
        axes.plot(
            *_clipped(line, least), marker="o", markersize=3, label=in_legend(name),
            color=COLOURS[index % len(COLOURS)], linestyle=DASHES[index % len(DASHES)],
        )  # fmt: skip  # a row of arguments
    for index, (name, line) in enumerate(points.items()):
        mark = "X" if index else "D"
        axes.plot(*_clipped(line, least), mark, color=INK, markersize=7, label=in_legend(name), linestyle="")
    axes.set_yscale("log")
    axes.set_xlabel("epochs after loading")
    axes.set_ylabel("deviation of the loss (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=3)
    return figure


def _clipped(line: Sequence[tuple[int, float]], least: float) -> tuple[list[int], list[float]]:
    """Split points into x and y, with y at least `least`."""
    return [at for at, _ in line], [max(size, least) for _, size in line]


@styled
def history(report: Report, name: str) -> Figure:
    """Draw a history that both runs record themselves, such as `validation_losses`, entry by entry.

    Args:
        report: of the check.
        name: of the history, an attribute of the run.

    Raises:
        ValueError: neither run recorded a history of that name.
    """
    named = {side: histories[name] for side, histories in report.histories.items() if name in histories}
    if not named:
        known = ", ".join(sorted({each for histories in report.histories.values() for each in histories})) or "none"
        raise ValueError(f"no history {name!r}; recorded: {known}")
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    longest = max(map(len, named.values()))
    for index, (side, values) in enumerate(named.items()):
        # A resumed run that lost its history has the last entries only.
        axes.plot(
            range(longest - len(values) + 1, longest + 1), values, marker="o",
            label={"reference": "uninterrupted"}.get(side, side),
            color=COLOURS[index], linestyle=DASHES[index], linewidth=3.0 - 1.4 * index,
        )  # fmt: skip  # a row of arguments
    axes.set_xlabel("epoch" if name.startswith("validation") else "entry")
    axes.set_ylabel(name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return figure


@styled
def drift_map(drift: Drift, measure: str = "max_abs", names: Callable[[str], str] = str) -> Figure:
    """Draw a heat map, parameter × step, of the distance of two runs at the end of each step, on a logarithmic scale.

    Args:
        drift: of the two runs.
        measure: `max_abs`, `max_ulp` or `share`.
        names: maps a path to the name to show. What all names have in common is left out.

    Raises:
        ValueError: there is no such measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: choose one of {', '.join(MEASURES)}")
    values = np.array(getattr(drift, measure), float)  # (leaves, steps)
    rows = len(drift.leaves)
    figure, axes = plt.subplots(figsize=(WIDTH, max(2.4, 1.3 + 0.2 * min(rows, LABELS))))
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    colours = plt.get_cmap(SIZES).with_extremes(bad=EQUAL)
    steps = drift.steps
    image = axes.imshow(
        np.ma.masked_where(values == 0, values), aspect="auto", interpolation="nearest", cmap=colours,
        norm=LogNorm(low, high if high > low else low * 10), extent=(steps[0] - 0.5, steps[-1] + 0.5, rows - 0.5, -0.5),
    )  # fmt: skip
    if np.isnan(values).any():  # drawn as a second image: a masked array has one colour for all masked elements
        nan = np.ma.masked_where(~np.isnan(values), np.ones_like(values))
        axes.imshow(
            nan, aspect="auto", interpolation="nearest", cmap="Reds", vmin=0, vmax=1.4, extent=image.get_extent()
        )
    if positive.size:
        figure.colorbar(image, ax=axes, label=MEASURES[measure], pad=0.02)
    else:
        axes.set_title("all parameters are byte-identical at every step")
    shown = range(0, rows, -(-rows // LABELS))
    labels = shortened([names(path) for path in drift.leaves])
    axes.set_yticks(list(shown), [labels[row] for row in shown], fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.set_xlabel("step (grey: byte-identical)" + ("; red: not a number" if np.isnan(values).any() else ""))
    return figure


@styled
def drift_curves(drifts: Mapping[str, Drift], measure: str = "max_abs") -> Figure:
    """Draw a line for each of several runs: the largest difference of any parameter, by steps after loading.

    Runs that are byte-identical throughout have no place on a logarithmic scale: the legend says so.

    Args:
        drifts: of each run, by name.
        measure: `max_abs`, `max_ulp` or `share`.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2 + 0.2 * -(-len(drifts) // 2)))
    for index, (name, drift) in enumerate(drifts.items()):
        values = np.array(getattr(drift, measure), float).max(axis=0)  # (steps,)
        axes.plot(
            np.array(drift.steps) - drift.steps[0], np.where(values > 0, values, np.nan), marker="o", markersize=3,
            label=in_legend(name if (values != 0).any() else f"{name} (byte-identical)"),
            color=COLOURS[index % len(COLOURS)], linestyle=DASHES[index % len(DASHES)],
        )  # fmt: skip  # a row of arguments
    axes.set_yscale("log")
    axes.set_xlabel("steps after loading")
    axes.set_ylabel(MEASURES[measure])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def ulp_histogram(drift: Drift, step: int | None = None) -> Figure:
    """Draw a histogram of the elements by their distance in ULP at the end of a step, in powers of two.

    Args:
        drift: of the two runs.
        step: the last, if None.

    Raises:
        ValueError: the two runs do not have this step in common.
    """
    step = drift.steps[-1] if step is None else step
    counts = ulp_counts(drift, step)
    figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
    axes.bar(range(len(counts)), list(counts.values()), color=COLOURS[0])
    every = -(-len(counts) // 9)
    axes.set_xticks(range(0, len(counts), every), list(counts)[::every])
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("elements")
    axes.set_xlabel(f"distance in ULP, at the end of step {step}")
    return figure


def ulp_counts(drift: Drift, step: int) -> dict[str, int]:
    """Count elements by their distance in ULP: `0`, `1`, `2–3`, `4–7`, …, up to the largest that occurs.

    Raises:
        ValueError: the two runs do not have this step in common.
    """
    if step not in drift.steps:
        raise ValueError(f"step={step}: the two runs have {drift.steps[0]} to {drift.steps[-1]} in common")
    pairs = [(drift.expected[step][path], drift.actual[step][path]) for path in drift.leaves]
    distances = np.concatenate([ulps(one, other) for one, other in pairs if one.is_floating_point()])
    powers = np.where(distances > 0, np.floor(np.log2(np.maximum(distances, 1))).astype(int) + 1, 0)
    return {_interval(power): int(count) for power, count in enumerate(np.bincount(powers))}


def _interval(power: int) -> str:
    low, high = 2 ** max(power - 1, 0), 2**power - 1
    if power < 2:
        return str(power)
    return f"{low}–{high}" if high < 1000 else f"≥ 2^{power - 1}"


@styled
def norms(lines: Mapping[str, Sequence[tuple[str, Sequence[int], Sequence[float]]]]) -> Figure:
    """Draw norms over the steps, a panel for each quantity.

    Args:
        lines: (name, steps, norms) of each line, by quantity. The second line of one name is the resumed run's: it is
            drawn dashed over the first.
    """
    figure, panels = plt.subplots(1, len(lines), figsize=(WIDTH, 3.0), squeeze=False)
    names = list(dict.fromkeys(name for panel in lines.values() for name, _, _ in panel))
    short = dict(zip(names, shortened(names), strict=True))
    for axes, (quantity, panel) in zip(panels[0], lines.items(), strict=True):
        drawn: list[str] = []
        for name, steps, values in panel:
            if name in drawn:
                axes.plot(steps, values, linestyle=DASHES[1], linewidth=1.4, color=INK)
                continue
            axes.plot(
                steps, values, linewidth=3.0, color=COLOURS[len(drawn) % len(COLOURS)], label=in_legend(short[name])
            )
            drawn.append(name)
        axes.set_title(quantity)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.ticklabel_format(axis="y", useOffset=False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, max(len(labels), 1)))
    return figure


@styled
def matrix_difference(expected: Tensor, actual: Tensor, title: str = "") -> Figure:
    """Draw a matrix of either run and their difference, as images; a vector is a matrix of one row.

    Args:
        expected: a matrix or vector of the uninterrupted run.
        actual: that of the resumed run, of the same shape.
        title: of the figure.

    Raises:
        ValueError: the shapes differ, or have more than two dimensions.
    """
    if expected.shape != actual.shape or expected.dim() > 2:
        raise ValueError(f"shapes {tuple(expected.shape)} and {tuple(actual.shape)}: give two matrices of one shape")
    one, other = (
        side.detach().to(torch.float64).resolve_neg().reshape(-1, side.shape[-1] if side.dim() else 1).numpy()
        for side in (expected, actual)
    )
    tall = one.shape[0] > one.shape[1]
    if tall:  # drawn lying down: three side by side would be slivers
        one, other = one.T, other.T
    sides = scale_of(one, other)
    difference = np.ma.masked_where(one == other, other - one)
    widest = float(np.nanmax(np.abs(other - one), initial=0.0))
    differences = Scale(SIGNED, -(widest or 1.0), widest or 1.0)
    figure, panels = plt.subplots(3, 1, figsize=(WIDTH, 4.6), sharex=True)
    drawn = (
        ("uninterrupted", one, sides),
        ("resumed", other, sides),
        ("difference (grey: none)" if widest else "difference: none, equal by value", difference, differences),
    )
    for axes, (name, image, scale) in zip(panels, drawn, strict=True):
        colours = plt.get_cmap(scale.colours).with_extremes(bad=EQUAL)
        mapped = axes.imshow(
            image, aspect="auto", interpolation="nearest", cmap=colours, vmin=scale.low, vmax=scale.high
        )
        axes.set_ylabel("column" if tall else "row")
        axes.yaxis.set_major_locator(
            MaxNLocator(integer=True, nbins=4, min_n_ticks=1) if len(image) > 1 else FixedLocator([0])
        )
        axes.set_title(name, loc="left", fontsize=9)
        figure.colorbar(mapped, ax=axes, pad=0.02)
    panels[-1].set_xlabel("row" if tall else "column")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
