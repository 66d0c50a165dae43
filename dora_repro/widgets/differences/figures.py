"""Pictures of one tensor of two sides, element by element, and of one DoRA layer, row by row.

A picture shows elements as they are: where a tensor is too large for one pixel each, a pixel is that element of its
block which differs most, on all three images. Axes are placed by hand, since a layout that is solved takes longer than
all the rest, and a slider waits for it. matplotlib is an extra (`notebooks`).
"""

from collections.abc import Mapping, Sequence

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
from dora_repro.show.figures import COLOURS, DASHES, EQUAL, WIDTH, styled

FEW = 200  # rows of a layer that can each have a mark
NO_NUMBER = "#C00000"
TITLE = {"loc": "left", "y": 1.0}  # a given height: none is searched for, which takes long


@styled
def both_and_difference(
    expected: Tensor, actual: Tensor, title: str = "", names: tuple[str, str] = NAMES, most: int = MOST
) -> Figure:
    """A tensor of either side, and their absolute difference on a scale of logarithms; grey is equal by bytes.

    Raises:
        BadInput: they have no elements side by side.
    """
    found = images(expected, actual, most)
    rows, columns = found.shape
    tall = rows > 2.5 * columns  # drawn lying down: three beside each other would be slivers
    stacked = tall or columns > 2.5 * rows
    figure, panels, bars = _stacked() if stacked else _beside(columns / rows)
    drawn = (found.expected, found.actual, np.ma.masked_where(~found.differs, found.apart))
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    if tall:
        drawn, extent = tuple(image.T for image in drawn), (-0.5, rows - 0.5, columns - 0.5, -0.5)
    looks = _side_colours(found)
    for axes, name, image in zip(panels[:2], names, drawn[:2], strict=True):
        side = axes.imshow(image, aspect="auto", interpolation="nearest", extent=extent, **looks)
        axes.set_title(name, **TITLE)
    panels[2].set_title(_difference_title(found), **TITLE)
    shown = _draw_apart(panels[2], drawn[2], extent)
    lying = "vertical" if stacked else "horizontal"
    figure.colorbar(side, cax=bars[0], orientation=lying)
    bars[1].set_visible(shown is not None)
    if shown is not None:
        _log_bar(figure, shown, bars[1], lying)
    _label(panels, found, tall, stacked)
    if title:
        figure.suptitle(title, fontsize=10, y=0.99)
    return figure


def _beside(ratio: float) -> tuple[Figure, list[Axes], list[Axes]]:
    """Three panels side by side with one bar under the sides and one under the difference."""
    side = 2.2  # inches
    height = min(max(side / ratio, 1.2), 3.6)
    figure = plt.figure(figsize=(WIDTH, height + 1.75), layout="none")
    bottom, tall = 1.05 / (height + 1.75), height / (height + 1.75)
    panels = [figure.add_axes((left, bottom, 0.27, tall)) for left in (0.07, 0.385, 0.70)]
    bars = [figure.add_axes((left, 0.42 / (height + 1.75), wide, 0.025)) for left, wide in ((0.07, 0.54), (0.74, 0.19))]
    return figure, panels, bars


def _stacked() -> tuple[Figure, list[Axes], list[Axes]]:
    """Three panels above each other with one bar beside the sides and one beside the difference."""
    figure = plt.figure(figsize=(WIDTH, 4.6), layout="none")
    panels = [figure.add_axes((0.08, bottom, 0.78, 0.19)) for bottom in (0.69, 0.41, 0.13)]
    bars = [figure.add_axes((0.885, bottom, 0.02, tall)) for bottom, tall in ((0.41, 0.47), (0.13, 0.19))]
    return figure, panels, bars


def _side_colours(found: Images) -> dict[str, object]:
    """One scale for both sides: from least to most where all have one sign, else even around zero."""
    values = np.concatenate([found.expected.ravel(), found.actual.ravel()])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    if low < 0 < high:
        most = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "cividis", "vmin": low, "vmax": high if high > low else low + (abs(low) or 1.0)}


