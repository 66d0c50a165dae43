"""Where exactly two sides differ, to be explored in JupyterLab: a step, a leaf, and four views of it.

Words and numbers come from `comparison` and `dora/layers.py`, figures from `figures.py`; here are the controls alone.
What has been measured or drawn once is cached.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from matplotlib.figure import Figure
from torch import Tensor

from dora_repro.checks.report import Report
from dora_repro.comparison import stepwise
from dora_repro.comparison.elements import why_no_picture, worst_elements
from dora_repro.comparison.stepwise import ORDERS, Sides
from dora_repro.contracts import Value
from dora_repro.dora.layers import Layer, dora_layer, layer_text
from dora_repro.show.html import html_table
from dora_repro.show.names import shortened
from dora_repro.widgets.differences import figures, text
from dora_repro.widgets.panel import Panel, image_view, row, text_html, widgets
from dora_repro.wording import counted

VIEWS = ("side by side", "ULP histogram", "worst elements", "DoRA layer")
WORST = 10
CACHED = 64  # views

Base: TypeAlias = Mapping[str, Value] | str | Path


class DifferenceExplorer(Panel):
    """Two sides leaf by leaf: which differ, by how much, and what it means for a DoRA layer.

    Args:
        expected: a snapshot, a checkpoint file, a mapping path -> tensor, or a mapping step -> any of these.
        actual: likewise, to be compared with `expected`.
        names: maps a path to the name to show.
        sides: what the two are called.
        base: frozen directions D of DoRA layers, which neither side holds: a snapshot, a file or a mapping by path.
        alpha: of the DoRA layers, if the sides do not hold it.

    Raises:
        BadInput: a side is none of these or cannot be read; the two have no step or no leaf in common.
    """

    def __init__(
        self,
        expected: Value,
        actual: Value,
        names: Callable[[str], str] = str,
        *,
        sides: tuple[str, str] = stepwise.NAMES,
        base: Base | None = None,
        alpha: float = 16.0,
    ):
        # What can fail does so before there is a widget that would have to be closed.
        self._sides = Sides(expected, actual, sides)
        self._base, self._alpha = stepwise.leaves_of(base or {}), alpha
        paths = list(dict.fromkeys(leaf for step in self._sides.steps for leaf in self._sides.leaves(step)))
        self._names = dict(zip(paths, shortened([names(path) for path in paths]), strict=True))
        self._drawn: dict[tuple[int | None, str | None, str], tuple[str, bytes]] = {}
        self._filling = False
        super().__init__()
        step, leaf = self._sides.first or (self._sides.steps[-1], self._sides.leaves(self._sides.steps[-1])[0])
        wide = {"description_width": "4em"}
        several = len(self._sides.steps) > 1
        self.step = widgets.SelectionSlider(
            options=[(str(step), step) for step in self._sides.steps if step is not None] or [("", 0)],
            value=step or 0, description="step", style=wide, continuous_update=False,
            layout=widgets.Layout(display=None if several else "none"),
        )  # fmt: skip  # a row of arguments
        self.search = widgets.Text(description="search", placeholder="part of a name", style=wide)
        self.order = widgets.Dropdown(options=ORDERS, value="given", description="order", style=wide)
        self.view = widgets.Dropdown(options=VIEWS, description="view", style=wide)
        self.leaf = widgets.Select(description="leaf", rows=8, style=wide, layout=widgets.Layout(width="780px"))
        self.details, self.picture = widgets.HTML(), image_view()
        self.show(row(self.step, self.search, self.order, self.view), self.leaf, self.details, self.picture)
        self._fill(leaf)
        for control in (self.step, self.search, self.order):
            self.on_change(control, self._fill)
        for control in (self.leaf, self.view):
            self.on_change(control, self._redraw)
        self.guarded(self._redraw)

    @classmethod
    def of(
        cls,
        report: Report,
        names: Callable[[str], str] = str,
        *,
        sides: tuple[str, str] | None = None,
        base: Base | None = None,
        alpha: float = 16.0,
    ) -> "DifferenceExplorer":
        """Explore both runs of a report, step by step.

        Args:
            report: of a check that was given `values`.
            names: maps a path to the name to show.
            sides: what the two are called; by default `uninterrupted` and `resumed`.
            base: as for the class.
            alpha: as for the class.

        Raises:
            BadInput: the report holds no values.
        """
        drift = text.drift_of(report)
        return cls(drift.expected, drift.actual, names, sides=sides or text.RUNS, base=base, alpha=alpha)

    @property
    def _step(self) -> int | None:
        """The slider cannot stand at None."""
        return None if self._sides.steps == (None,) else self.step.value

    def _name(self, leaf: str) -> str:
        return self._names[leaf]

    def _fill(self, chosen: str | None = None) -> None:
        """List the leaves of the step that match the search, and keep the chosen one if it is among them."""
        step = self._step
        chosen = chosen or self.leaf.value
        leaves = self._sides.ordered(step, self.order.value, self.search.value, self._name)
        self._filling = True  # setting options chooses the first one, which is not to be drawn
        try:
            self.leaf.options = [(text.label(self._sides, step, leaf, self._name(leaf)), leaf) for leaf in leaves]
            self.leaf.value = chosen if chosen in leaves else next(iter(leaves), None)
        finally:
            self._filling = False
        self._redraw()

    def _redraw(self) -> None:
        if self._filling:
            return
        step, leaf, view = self._step, self.leaf.value, self.view.value
        words = text.summary(self._sides, step, leaf, self._name)
        if leaf is None:
            leaves = counted(len(self._sides.leaves(step)), "leaf")
            words += f"\n{self.search.value.strip()!r} is in the name of no leaf: there are {leaves}."
        self.summarize(words)
        if (step, leaf, view) not in self._drawn:
            if len(self._drawn) >= CACHED:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[step, leaf, view] = (
                ("", b"") if leaf is None else render(self._sides, step, leaf, view, self._base, self._alpha)
            )
        self.details.value, self.picture.value = self._drawn[step, leaf, view]
        self.picture.layout.display = None if self.picture.value else "none"

    def __repr__(self) -> str:
        steps = f", {counted(len(self._sides.steps), 'step')}" if len(self._sides.steps) > 1 else ""
        return f"DifferenceExplorer({counted(len(self._names), 'leaf')}{steps})"


def render(
    sides: Sides, step: int | None, leaf: str, view: str, base: Mapping[str, Value] | None = None, alpha: float = 16.0
) -> tuple[str, bytes]:
    """Render one of `VIEWS` of a leaf.

    Args:
        sides: to compare.
        step: to show; None if the sides have no steps.
        leaf: path of the leaf.
        view: one of `VIEWS`.
        base: frozen directions D of DoRA layers, by path.
        alpha: of the DoRA layers, if the sides do not hold it.

    Returns:
        HTML and PNG; either is empty if the view has nothing to show by it.
    """
    if view == "DoRA layer":
        layer = dora_layer(sides, step, leaf, base, alpha)
        if not isinstance(layer, Layer):
            return text_html(layer), b""
        return text_html(layer_text(layer)), _png(figures.dora_rows(layer, sides.names))
    pair = _tensors(sides, step, leaf, view)
    if isinstance(pair, str):
        return text_html(text.values_text(sides, step, leaf, pair)), b""
    if view == "worst elements":
        return worst_html(sides, step, leaf), b""
    title = leaf if step is None else f"{leaf}, step {step}"
    if view == "ULP histogram":
        return "", _png(figures.leaf_ulp_histogram(*pair, title))
    return "", _png(figures.both_and_difference(*pair, title, sides.names))


def _tensors(sides: Sides, step: int | None, leaf: str, view: str) -> tuple[Tensor, Tensor] | str:
    """Return both tensors of a leaf, or why a view cannot show them element by element."""
    expected, actual = sides.values(step, leaf)
    if reason := why_no_picture(expected, actual):
        return reason
    if not isinstance(expected, Tensor) or not isinstance(actual, Tensor):
        raise TypeError(f"{leaf}: {type(expected).__name__} and {type(actual).__name__} are no tensors")
    if not expected.dim():
        return "this is a single number"
    if view == "ULP histogram" and not expected.is_floating_point():
        return f"numbers of {expected.dtype} have no ULP"
    return expected, actual


def worst_html(sides: Sides, step: int | None, leaf: str, count: int = WORST) -> str:
    """Return a table of the elements of a leaf that differ most.

    Args:
        sides: to compare.
        step: to show; None if the sides have no steps.
        leaf: path of the leaf, a tensor on both sides.
        count: of elements, at most.
    """
    pair = _tensors(sides, step, leaf, "worst elements")
    elements = [] if isinstance(pair, str) else worst_elements(*pair, count)
    difference = sides.difference(step, leaf)
    rows = [
        (
            str(list(one.index)), one.expected, one.actual,
            "not a number" if one.difference is None else f"{one.difference:.3e}", one.ulp,
        )
        for one in elements
    ]  # fmt: skip  # a row of cells
    title = f"The {counted(len(rows), 'worst element')} of {leaf}" if rows else f"No element of {leaf} differs"
    total = 0 if difference is None else difference.differing
    return html_table(title, ("index", *sides.names, "difference", "ULP"), rows, total=total)


def _png(figure: Figure) -> bytes:
    """Return a figure as PNG, a little coarser than `html.png`: a slider waits for it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, pil_kwargs={"compress_level": 1})
    return file.getvalue()
