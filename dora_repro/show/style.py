"""How the kit's figures look: one style, one palette, and no sheet behind them.

A figure has no background of its own: it lies on the page that shows it, white or dark, kept or live. Text and axes are
of one grey that reads on both, and byte-identical elements are veiled in grey, which no colour map here contains. The
colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people tell apart; lines also
differ in their dashes. matplotlib is an extra (`notebooks`).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeAlias

import numpy as np

from dora_repro.errors import MissingExtra
from dora_repro.printable import printable

try:
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    from matplotlib.text import Text
except ImportError as error:
    raise MissingExtra("matplotlib", "notebooks", "a figure") from error

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # younger than the oldest matplotlib that is supported

Dash: TypeAlias = str | tuple[int, tuple[int, ...]]
P = ParamSpec("P")

WIDTH = 8.0  # inches, at 100 dots an inch: as wide as a notebook's column
INK = "#7E7E7E"  # contrast 4.0 : 1 on white; in JupyterLab's dark theme 4.6 : 1 on a cell, 3.9 : 1 in a tab
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SIZES = "viridis"  # colour map of differences that have no sign
SIGNED = "RdBu_r"  # of values of both signs
UNSIGNED = "cividis"  # of values of one sign
EQUAL = (0.5, 0.5, 0.5, 0.25)  # byte-identical: light grey on a white page, dark grey on a dark one
NOT_A_NUMBER = "#C00000"

_STYLE: "dict[RcKeyType, str | float | bool]" = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Scale:
    """The colours of values.

    Attributes:
        colours: name of the colour map.
        low: value at its lower end.
        high: value at its upper end.
    """

    colours: str
    low: float
    high: float


def scale_of(*sides: np.ndarray) -> Scale:
    """Choose one scale for several images: from least to most if all values have one sign, else symmetric about zero.

    Args:
        sides: values of each image; those that are not finite have no place on a scale.
    """
    values = np.concatenate([side.ravel() for side in sides])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low < 0 < high:
        most = max(-low, high)
        return Scale(SIGNED, -most, most)
    return Scale(UNSIGNED, low, high if high > low else low + (abs(low) or 1.0))


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that makes a figure: it draws in the kit's style, whatever the user's own is, and closes it.

    A closed figure is not shown a second time at the end of a cell, and takes no memory once it is no longer used. Its
    words are names that others chose: a dollar in them begins no formula, and what would not be seen is escaped.

    Args:
        draw: makes the figure.
    """

    @functools.wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> Figure:
        with plt.rc_context({**plt.rcParamsDefault, "backend": plt.rcParams["backend"], **_STYLE}):
            figure = draw(*arguments, **options)
            for axes in figure.axes:  # some ticks are made when the figure is saved, outside this style
                axes.tick_params(which="both", color=INK, labelcolor=INK)
            for text in figure.findobj(Text):
                if text.get_text():  # the numbers at ticks, which may be formulas, are not there yet
                    text.set_text(printable(text.get_text()))
                    text.set_parse_math(False)
        plt.close(figure)
        return figure

    return drawn
