"""The checkpoints of a run, to be explored in JupyterLab: what they hold, how they change, where two runs diverge.

Words come from `text.py`, figures from `figures.py`; here are the controls alone. What has been drawn once is cached.
"""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from dora_repro.errors import BadInput
from dora_repro.series.pairs import SeriesComparison, compare_series
from dora_repro.series.series import Series
from dora_repro.show.names import shortened
from dora_repro.widgets.checkpoints import figures, text
from dora_repro.widgets.panel import Panel, draw, image_view, row, widgets
from dora_repro.wording import counted

VIEWS = {
    "contents and gaps": "contents",
    "trajectories": "trajectories",
    "changes": "changes",
    "outliers": "outliers",
    "distance": "distance",
}
CACHED = 24  # views


@dataclass(frozen=True)
class View:
    """What one view shows.

    Attributes:
        summary: in words.
        table: HTML; may be empty.
        figure: if there is one.
    """

    summary: str
    table: str = ""
    figure: Figure | None = None


class CheckpointExplorer(Panel):
    """The checkpoints of one folder, or of two side by side.

    Args:
        folder: of checkpoints, or a series that was read before.
        other: likewise, of another run.

    Raises:
        BadInput: there is nothing to read, or the two have nothing in common.
    """

    def __init__(self, folder: str | Path | Series, other: str | Path | Series | None = None):
        super().__init__()  # first: what raises below leaves a widget that can be closed
        self.series = folder if isinstance(folder, Series) else Series.read(folder)
        self.other = other if other is None or isinstance(other, Series) else Series.read(other)
        self.pair = compare_series(self.series, self.other)
        self._searching = False
        self._drawn: dict[tuple[str, tuple[str, ...]], tuple[str, str, bytes]] = {}  # by view and layers
        wide = {"description_width": "5em"}
        views = {label: view for label, view in VIEWS.items() if view != "distance" or self.other is not None}
        self.view = widgets.Dropdown(options=views, description="view", style=wide)
        self.search = widgets.Text(description="search", placeholder="part of a layer's name", style=wide)
        self.layers = widgets.SelectMultiple(
            options=find(self.series.layers, ""), rows=min(6, max(2, len(self.series.layers))), description="layers",
            style=wide, tooltip="if none is chosen, all that match the search", layout=widgets.Layout(width="360px"),
        )  # fmt: skip  # a row of arguments
        self.table = widgets.HTML()
        self.picture = image_view()
        self.show(row(self.view, self.search, self.layers), self.table, self.picture)
        self.on_change(self.view, self._redraw)
        self.on_change(self.layers, self._redraw)
        self.on_change(self.search, self._find)
        self.guarded(self._redraw)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The layers to show: those chosen, or else all that match the search."""
        return self.layers.value or tuple(layer for _, layer in self.layers.options)

    def _find(self) -> None:
        options = find(self.series.layers, self.search.value)
        chosen = [layer for layer in self.layers.value if layer in [layer for _, layer in options]]
        self._searching = True  # options and value change one after the other: draw once, at the end
        try:
            self.layers.options, self.layers.value = options, chosen
        finally:
            self._searching = False
        self._redraw()

    def _redraw(self) -> None:
        if self._searching:
            return
        key = self.view.value, self.chosen
        if key not in self._drawn:
            view = render(key[0], self.series, self.other, self.pair, key[1])
            if view.figure is not None:
                draw(self.picture, view.figure)
            if len(self._drawn) == CACHED:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[key] = view.summary, view.table, b"" if view.figure is None else self.picture.value
        summary, table, image = self._drawn[key]
        self.summarize(summary)
        self.table.value = table
        self.picture.layout.display = "" if image else "none"
        if image:
            self.picture.value = image

    def __repr__(self) -> str:
        beside = "" if self.other is None else f" beside {len(self.other.numbers)}"
        checkpoints, layers = counted(len(self.series.numbers), "checkpoint"), counted(len(self.series.layers), "layer")
        return f"CheckpointExplorer({checkpoints}{beside}, {layers})"


def find(layers: tuple[str, ...], words: str) -> tuple[tuple[str, str], ...]:
    """Return (short name, layer) of the layers whose names hold all the words; case is ignored."""
    named = zip(shortened(layers), layers, strict=True) if layers else ()
    return tuple((short, layer) for short, layer in named if all(w in layer.lower() for w in words.lower().split()))


def render(
    view: str, series: Series, other: Series | None, pair: SeriesComparison | None, layers: tuple[str, ...]
) -> View:
    """Render one of `VIEWS`.

    Args:
        view: one of the values of `VIEWS`.
        series: the checkpoints of a run.
        other: those of another run.
        pair: of the two.
        layers: to show.

    Raises:
        BadInput: the view is unknown, or needs two runs.
    """
    sides = [series] if other is None else [series, other]
    if view == "contents":
        summaries = [text.summary(side) for side in sides]
        summaries += [text.divergence_text(pair, series.unit)] if pair is not None else []
        return View("\n\n".join(summaries), "".join(text.contents_html(side, pair) for side in sides))
    if view == "outliers":
        return View("\n\n".join(text.outliers_text(side, layers) for side in sides))
    if view in VIEWS.values() and not layers:
        return View("No layer matches the search.")
    if view == "trajectories":
        diverged = f"{text.divergence_text(pair, series.unit)}\n" if pair is not None else ""
        summary = diverged + text.trajectories_text(series, layers)
        return View(summary, figure=figures.trajectories(series, other, layers))
    if view == "changes":
        summary = "\n".join(text.changes_text(side, layers) for side in sides)
        return View(summary, figure=figures.changes(series, other, layers))
    if view == "distance" and pair is not None:
        summary = text.divergence_text(pair, series.unit)
        return View(summary, figure=figures.distance(pair, series.unit, layers))
    raise BadInput(f"view={view!r}: choose one of {', '.join(VIEWS.values())}; 'distance' needs two folders")
