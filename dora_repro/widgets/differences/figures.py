"""Figures of one tensor of two sides, element by element, and of one DoRA layer, row by row.

Elements are drawn as they are: where a tensor is too large for one pixel each, a pixel is the element of its block that
differs most, in all three images. Axes are placed by hand, since solving a layout takes longer than drawing, and a
slider waits for it. matplotlib is an extra (`notebooks`).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, Locator, MaxNLocator, NullLocator
from torch import Tensor

from dora_repro.comparison.drift import Drift
from dora_repro.comparison.elements import MOST, Images, blocks, images, why_no_picture
from dora_repro.comparison.stepwise import NAMES
from dora_repro.dora.layers import Layer
from dora_repro.errors import BadInput
from dora_repro.show import figures
from dora_repro.show.style import COLOURS, DASHES, EQUAL, INK, NOT_A_NUMBER, SIZES, WIDTH, scale_of, styled

FEW = 200  # rows of a layer that can each have a mark

Extent: TypeAlias = tuple[float, float, float, float]
Orientation: TypeAlias = Literal["vertical", "horizontal"]


@styled
def both_and_difference(
    expected: Tensor, actual: Tensor, title: str = "", names: tuple[str, str] = NAMES, most: int = MOST
) -> Figure:
    """Draw a tensor of either side, and their absolute difference on a logarithmic scale; grey is byte-identical.

    Args:
        expected: the tensor of the first side.
        actual: that of the second side, of the same dtype and shape.
        title: of the figure.
        names: of the sides.
        most: pixels of an image in each direction.

    Raises:
        BadInput: the two have no elements side by side.
    """
    pair = images(expected, actual, most)
    rows, columns = pair.shape
    tall = rows > 2.5 * columns  # drawn lying down: three side by side would be slivers
    stacked = tall or columns > 2.5 * rows
    figure, panels, bars = _stacked() if stacked else _beside(columns / rows)
    one, other, difference = pair.expected, pair.actual, np.ma.masked_where(~pair.differs, pair.difference)
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    if tall:
        one, other, difference = one.T, other.T, difference.T
        extent = (-0.5, rows - 0.5, columns - 0.5, -0.5)
    scale = scale_of(pair.expected, pair.actual)
    for axes, name, image in zip(panels[:2], names, (one, other), strict=True):
        side = axes.imshow(
            image, aspect="auto", interpolation="nearest", extent=extent, cmap=scale.colours, vmin=scale.low,
            vmax=scale.high,
        )  # fmt: skip  # a row of arguments
        _title(axes, name)
    _title(panels[2], _difference_title(pair))
    shown = _draw_difference(panels[2], difference, extent)
    orientation: Orientation = "vertical" if stacked else "horizontal"
    figure.colorbar(side, cax=bars[0], orientation=orientation)
    bars[1].set_visible(shown is not None)
    if shown is not None:
        _log_bar(figure, shown, bars[1], orientation)
    _label(panels, pair, tall, stacked)
    if title:
        figure.suptitle(title, fontsize=10, y=0.99)
    return figure


def _title(axes: Axes, text: str) -> None:
    """Set a title at a given height: to find one takes long."""
    axes.set_title(text, loc="left", y=1.0)


def _beside(ratio: float) -> tuple[Figure, list[Axes], list[Axes]]:
    """Make three panels side by side, with a bar under the sides and one under the difference."""
    side = 2.2  # inches
    height = min(max(side / ratio, 1.2), 3.6)
    figure = plt.figure(figsize=(WIDTH, height + 1.75), layout="none")
    bottom, tall = 1.05 / (height + 1.75), height / (height + 1.75)
    panels = [figure.add_axes((left, bottom, 0.27, tall)) for left in (0.07, 0.385, 0.70)]
    bars = [figure.add_axes((left, 0.42 / (height + 1.75), wide, 0.025)) for left, wide in ((0.07, 0.54), (0.74, 0.19))]
    return figure, panels, bars


def _stacked() -> tuple[Figure, list[Axes], list[Axes]]:
    """Make three panels above each other, with a bar beside the sides and one beside the difference."""
    figure = plt.figure(figsize=(WIDTH, 4.6), layout="none")
    panels = [figure.add_axes((0.08, bottom, 0.78, 0.19)) for bottom in (0.69, 0.41, 0.13)]
    bars = [figure.add_axes((0.885, bottom, 0.02, tall)) for bottom, tall in ((0.41, 0.47), (0.13, 0.19))]
    return figure, panels, bars


def _draw_difference(axes: Axes, image: np.ma.MaskedArray, extent: Extent) -> AxesImage | None:
    """Draw a difference: grey where byte-identical, red where not a number.

    Returns:
        The image that has a scale; None if no element has a size.
    """
    axes.set_facecolor(EQUAL)
    no_number = np.ma.masked_where(np.ma.getmaskarray(image) | np.isfinite(image.data), np.ones(image.shape))
    sizes = np.ma.masked_invalid(image)
    positive = sizes.compressed()[sizes.compressed() > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1e-300, 1.0)
    # Bytes that differ where the numbers are equal (−0, +0) have no place on the scale: they get its lowest colour.
    shown = axes.imshow(
        np.ma.maximum(sizes, low), aspect="auto", interpolation="nearest", cmap=SIZES, extent=extent,
        norm=LogNorm(low, high if high > low else low * 10),
    )  # fmt: skip
    if no_number.count():
        red = ListedColormap([NOT_A_NUMBER])
        axes.imshow(no_number, aspect="auto", interpolation="nearest", cmap=red, extent=extent, vmin=0, vmax=1)
    return shown if len(positive) else None


def _log_bar(figure: Figure, shown: AxesImage, axes: Axes, orientation: Orientation) -> None:
    bar = figure.colorbar(shown, cax=axes, orientation=orientation)
    low, high = shown.get_clim()
    _log_ticks(bar.ax.yaxis if orientation == "vertical" else bar.ax.xaxis, float(low or 0), float(high or 0))


def _log_ticks(axis: Axis, low: float, high: float) -> None:
    """Label least, middle and most: a range within one power of ten has ticks, too, and they draw fast."""
    places = np.geomspace(low, high, 3) if high > low else np.array([low])
    axis.set_ticks(list(places), [f"{place:.1e}" for place in places])
    axis.set_minor_locator(NullLocator())


def _difference_title(pair: Images) -> str:
    if not pair.differs.any():
        return "difference: none"
    if (pair.differs & ~np.isfinite(pair.difference)).any():
        return "difference (red: not a number)"
    return "difference" if pair.difference.any() else "difference: in bytes only"


def _whole(most: int, count: int = 2) -> Locator:
    """Place at most `most` ticks, at whole numbers; a single one if there is one row."""
    return MaxNLocator(integer=True, nbins=most, min_n_ticks=1) if count > 1 else FixedLocator([0])


def _label(panels: Sequence[Axes], pair: Images, tall: bool, stacked: bool) -> None:
    across, down = ("row", "column") if tall else ("column", "row")
    notes = [pair.folded] if pair.folded else []
    if pair.block != (1, 1):
        notes.append(f"each pixel is the worst of {pair.block[0]} × {pair.block[1]} elements")
    sizes = pair.shape[::-1] if tall else pair.shape  # rows, columns as drawn
    for place, axes in enumerate(panels):
        named_below, named_left = not stacked or place == 2, stacked or not place
        # Ticks that nobody reads are left out: they are most of the time that drawing takes.
        axes.xaxis.set_major_locator(_whole(8 if stacked else 4) if named_below else NullLocator())
        axes.yaxis.set_major_locator(_whole(4, sizes[0]) if named_left else NullLocator())
        axes.set(xlabel=across if named_below else "", ylabel=down if named_left else "")
    if stacked:
        panels[2].set_xlabel(f"{across}  ({'; '.join(notes)})" if notes else across)
    elif notes:
        panels[0].figure.text(0.07, 0.01, "; ".join(notes), fontsize=8)


@styled
def leaf_ulp_histogram(expected: Tensor, actual: Tensor, title: str = "") -> Figure:
    """Draw a histogram of the elements of one leaf by their distance in ULP, in powers of two.

    Args:
        expected: the tensor of the first side.
        actual: that of the second side, of the same dtype and shape.
        title: of the figure.

    Raises:
        BadInput: the two have no elements side by side, or no floating-point dtype.
    """
    reason = why_no_picture(expected, actual)
    if reason or not expected.is_floating_point():
        raise BadInput(f"no distances in ULP: {reason or f'{expected.dtype} is not a floating-point dtype'}")
    counts = figures.ulp_counts(Drift.between({0: {title: expected}}, {0: {title: actual}}), 0)
    figure = plt.figure(figsize=(WIDTH, 2.9), layout="none")
    axes = figure.add_axes((0.1, 0.19, 0.87, 0.68))
    colours = [EQUAL, *[COLOURS[0]] * (len(counts) - 1)]
    axes.bar(range(len(counts)), list(counts.values()), color=colours, edgecolor=INK, linewidth=0.5)
    every = -(-len(counts) // 9)
    axes.set_xticks(range(0, len(counts), every), list(counts)[::every])
    axes.set_xlim(-0.6, max(len(counts), 4) - 0.4)
    axes.set_yscale("symlog", linthresh=1)
    powers = [10**power for power in range(len(str(max(counts.values()))))]
    axes.yaxis.set_ticks([0, *powers], [f"{number:,}" for number in (0, *powers)])
    axes.set_ylim(0, max(counts.values()) * 1.4)
    axes.set_ylabel("elements")
    axes.set_xlabel("distance in ULP")
    _title(axes, title)
    return figure


@styled
def dora_rows(layer: Layer, names: tuple[str, str] = NAMES) -> Figure:
    """Draw a DoRA layer row by row: lengths of both sides, rotation of directions, deviation of the weight, and where.

    Rows that are equal have no place on a logarithmic scale: they leave a gap.

    Args:
        layer: of both sides.
        names: of the sides.
    """
    figure = plt.figure(figsize=(WIDTH, 6.4), layout="none")
    panels = [figure.add_axes((0.12, bottom, 0.76, 0.17)) for bottom in (0.79, 0.555, 0.32, 0.085)]
    what = "weight" if layer.has_directions else "low-rank update"
    _draw_rows(panels[0], dict(zip(names, layer.magnitudes, strict=True)), "length m of each row", log=False)
    rotation = f"rotation of the direction{'' if layer.has_directions else ' of the update'}, 1 − cosine"
    _draw_rows(panels[1], {"": layer.rotations}, rotation)
    expected, actual = layer.magnitudes
    size = np.abs(expected)
    gap = np.divide(np.abs(actual - expected), size, out=np.full_like(size, np.nan), where=size > 0)
    _draw_rows(panels[2], {what: layer.relative_distances, "length m alone": gap}, "deviation, as a share of the row")
    _draw_weight(figure, panels[3], layer, what)
    for axes in panels:
        axes.set_xlim(-0.5, len(layer.rotations) - 0.5)
        axes.xaxis.set_major_locator(_whole(10, len(layer.rotations)) if axes is panels[3] else NullLocator())
    panels[3].set_xlabel("row of the layer's weight")
    return figure


def _draw_rows(axes: Axes, lines: Mapping[str, np.ndarray], title: str, log: bool = True) -> None:
    """Draw one value a row for each name; the second line lies over the first, thinner and dashed."""
    few = len(next(iter(lines.values()))) <= FEW
    thin = 1.0 if few else 0.35
    shown = {name: np.where(values > 0, values, np.nan) if log else values for name, values in lines.items()}
    for index, (name, values) in enumerate(shown.items()):
        axes.plot(
            range(len(values)), values, label=name, marker="o" if log and few else "", markersize=2.5,
            color=COLOURS[index], linestyle=DASHES[index], linewidth=thin * (2.6 - 1.4 * index),
        )  # fmt: skip  # a row of arguments
    finite = np.concatenate(list(shown.values()))
    finite = finite[np.isfinite(finite)]
    if log and not len(finite):
        axes.set_yticks([])
        title += ": equal in all rows"
    elif log:
        axes.set_yscale("log")
        axes.set_ylim(finite.min() / 1.5, finite.max() * 1.5)
        _log_ticks(axes.yaxis, finite.min(), finite.max())
    _title(axes, title)
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0)


def _draw_weight(figure: Figure, axes: Axes, layer: Layer, what: str) -> None:
    """Draw |difference| of the weights, rows of the layer along the x-axis as in the panels above."""
    off = np.abs(layer.weights[1] - layer.weights[0]).T  # (in, out)
    extent = (-0.5, off.shape[1] - 0.5, off.shape[0] - 0.5, -0.5)
    rows, columns = off.shape
    block = (-(-rows // MOST), -(-columns // MOST))
    small = blocks(off.ravel(), rows, columns, block, 0.0).max(axis=-1)
    shown = _draw_difference(axes, np.ma.masked_where(small == 0, small), extent)
    _title(axes, f"{what}: absolute difference" + ("" if shown is not None else ": none"))
    axes.set_ylabel("column")
    axes.yaxis.set_major_locator(_whole(4, rows))
    if shown is not None:
        place = axes.get_position()
        _log_bar(figure, shown, figure.add_axes((0.895, place.y0, 0.02, place.height)), "vertical")
