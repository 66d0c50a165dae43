"""Figures of a series of checkpoints: pure functions, each from a `Series` or a `Parting` to a closed `Figure`.

Lines and columns stand for checkpoints that are there; what is missing or could not be read is left white, and a line
breaks there.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dora_repro.errors import BadInput
from dora_repro.series.pairs import Parting
from dora_repro.series.series import MEASURES, Series
from dora_repro.show.figures import COLOURS, DASHES, EQUAL, LABELS, WIDTH, styled
from dora_repro.show.names import cut, shortened

APART = 7  # lines that can each have a colour of their own
LEGEND = 3  # names in a row
_NOT_A_NUMBER = "#B2182B"


def chosen(known: Sequence[str], layers: Sequence[str] | None) -> list[int]:
    """The places of some layers (None: all) among those that are known.

    Raises:
        BadInput: there is no low-rank layer, or none of these.
    """
    found = [at for at, layer in enumerate(known) if layers is None or layer in layers]
    if not found:
        asked = "" if not layers else f" of the {len(layers)} asked for"
        raise BadInput(f"none{asked} of {len(known)} low-rank layers can be drawn: choose layers that the files hold")
    return found


@styled
def courses(series: Series, other: Series | None = None, layers: Sequence[str] | None = None) -> Figure:
    """‖m‖, ‖ΔD‖ and the cosine to the first checkpoint over the numbers; dashed, the same of another series.

    Up to 7 layers have a line each in a colour of its own. Of more, the median and the range are drawn.

    Raises:
        BadInput: there is no such layer.
    """
    names = [series.layers[at] for at in chosen(series.layers, layers)]
    drawn = ("magnitude", "update", "to_first", "to_base")
    shown = [measure for measure in drawn if np.isfinite(series.measures[measure]).any()]
    many = len(names) > APART
    lines = -(-((1 if many else len(names)) + (other is not None)) // LEGEND)
    height = 2.9 + 0.18 * lines
    # Places are set by hand: to find them by drawing takes longer than all the rest.
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
    held = [name for name in names if name in series.layers]
    short = shortened(names) if len(names) > 1 else [cut(names[0])]
    values = series.measures[measure][[series.layers.index(name) for name in held]]  # (layers, numbers)
    colour = COLOURS[6] if which else None
    if many:
        at, rows = _broken(series, values)
        known = ~np.isnan(rows).all(axis=0)
        low, middle, high = np.full((3, len(at)), np.nan)
        low[known], middle[known], high[known] = np.nanpercentile(rows[:, known], (0, 50, 100), axis=0)
        axes.fill_between(at, low, high, color=COLOURS[which], alpha=0.2, linewidth=0)
        label = f"{series.name}: median and range of {len(held)} layers"
        axes.plot(at, middle, color=COLOURS[which], linewidth=2.5, linestyle=DASHES[which], label=label)
        return
    at, rows = _broken(series, values)
    for name, row in zip(held, rows, strict=True):
        place = names.index(name)
        label = f"{series.name} (dashed)" if which and name == held[0] else None if which else short[place]
        style = {"linestyle": DASHES[which], "linewidth": 1.4 if which else 3.0, "color": colour or COLOURS[place]}
        axes.plot(at, row, marker="." if which else "o", markersize=3, label=label, **style)


def _broken(series: Series, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and values with a NaN in each gap, so that no line goes over it.  # (n,), (layers, n)"""
    places = [series.numbers.index(next(n for n in series.numbers if n > last)) for _, last in series.gaps]
    at = np.insert(np.array(series.numbers, float), places, [first for first, _ in series.gaps])
    return at, np.insert(values, places, np.nan, axis=1)


@styled
def changes(series: Series, other: Series | None = None, layers: Sequence[str] | None = None) -> Figure:
    """Layer × number: how far each checkpoint is from the one before, of one series or of two; outliers marked.

    Raises:
        BadInput: there is no such layer.
    """
    names = [series.layers[at] for at in chosen(series.layers, layers)]
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


def apart(parting: Parting | None, unit: str = "epoch", layers: Sequence[str] | None = None) -> Figure | None:
    """Layer × number: how far two series are apart; None where there is one alone.

    Raises:
        BadInput: there is no such layer.
    """
    return None if parting is None else _apart(parting, unit, layers)


@styled
def _apart(parting: Parting, unit: str, layers: Sequence[str] | None) -> Figure:
    places = chosen(parting.layers, layers)
    names = [parting.layers[at] for at in places]
    figure, _ = _maps([parting.sizes[places]], [parting.numbers], [[]], names, "apart, of its size", unit)
    return figure


def _gap_places(series: Series) -> list[int]:
    """Before which columns a gap lies."""
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
    """Heat maps side by side on one logarithmic scale, a column for each number and an empty one for each gap."""
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
    image = None
    for axes, grid, at, before in zip(panels[0], grids, numbers, gaps, strict=True):
        wide = np.insert(grid, before, np.nan, axis=1)
        labels = list(np.insert(np.array([str(n) for n in at], dtype=object), before, "…"))
        # What has no place on a scale of logarithms: unknown is white, equal grey, not a number red.
        kinds = np.where(np.isinf(wide), 2, np.where(wide == 0, 1, 0))
        plain = ListedColormap(["white", EQUAL, _NOT_A_NUMBER])
        axes.imshow(kinds, aspect="auto", interpolation="nearest", cmap=plain, vmin=0, vmax=2)
        scaled = np.ma.masked_where(~np.isfinite(wide) | (wide == 0), wide)
        colours = plt.get_cmap("cividis").with_extremes(bad=(0, 0, 0, 0))
        image = axes.imshow(scaled, aspect="auto", interpolation="nearest", cmap=colours, norm=norm)
        step = -(-len(labels) // (16 // len(grids)))
        ticks = range(0, len(labels), step)
        axes.set_xticks(list(ticks), [labels[tick] for tick in ticks])
        axes.set_xlabel(unit)
    first = panels[0][0]
    red = ", red: not a number" if np.isinf(every).any() else ""
    first.set_xlabel(f"{unit} (grey: equal by bytes, white: unknown{red})" if len(grids) == 1 else unit)
    shown = range(0, count, -(-count // LABELS))
    first.set_yticks(list(shown), [short[row] for row in shown], fontsize=8)
    if positive.size:
        figure.colorbar(image, cax=figure.add_axes((0.87, 0.55 / height, 0.02, 1 - 0.85 / height)), label=label)
    return figure, panels[0]
