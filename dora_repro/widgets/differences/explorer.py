"""Where exactly two sides differ, to be looked through in JupyterLab: a step, a leaf, and four views of it.

The words and numbers are those of `stepwise.py`, `elements.py` and `layers.py`, the pictures those of `figures.py`;
here are the controls alone. What was measured or drawn once is remembered.
"""

import html
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from dora_repro.checks.report import Report
from dora_repro.comparison import stepwise
from dora_repro.comparison.elements import why_no_picture, worst_elements
from dora_repro.comparison.stepwise import ORDERS, Sides
from dora_repro.dora.layers import Layer, dora_layer, layer_text
from dora_repro.show.html import html_table
from dora_repro.show.names import shortened
from dora_repro.widgets.differences import figures, text
from dora_repro.widgets.panel import Panel, picture, row, widgets
from dora_repro.wording import counted

VIEWS = ("both and difference", "ULP histogram", "worst elements", "DoRA layer")
WORST = 10
REMEMBERED = 64  # views


class DifferenceExplorer(Panel):
    """Two sides leaf by leaf: which differ, by how much, and what it means for a DoRA layer.

    Args:
        expected, actual: each a snapshot, a checkpoint file, a mapping path -> tensor, or a mapping step -> any of
            these.
        names: gives the name that is shown for a path.
        sides: what the two are called.
        base: frozen directions D of DoRA layers, which neither side holds: a snapshot, a file or a mapping by path.
        alpha: of the DoRA layers, where the sides do not say it.

    Raises:
        BadInput: a side that is none of these or cannot be read; no step or no leaf in common.
    """

    def __init__(
        self,
        expected: object,
        actual: object,
        names: Callable[[str], str] = str,
        *,
        sides: tuple[str, str] = stepwise.NAMES,
        base: Mapping[str, object] | str | Path | None = None,
        alpha: float = 16.0,
    ):
        # What can go wrong does so before there is a widget that would have to be closed.
        self._of = Sides(expected, actual, sides)
        self._layer_options = {"base": stepwise.leaves_of(base or {}), "alpha": alpha}
        paths = list(dict.fromkeys(leaf for step in self._of.steps for leaf in self._of.leaves(step)))
        self._names = dict(zip(paths, shortened([names(path) for path in paths]), strict=True))
        self._drawn: dict[tuple, tuple[str, bytes]] = {}
        self._filling = False
        super().__init__()
        step, leaf = self._of.first or (self._of.steps[-1], self._of.leaves(self._of.steps[-1])[0])
        wide = {"description_width": "4em"}
        several = len(self._of.steps) > 1
        self.step = widgets.SelectionSlider(
            options=[(str(step), step) for step in self._of.steps if step is not None] or [("", 0)], value=step or 0,
            description="step", style=wide, continuous_update=False,
            layout=widgets.Layout(display=None if several else "none"),
        )  # fmt: skip
        self.search = widgets.Text(description="search", placeholder="part of a name", style=wide)
        self.order = widgets.Dropdown(options=ORDERS, value="given", description="order", style=wide)
        self.view = widgets.Dropdown(options=VIEWS, description="view", style=wide)
        self.leaf = widgets.Select(description="leaf", rows=8, style=wide, layout=widgets.Layout(width="780px"))
        self.told, self.picture = widgets.HTML(), picture()
        self.show(row(self.step, self.search, self.order, self.view), self.leaf, self.told, self.picture)
        self._fill(leaf)
        for control in (self.step, self.search, self.order):
            self.on_change(control, self._fill)
        for control in (self.leaf, self.view):
            self.on_change(control, self._redraw)
        self.guarded(self._redraw)

    @classmethod
    def of(cls, report: Report, names: Callable[[str], str] = str, **options: object) -> "DifferenceExplorer":
        """Both runs of a report, step by step; options as for the class.

        Raises:
            BadInput: the report has no values.
        """
        sides = text.sides_of(report)
        return cls(report.drift.expected, report.drift.actual, names, **{"sides": sides.names, **options})

    @property
    def _step(self) -> int | None:
        """The slider cannot stand at None."""
        return None if self._of.steps == (None,) else self.step.value

    def _fill(self, chosen: str | None = None) -> None:
        """List the leaves of the step that are searched for, and keep the one that is chosen where it is among them."""
        step = self._step
        chosen = chosen or self.leaf.value
        found = self._of.ordered(step, self.order.value, self.search.value, self._names.get)
        self._filling = True  # setting options chooses the first one, which is not to be drawn
        try:
            self.leaf.options = [(text.label(self._of, step, leaf, self._names[leaf]), leaf) for leaf in found]
            self.leaf.value = chosen if chosen in found else next(iter(found), None)
        finally:
            self._filling = False
        self._redraw()

    def _redraw(self) -> None:
        if self._filling:
            return
        step, leaf, view = self._step, self.leaf.value, self.view.value
        words = text.finding(self._of, step, leaf, self._names.get)
        if leaf is None:
            words += f"\nNo leaf of {len(self._of.leaves(step))} has {self.search.value.strip()!r} in its name."
        self.say(words)
        if (step, leaf, view) not in self._drawn:
            if len(self._drawn) >= REMEMBERED:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[step, leaf, view] = self._made(step, leaf, view)
        self.told.value, self.picture.value = self._drawn[step, leaf, view]
        self.picture.layout.display = None if self.picture.value else "none"

    def _made(self, step: int | None, leaf: str | None, view: str) -> tuple[str, bytes]:
        return ("", b"") if leaf is None else made(self._of, step, leaf, view, **self._layer_options)

    def __repr__(self) -> str:
        steps = f", {counted(len(self._of.steps), 'step')}" if len(self._of.steps) > 1 else ""
        return f"DifferenceExplorer({counted(len(self._names), 'leaf')}{steps})"


