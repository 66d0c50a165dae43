"""Results as figures: pure functions, each from a result to a closed `Figure`, to be shown in a notebook or on a page.

Wide as a notebook's column, with the colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind
people tell apart, and lines that differ in dash as well. What is drawn can be read back from the axes: tests do.
matplotlib is an extra (`notebooks`) and imported with this module.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.errors import MissingExtra
from dora_repro.show.names import cut, shortened

try:
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter
except ImportError as error:
    raise MissingExtra("matplotlib", "notebooks", "a figure") from error

WIDTH = 8.0  # inches, at 100 dots an inch
LABELS = 36  # rows of a heat map that can each have their name
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
EQUAL = "#ECECEC"  # what is equal by bytes has no place on a scale of logarithms
MEASURES = {
    "max_abs": "largest absolute difference",
    "max_ulp": "largest difference in ULP",
    "share": "share of elements that differ",
}
_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Drawn in the kit's style, whatever the user's own is, and closed: nothing is shown twice or kept open."""

    @functools.wraps(draw)
    def drawn(*arguments: object, **options: object) -> Figure:
        with plt.rc_context({**plt.rcParamsDefault, "backend": plt.rcParams["backend"], **_STYLE}):
            figure = draw(*arguments, **options)
        plt.close(figure)
        return figure

    return drawn


@styled
def losses(report: Report) -> Figure:
    """The loss of both sides over the steps, with save and first divergence marked; below, how far apart they are.

    Raises:
        ValueError: a report without traces or losses.
    """
    sides = {"uninterrupted": report.reference, "resumed": report.resumed}
    points = {
        name: [(step.number, step.loss) for step in trace.steps if step.loss is not None]
        for name, trace in sides.items()
        if trace is not None
    }
    if not any(points.values()):
        raise ValueError("no losses to draw: step() returned none")
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(WIDTH, 4.2), height_ratios=(2.2, 1))
    for index, (name, found) in enumerate(points.items()):
        # The resumed line is drawn over the other, thinner, so that both are seen where they are equal.
        line = {"color": COLOURS[index], "linestyle": DASHES[index], "linewidth": 3.0 - 1.4 * index}
        above.plot(
            *zip(*found, strict=True) if found else ([], []), marker="o", markersize=4 - index, label=name, **line
        )
    above.set_ylabel("loss")
    expected = dict(points.get("uninterrupted", ()))
    apart = [(step, abs(loss - expected[step])) for step, loss in points.get("resumed", ()) if step in expected]
    below.plot(*zip(*apart, strict=True) if apart else ([], []), color=COLOURS[6], marker="o", markersize=3)
    below.set_ylabel("difference")
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        _mark_steps(axes, report)
    above.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=4)
    return figure


def _mark_steps(axes: Axes, report: Report) -> None:
    """Vertical lines where the run was saved and loaded, and where it first differs."""
    marks = [("saved, loaded", report.save_at + 0.5, COLOURS[2], ":")]
    if report.divergence is not None:
        marks.append(("first difference", report.divergence.step, COLOURS[1], "-"))
    for label, at, colour, dash in marks:
        axes.axvline(at, color=colour, linestyle=dash, linewidth=1.2, alpha=0.8, label=label, zorder=0)


@styled
def causes(report: Report) -> Figure:
    """How far apart the runs are at the end, with this or that put back: what each part of the cause does by itself.

    Raises:
        ValueError: a report that names no cause, or one whose parts were not measured.
    """
    rows = _put_back(report)
    if not rows:
        raise ValueError("there is no cause whose parts were measured")
    labels, sizes = zip(*rows, strict=True)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(rows)))
    # A whole power of ten, so that at least two of them are on the scale.
    least = 10.0 ** math.floor(math.log10(min((size for size in sizes if size), default=1.0) / 3))
    for row, size in enumerate(sizes):
        # What is identical has no place on a scale of logarithms: it says so in words.
        if size:
            axes.barh(row, size - least, left=least, color=COLOURS[1], height=0.6)
        else:
            axes.text(least, row, " identical", va="center", color=COLOURS[2], weight="bold")
    axes.set_xscale("log")
    axes.set_xlim(least, max((size for size in sizes if size), default=1.0) * 3)
    axes.xaxis.set_minor_formatter(NullFormatter())  # powers of ten are enough, and what lies between them overlaps
    axes.set_yticks(range(len(rows)), [cut(label, 48) for label in labels])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("largest difference of a parameter at the end")
    return figure


def _put_back(report: Report) -> list[tuple[str, float]]:
    """(what was put back, largest difference at the end), from nothing to all of the cause."""
    whole = report.comparison("parameters")
    rows = [("nothing put back", whole.max_abs)] if whole is not None and whole.max_abs == whole.max_abs else []
    measured = [cause for cause in report.causes if cause.without is not None]
    if not measured:
        return []
    several = len(report.causes) > 1
    for cause in measured:
        if several and cause.alone is not None and cause.alone.apart is not None:
            rows.append((f"only {cause.name}", cause.alone.apart))
    for cause in measured:
        if cause.without.apart is not None:
            rows.append((f"all but {cause.name}", cause.without.apart))
    return [*rows, ("all of these" if several else f"only {report.causes[0].name}", 0.0)]


