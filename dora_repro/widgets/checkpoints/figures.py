"""Figures of a series of checkpoints: pure functions from a `Series` or a `SeriesComparison` to a closed `Figure`.

Lines and columns stand for checkpoints that exist. Where one is missing or could not be read, a line breaks and a cell
is blank.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from dora_repro.errors import BadInput
from dora_repro.series.pairs import SeriesComparison
from dora_repro.series.series import MEASURES, Series
from dora_repro.show.figures import LABELS
from dora_repro.show.names import cut, in_legend, shortened
from dora_repro.show.style import COLOURS, DASHES, EQUAL, INK, NOT_A_NUMBER, SIZES, WIDTH, styled

DISTINCT = 7  # lines that can each have a colour of their own
LEGEND = 3  # names in a row


def positions(known: Sequence[str], layers: Sequence[str] | None) -> list[int]:
    """Return the positions of some layers among those of a series.

    Args:
        known: layers of the series.
        layers: those to find; None for all.

    Raises:
        BadInput: the series has no low-rank layer, or none of these.
    """
    places = [place for place, layer in enumerate(known) if layers is None or layer in layers]
    if not known:
        raise BadInput("the files hold no low-rank layer: there is nothing to draw")
    if not places:
        raise BadInput(
            f"none of the {len(layers or ())} layers given is among the {len(known)} low-rank layers of the files: "
            "choose layers that the files hold"
        )
    return places


@styled
def trajectories(series: Series, other: Series | None = None, layers: Sequence[str] | None = None) -> Figure:
    """Draw ‖m‖, ‖ΔD‖ and the cosine to the first checkpoint over the checkpoints.

    Up to 7 layers have a line each in a colour of its own. Of more, the median and the range are drawn.

    Args:
        series: the checkpoints of a run.
        other: those of another run, drawn dashed.
        layers: to draw; None for all.

    Raises:
        BadInput: the series has none of these layers.
    """
    names = [series.layers[at] for at in positions(series.layers, layers)]
    drawn = ("magnitude", "update", "to_first", "to_base")
    shown = [measure for measure in drawn if np.isfinite(series.measures[measure]).any()]
    many = len(names) > DISTINCT
    lines = -(-((1 if many else len(names)) + (other is not None)) // LEGEND)
    height = 2.9 + 0.18 * lines
    # Axes are placed by hand: solving the layout takes longer than drawing.
    figure, panels = plt.subplots(1, max(len(shown), 1), figsize=(WIDTH, height), squeeze=False, layout="none")
    figure.subplots_adjust(0.07, (0.55 + 0.18 * lines) / height, 0.99, 1 - 0.3 / height, wspace=0.38)
    for axes, measure in zip(panels[0], shown, strict=False):
        for which, one in enumerate((series, other) if other is not None else (series,)):
            _lines(axes, one, names, measure, which, many)
        axes.set_title(MEASURES[measure])
        axes.set_xlabel(series.unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4 if len(shown) > 3 else 5))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.ticklabel_format(axis="y", useOffset=False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(LEGEND, max(len(labels), 1)))
    return figure


def _lines(axes: Axes, series: Series, names: Sequence[str], measure: str, which: int, many: bool) -> None:
    """Draw one measure of one series: a line for each layer, or of `many` the median and the range."""
    present = [name for name in names if name in series.layers]
    short = shortened(names) if len(names) > 1 else [cut(names[0])]
    values = series.measures[measure][[series.layers.index(name) for name in present]]  # (layers, numbers)
    at, rows = _broken(series, values)
    if many:
        known = ~np.isnan(rows).all(axis=0)
        low, middle, high = np.full((3, len(at)), np.nan)
        low[known], middle[known], high[known] = np.nanpercentile(rows[:, known], (0, 50, 100), axis=0)
        axes.fill_between(at, low, high, color=COLOURS[which], alpha=0.25, linewidth=0)
        label = in_legend(f"{series.name}: median and range of {len(present)} layers")
        axes.plot(at, middle, color=COLOURS[which], linewidth=2.5, linestyle=DASHES[which], label=label)
        return
    for name, row in zip(present, rows, strict=True):
        place = names.index(name)
        if which:
            label = (
                in_legend(f"{series.name} (dashed)") if name == present[0] else "_"
            )  # the legend leaves such a name out
            axes.plot(at, row, label=label, marker=".", markersize=3, color=INK, linestyle=DASHES[which], linewidth=1.4)
        else:
            axes.plot(
                at, row, label=in_legend(short[place]), marker="o", markersize=3, color=COLOURS[place], linewidth=3.0
            )


def _broken(series: Series, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and values with a NaN in each gap, so that no line crosses it.  # (n,), (layers, n)"""
    places = [series.numbers.index(next(n for n in series.numbers if n > last)) for _, last in series.gaps]
    at = np.insert(np.array(series.numbers, float), places, [first for first, _ in series.gaps])
    return at, np.insert(values, places, np.nan, axis=1)