def made(
    sides: Sides, step: int | None, leaf: str, view: str, base: Mapping[str, object] | None = None, alpha: float = 16.0
) -> tuple[str, bytes]:
    """One of `VIEWS` of a leaf: (HTML, PNG); either is empty where there is nothing to be shown by it."""
    if view == "DoRA layer":
        layer = dora_layer(sides, step, leaf, base, alpha)
        if not isinstance(layer, Layer):
            return text_html(layer), b""
        return text_html(layer_text(layer, sides.names)), _bytes(figures.dora_rows(layer, sides.names))
    pair = sides.values(step, leaf)
    reason = why_no_picture(*pair)
    if not reason and not pair[0].dim():
        reason = "this is one number"
    if not reason and view == "ULP histogram" and not pair[0].is_floating_point():
        reason = f"numbers of {pair[0].dtype} have no ULP"
    if reason:
        return text_html(text.both_told(sides, step, leaf, reason)), b""
    if view == "worst elements":
        return worst_html(sides, step, leaf), b""
    title = leaf if step is None else f"{leaf}, step {step}"
    if view == "ULP histogram":
        return "", _bytes(figures.leaf_ulp_histogram(*pair, title))
    return "", _bytes(figures.both_and_difference(*pair, title, sides.names))


def worst_html(sides: Sides, step: int | None, leaf: str, count: int = WORST) -> str:
    """The elements of a leaf that differ most, as a table."""
    found = worst_elements(*sides.values(step, leaf), count)
    total = sides.difference(step, leaf).differing if found else 0
    rows = []
    for one in found:
        size = "no number" if one.difference is None else f"{one.difference:.3e}"
        rows.append((str(list(one.index)), one.expected, one.actual, size, "" if one.ulp is None else one.ulp))
    title = f"The {counted(len(rows), 'worst element')} of {leaf}" if found else f"No element of {leaf} differs"
    return html_table(title, ("index", *sides.names, "difference", "ULP"), rows, total=total)


def text_html(text: str) -> str:
    """Text as HTML; line breaks are kept."""
    return f"<div style='white-space: pre-wrap'>{html.escape(text)}</div>"


def _bytes(figure: Figure) -> bytes:
    """A figure as PNG, a little coarser than `html.png`: a slider waits for it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, pil_kwargs={"compress_level": 1})
    return file.getvalue()