@styled
def growth(
    curves: Mapping[str, Sequence[tuple[int, float]]], points: Mapping[str, Sequence[tuple[int, float]]]
) -> Figure:
    """How a loss drifts from what it would have been: per cent over epochs after loading, one line a resumed run.

    Args:
        curves: (epochs after loading, per cent) by name; points: the same, measured by others, as marks alone.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    least = min((size for found in (*curves.values(), *points.values()) for _, size in found if size), default=1.0) / 3
    for index, (name, found) in enumerate(curves.items()):
        at, sizes = zip(*[(epoch, max(size, least)) for epoch, size in found], strict=True) if found else ((), ())
        line = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
        axes.plot(at, sizes, marker="o", markersize=3, label=name, **line)
    for index, (name, found) in enumerate(points.items()):
        at, sizes = zip(*[(epoch, max(size, least)) for epoch, size in found], strict=True)
        axes.plot(at, sizes, "X" if index else "D", color=COLOURS[6], markersize=7, label=name, linestyle="")
    axes.set_yscale("log")
    axes.set_xlabel("epochs after loading")
    axes.set_ylabel("loss off by (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=3)
    return figure


@styled
def history(report: Report, name: str) -> Figure:
    """A history that both sides kept for themselves, as `validation_losses`, entry by entry.

    Raises:
        ValueError: neither side kept one of that name.
    """
    found = {side: kept[name] for side, kept in report.histories.items() if name in kept}
    if not found:
        known = ", ".join(sorted({name for kept in report.histories.values() for name in kept})) or "none"
        raise ValueError(f"no history {name!r}: there is {known}")
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    longest = max(map(len, found.values()))
    for index, (side, values) in enumerate(found.items()):
        # A resumed run that lost its history has the last entries only.
        at = range(longest - len(values) + 1, longest + 1)
        line = {"color": COLOURS[index], "linestyle": DASHES[index], "linewidth": 3.0 - 1.4 * index}
        axes.plot(at, values, marker="o", label={"reference": "uninterrupted"}.get(side, side), **line)
    axes.set_xlabel("epoch" if name.startswith("validation") else "entry")
    axes.set_ylabel(name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return figure


@styled
def drift_map(drift: Drift, measure: str = "max_abs", names: Callable[[str], str] = str) -> Figure:
    """Parameter × step: how far apart the two runs are at the end of each step, on a logarithmic scale.

    Args:
        measure: `max_abs`, `max_ulp` or `share`.
        names: gives the name that is shown for a path. What all names have in common is left out.

    Raises:
        ValueError: another measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: choose one of {', '.join(MEASURES)}")
    values = np.array(getattr(drift, measure), float)  # (leaves, steps)
    rows = len(drift.leaves)
    figure, axes = plt.subplots(figsize=(WIDTH, max(2.4, 1.3 + 0.2 * min(rows, LABELS))))
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    colours = plt.get_cmap("cividis").with_extremes(bad=EQUAL)
    steps = drift.steps
    image = axes.imshow(
        np.ma.masked_where(values == 0, values), aspect="auto", interpolation="nearest", cmap=colours,
        norm=LogNorm(low, high if high > low else low * 10), extent=(steps[0] - 0.5, steps[-1] + 0.5, rows - 0.5, -0.5),
    )  # fmt: skip
    if np.isnan(values).any():  # no number: drawn over it, since a masked array has one colour for all that is bad
        nan = np.ma.masked_where(~np.isnan(values), np.ones_like(values))
        axes.imshow(
            nan, aspect="auto", interpolation="nearest", cmap="Reds", vmin=0, vmax=1.4, extent=image.get_extent()
        )
    if positive.size:
        figure.colorbar(image, ax=axes, label=MEASURES[measure], pad=0.02)
    else:
        axes.set_title("all parameters are equal by bytes at every step")
    shown = range(0, rows, -(-rows // LABELS))
    labels = shortened([names(path) for path in drift.leaves])
    axes.set_yticks(list(shown), [labels[row] for row in shown], fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.set_xlabel("step (grey: equal by bytes)" + ("; red: not a number" if np.isnan(values).any() else ""))
    return figure


@styled
def drift_curves(drifts: Mapping[str, Drift], measure: str = "max_abs") -> Figure:
    """One line for each of several runs: the largest difference of any parameter, by steps after loading.

    Runs that are equal by bytes throughout have no place on a scale of logarithms: the legend says so of them.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2 + 0.2 * -(-len(drifts) // 2)))
    for index, (name, drift) in enumerate(drifts.items()):
        values = np.array(getattr(drift, measure), float).max(axis=0)  # (steps,)
        label = name if (values != 0).any() else f"{name} (equal by bytes)"
        after = np.array(drift.steps) - drift.steps[0]
        line = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
        axes.plot(after, np.where(values > 0, values, np.nan), marker="o", markersize=3, label=label, **line)
    axes.set_yscale("log")
    axes.set_xlabel("steps after loading")
    axes.set_ylabel(MEASURES[measure])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def ulp_histogram(drift: Drift, step: int | None = None) -> Figure:
    """How many elements are how many ULP apart at the end of a step (the last), in powers of two.

    Raises:
        ValueError: a step that the two runs do not have in common.
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
    """Elements by distance: `0`, `1`, `2–3`, `4–7`, …, up to the largest that occurs."""
    from dora_repro.state.distance import ulps

    if step not in drift.steps:
        raise ValueError(f"step={step}: the two runs have {drift.steps[0]} to {drift.steps[-1]} in common")
    pairs = [(drift.expected[step][path], drift.actual[step][path]) for path in drift.leaves]
    apart = np.concatenate([ulps(one, other) for one, other in pairs if one.is_floating_point()])
    powers = np.where(apart > 0, np.floor(np.log2(np.maximum(apart, 1))).astype(int) + 1, 0)
    found = np.bincount(powers)
    return {_interval(power): int(count) for power, count in enumerate(found)}


def _interval(power: int) -> str:
    low, high = 2 ** max(power - 1, 0), 2**power - 1
    if power < 2:
        return str(power)
    return f"{low}–{high}" if high < 1000 else f"≥ 2^{power - 1}"


@styled
def norms(courses: Mapping[str, Sequence[tuple[str, Sequence[int], Sequence[float]]]]) -> Figure:
    """Norms over the steps: a panel for each quantity, in it a line for each (name, steps, norms).

    The first two of a name's lines are drawn as both sides of one thing where names repeat.
    """
    figure, panels = plt.subplots(1, len(courses), figsize=(WIDTH, 3.0), squeeze=False)
    all_names = list(dict.fromkeys(name for lines in courses.values() for name, _, _ in lines))
    short = dict(zip(all_names, shortened(all_names), strict=True))
    for axes, (quantity, lines) in zip(panels[0], courses.items(), strict=True):
        known: list[str] = []
        for name, steps, values in lines:
            again = name in known
            known += [] if again else [name]
            if again:
                style = {"linestyle": DASHES[1], "linewidth": 1.4, "color": COLOURS[6]}
            else:
                style = {"linewidth": 3.0, "color": COLOURS[known.index(name) % len(COLOURS)], "label": short[name]}
            axes.plot(steps, values, **style)
        axes.set_title(quantity)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.ticklabel_format(axis="y", useOffset=False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, max(len(labels), 1)))
    return figure


@styled
def matrix_difference(expected: "torch.Tensor", actual: "torch.Tensor", title: str = "") -> Figure:
    """A matrix of either side and their difference, as images; a vector is a matrix of one row.

    Raises:
        ValueError: of other shapes, or of more than two dimensions.
    """
    if expected.shape != actual.shape or expected.dim() > 2:
        raise ValueError(f"shapes {tuple(expected.shape)} and {tuple(actual.shape)}: give two matrices of one shape")
    sides = [
        side.detach().to(torch.float64).reshape(-1, side.shape[-1] if side.dim() else 1) for side in (expected, actual)
    ]
    apart = (sides[1] - sides[0]).numpy()
    largest = max(float(np.nanmax(np.abs(side.numpy()), initial=0.0)) for side in sides) or 1.0
    widest = float(np.nanmax(np.abs(apart), initial=0.0))
    tall = sides[0].shape[0] > sides[0].shape[1]
    if tall:  # drawn lying down: three beside each other would be slivers
        sides, apart = [side.T for side in sides], apart.T
    figure, panels = plt.subplots(3, 1, figsize=(WIDTH, 4.6), sharex=True)
    names = ("uninterrupted", "resumed", "difference" if widest else "difference: none, equal by value")
    images = (sides[0].numpy(), sides[1].numpy(), apart)
    for axes, name, image, limit in zip(panels, names, images, (largest, largest, widest or 1.0), strict=True):
        colours = "PuOr" if name.startswith("difference") else "RdGy"
        drawn = axes.imshow(image, aspect="auto", interpolation="nearest", cmap=colours, vmin=-limit, vmax=limit)
        axes.set_ylabel("column" if tall else "row")
        axes.yaxis.set_major_locator(
            MaxNLocator(integer=True, nbins=4, min_n_ticks=1) if len(image) > 1 else FixedLocator([0])
        )
        axes.set_title(name, loc="left", fontsize=9)
        figure.colorbar(drawn, ax=axes, pad=0.02)
    panels[-1].set_xlabel("row" if tall else "column")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