def _draw_apart(axes: Axes, image: np.ma.MaskedArray, extent: tuple[float, ...]) -> AxesImage | None:
    """The difference: grey where equal, red where it is no number; None where there is none to be scaled."""
    axes.set_facecolor(EQUAL)
    no_number = np.ma.masked_where(np.ma.getmaskarray(image) | np.isfinite(image.data), np.ones(image.shape))
    sizes = np.ma.masked_invalid(image)
    positive = sizes.compressed()[sizes.compressed() > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1e-300, 1.0)
    # Bytes that differ while the numbers are equal have no place on the scale: the lowest colour stands for them.
    shown = axes.imshow(
        np.ma.maximum(sizes, low), aspect="auto", interpolation="nearest", cmap="viridis", extent=extent,
        norm=LogNorm(low, high if high > low else low * 10),
    )  # fmt: skip
    if no_number.count():
        red = ListedColormap([NO_NUMBER])
        axes.imshow(no_number, aspect="auto", interpolation="nearest", cmap=red, extent=extent, vmin=0, vmax=1)
    return shown if len(positive) else None


def _log_bar(figure: Figure, shown: AxesImage, axes: Axes, lying: str) -> None:
    bar = figure.colorbar(shown, cax=axes, orientation=lying)
    along = bar.ax.yaxis if lying == "vertical" else bar.ax.xaxis
    _log_ticks(along, shown.norm.vmin, shown.norm.vmax)


def _log_ticks(along: Axis, low: float, high: float) -> None:
    """Least, middle and most, in plain text: a range of less than a power of ten has ticks, too, and they draw fast."""
    places = np.geomspace(low, high, 3) if high > low else np.array([low])
    along.set_ticks(places, [f"{place:.1e}" for place in places])
    along.set_minor_locator(NullLocator())


def _difference_title(found: Images) -> str:
    if not found.differs.any():
        return "difference: none"
    if (found.differs & ~np.isfinite(found.apart)).any():
        return "difference (red: no number)"
    return "difference" if found.apart.any() else "difference: in bytes alone"


def _whole(most: int, count: int = 2) -> Locator:
    """At most so many ticks, at whole numbers; one where there is one row."""
    return MaxNLocator(integer=True, nbins=most, min_n_ticks=1) if count > 1 else FixedLocator([0])