@styled
def changes(series: Series, other: Series | None = None, layers: Sequence[str] | None = None) -> Figure:
    """Draw a heat map, layer × number, of the distance of each checkpoint to the one before; outliers are marked.

    Args:
        series: the checkpoints of a run.
        other: those of another run, drawn beside it.
        layers: to draw; None for all.

    Raises:
        BadInput: the series has none of these layers.
    """
    names = [series.layers[at] for at in positions(series.layers, layers)]
    sides = [series, *([other] if other is not None else [])]
    grids = []
    for side in sides:
        empty = np.full(len(side.numbers), np.nan)
        values = side.measures["change"]
        rows = [values[side.layers.index(name)] if name in side.layers else empty for name in names]
        grids.append(np.array(rows))
    figure, panels = _maps(grids, [side.numbers for side in sides], [_gap_places(side) for side in sides], names,
                           "relative change", series.unit)  # fmt: skip  # a row of arguments
    for axes, side in zip(panels, sides, strict=True):
        axes.set_title(side.name if other is not None else "")
        marked = [one for one in side.outliers() if one.layer in names]
        if marked:
            size = 6 if len(names) <= LABELS else 3
            at = [_column(side, side.numbers.index(one.number)) for one in marked]
            rows = [names.index(one.layer) for one in marked]
            axes.plot(at, rows, "x", color="white", markersize=size + 1, markeredgewidth=size / 2)
            axes.plot(at, rows, "x", color=COLOURS[1], markersize=size, markeredgewidth=size / 4)
    if any(side.outliers() for side in sides):
        panels[0].set_xlabel(panels[0].get_xlabel() + "; ×: outlier")
    return figure


def distance(pair: SeriesComparison | None, unit: str = "epoch", layers: Sequence[str] | None = None) -> Figure | None:
    """Draw a heat map, layer × number, of the distance between two series.

    Args:
        pair: of the two series; if None (there is one series only), nothing is drawn, and None returned.
        unit: what the numbers count.
        layers: to draw; None for all.

    Raises:
        BadInput: the series have none of these layers in common.
    """
    return None if pair is None else _distance(pair, unit, layers)


@styled
def _distance(pair: SeriesComparison, unit: str, layers: Sequence[str] | None) -> Figure:
    places = positions(pair.layers, layers)
    names = [pair.layers[at] for at in places]
    figure, _ = _maps([pair.distances[places]], [pair.numbers], [[]], names, "distance, relative to size", unit)
    return figure


def _gap_places(series: Series) -> list[int]:
    """Return the columns that follow a gap."""
    return [next(place for place, n in enumerate(series.numbers) if n > last) for _, last in series.gaps]


def _column(series: Series, place: int) -> int:
    return place + sum(gap <= place for gap in _gap_places(series))


def _maps(
    grids: Sequence[np.ndarray],
    numbers: Sequence[Sequence[int]],
    gaps: Sequence[Sequence[int]],
    names: Sequence[str],
    label: str,
    unit: str,
) -> tuple[Figure, Sequence[Axes]]:
    """Draw heat maps side by side on one logarithmic scale: a column for each number, an empty one for each gap.

    Args:
        grids: values of each map  # (layers, numbers)
        numbers: of the columns of each map.
        gaps: for each map, the columns that follow a gap.
        names: of the layers.
        label: of the scale.
        unit: what the numbers count.
    """
    count = len(names)
    height = max(2.4, 1.3 + 0.2 * min(count, LABELS))
    short = shortened(names) if count > 1 else [cut(names[0])]
    left = (0.25 + 0.066 * max(map(len, short))) / WIDTH
    figure, panels = plt.subplots(1, len(grids), figsize=(WIDTH, height), sharey=True, squeeze=False, layout="none")
    figure.subplots_adjust(left, 0.55 / height, 0.85, 1 - 0.3 / height, wspace=0.06)
    every = np.concatenate([grid.ravel() for grid in grids])
    positive = every[np.isfinite(every) & (every > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    norm = LogNorm(low, high if high > low * 1.01 else low * 10)
    image: AxesImage | None = None
    for axes, grid, at, before in zip(panels[0], grids, numbers, gaps, strict=True):
        wide = np.insert(grid, before, np.nan, axis=1)
        labels = list(np.insert(np.array([str(n) for n in at], dtype=object), before, "…"))
        # What has no place on a logarithmic scale: unknown is blank, equal grey, not a number red.
        kinds = np.where(np.isinf(wide), 2, np.where(wide == 0, 1, 0))
        plain = ListedColormap([to_rgba(colour) for colour in ("none", EQUAL, NOT_A_NUMBER)])
        axes.imshow(kinds, aspect="auto", interpolation="nearest", cmap=plain, vmin=0, vmax=2)
        scaled = np.ma.masked_where(~np.isfinite(wide) | (wide == 0), wide)
        colours = plt.get_cmap(SIZES).with_extremes(bad=(0, 0, 0, 0))
        image = axes.imshow(scaled, aspect="auto", interpolation="nearest", cmap=colours, norm=norm)
        step = -(-len(labels) // (16 // len(grids)))
        ticks = range(0, len(labels), step)
        axes.set_xticks(list(ticks), [labels[tick] for tick in ticks])
        axes.set_xlabel(unit)
    first = panels[0][0]
    red = ", red: not a number" if np.isinf(every).any() else ""
    first.set_xlabel(f"{unit} (grey: byte-identical, blank: unknown{red})" if len(grids) == 1 else unit)
    shown = range(0, count, -(-count // LABELS))
    first.set_yticks(list(shown), [short[row] for row in shown], fontsize=8)
    if image is not None and positive.size:
        figure.colorbar(image, cax=figure.add_axes((0.87, 0.55 / height, 0.02, 1 - 0.85 / height)), label=label)
    return figure, panels[0]