def _label(panels: Sequence[Axes], found: Images, tall: bool, stacked: bool) -> None:
    across, down = ("row", "column") if tall else ("column", "row")
    notes = [found.folded] if found.folded else []
    if found.block != (1, 1):
        notes.append(f"a pixel is the worst of {found.block[0]} × {found.block[1]} elements")
    sizes = found.shape[::-1] if tall else found.shape  # rows, columns as drawn
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
    """How many elements of one leaf are how many ULP apart, in powers of two.

    Raises:
        BadInput: they have no elements side by side, or are no floating-point numbers.
    """
    reason = why_no_picture(expected, actual)
    if reason or not expected.is_floating_point():
        raise BadInput(f"no distances in ULP: {reason or f'{expected.dtype} is no floating-point dtype'}")
    counts = figures.ulp_counts(Drift.between({0: {title: expected}}, {0: {title: actual}}), 0)
    figure = plt.figure(figsize=(WIDTH, 2.9), layout="none")
    axes = figure.add_axes((0.1, 0.19, 0.87, 0.68))
    colours = [EQUAL, *[COLOURS[0]] * (len(counts) - 1)]
    axes.bar(range(len(counts)), list(counts.values()), color=colours, edgecolor="#808080", linewidth=0.5)
    every = -(-len(counts) // 9)
    axes.set_xticks(range(0, len(counts), every), list(counts)[::every])
    axes.set_xlim(-0.6, max(len(counts), 4) - 0.4)
    axes.set_yscale("symlog", linthresh=1)
    powers = [10**power for power in range(len(str(max(counts.values()))))]
    axes.yaxis.set_ticks([0, *powers], [f"{number:,}" for number in (0, *powers)])
    axes.set_ylim(0, max(counts.values()) * 1.4)
    axes.set_ylabel("elements")
    axes.set_xlabel("distance in ULP")
    axes.set_title(title, **TITLE)
    return figure


@styled
def dora_rows(layer: Layer, names: tuple[str, str] = NAMES) -> Figure:
    """A DoRA layer row by row: lengths of both sides, how far directions turned, how far the weight is off, and where.

    Rows that are equal have no place on a scale of logarithms: they leave a gap.
    """
    figure = plt.figure(figsize=(WIDTH, 6.4), layout="none")
    panels = [figure.add_axes((0.12, bottom, 0.76, 0.17)) for bottom in (0.79, 0.555, 0.32, 0.085)]
    what = "weight" if layer.whole else "low-rank update"
    _draw_rows(panels[0], dict(zip(names, layer.lengths, strict=True)), "length m of each row", log=False)
    turned = f"direction{'' if layer.whole else ' of the update'}, turned by 1 − cosine"
    _draw_rows(panels[1], {"": layer.turned}, turned)
    size = np.abs(layer.lengths[0])
    gap = np.divide(np.abs(layer.lengths[1] - layer.lengths[0]), size, out=np.full_like(size, np.nan), where=size > 0)
    _draw_rows(panels[2], {what: layer.off, "length m alone": gap}, "off by, as a share of the row")
    _draw_weight(figure, panels[3], layer, what)
    for axes in panels:
        axes.set_xlim(-0.5, len(layer.turned) - 0.5)
        axes.xaxis.set_major_locator(_whole(10, len(layer.turned)) if axes is panels[3] else NullLocator())
    panels[3].set_xlabel("row of the layer's weight")
    return figure


def _draw_rows(axes: Axes, lines: Mapping[str, np.ndarray], title: str, log: bool = True) -> None:
    """One value a row for each name; the second line is drawn over the first, thinner and dashed."""
    thin = 1.0 if len(next(iter(lines.values()))) <= FEW else 0.35
    marks = {"marker": "o", "markersize": 2.5} if log and thin == 1.0 else {}
    shown = {name: np.where(values > 0, values, np.nan) if log else values for name, values in lines.items()}
    for index, (name, values) in enumerate(shown.items()):
        line = {"color": COLOURS[index], "linestyle": DASHES[index], "linewidth": thin * (2.6 - 1.4 * index)}
        axes.plot(range(len(values)), values, label=name, **line, **marks)
    finite = np.concatenate(list(shown.values()))
    finite = finite[np.isfinite(finite)]
    if log and not len(finite):
        axes.set_yticks([])
        title += ": equal in all rows"
    elif log:
        axes.set_yscale("log")
        axes.set_ylim(finite.min() / 1.5, finite.max() * 1.5)
        _log_ticks(axes.yaxis, finite.min(), finite.max())
    axes.set_title(title, **TITLE)
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0)


def _draw_weight(figure: Figure, axes: Axes, layer: Layer, what: str) -> None:
    """|difference| of the weights, rows of the layer along the x-axis as in the panels above."""
    off = np.abs(layer.weights[1] - layer.weights[0]).T  # (in, out)
    extent = (-0.5, off.shape[1] - 0.5, off.shape[0] - 0.5, -0.5)
    rows, columns = off.shape
    block = (-(-rows // MOST), -(-columns // MOST))
    small = blocks(off.ravel(), rows, columns, block, 0.0).max(axis=-1)
    shown = _draw_apart(axes, np.ma.masked_where(small == 0, small), extent)
    axes.set_title(f"{what}: absolute difference" + ("" if shown is not None else ": none"), **TITLE)
    axes.set_ylabel("column")
    axes.yaxis.set_major_locator(_whole(4, rows))
    if shown is not None:
        place = axes.get_position()
        _log_bar(figure, shown, figure.add_axes((0.895, place.y0, 0.02, place.height)), "vertical")
