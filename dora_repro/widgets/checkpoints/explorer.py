"""The checkpoints of a run, looked through in JupyterLab: what they hold, how they go on, where two runs part."""

import ipywidgets as widgets

from dora_repro.errors import BadInput
from dora_repro.series.pairs import parting_of
from dora_repro.series.series import Series
from dora_repro.show.names import shortened
from dora_repro.widgets.checkpoints import figures, text
from dora_repro.widgets.panel import Panel, draw, picture, row

VIEWS = {
    "contents and gaps": "contents",
    "courses": "courses",
    "changes": "changes",
    "outliers": "outliers",
    "apart": "apart",
}
KEPT = 24  # views that are not drawn anew


class CheckpointExplorer(Panel):
    """The checkpoints of one folder, or of two side by side.

    Args:
        folder, other: folders of checkpoints, or series that were read before.

    Raises:
        BadInput: there is nothing to read, or the two have nothing in common.
    """

    def __init__(self, folder: str | Series, other: str | Series | None = None):
        super().__init__()  # first: what raises below leaves a widget that can be closed
        self.series, self.other = (
            one if one is None or isinstance(one, Series) else Series.read(one) for one in (folder, other)
        )
        self.parting = parting_of(self.series, self.other)
        self._searching = False
        self._drawn: dict[tuple, tuple] = {}  # by view and layers: (finding, table, image)
        wide = {"description_width": "5em"}
        views = {label: view for label, view in VIEWS.items() if view != "apart" or self.other is not None}
        self.view = widgets.Dropdown(options=views, description="view", style=wide)
        self.search = widgets.Text(description="search", placeholder="part of a layer's name", style=wide)
        self.layers = widgets.SelectMultiple(
            options=found(self.series.layers, ""), rows=min(6, max(2, len(self.series.layers))), description="layers",
            style=wide, tooltip="none chosen: all that the search finds", layout=widgets.Layout(width="360px"),
        )  # fmt: skip  # a row of arguments
        self.table = widgets.HTML()
        self.picture = picture()
        self.show(row(self.view, self.search, self.layers), self.table, self.picture)
        self.on_change(self.view, self._redraw)
        self.on_change(self.layers, self._redraw)
        self.on_change(self.search, self._find)
        self.guarded(self._redraw)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The layers that are looked at: those chosen, or else all that the search finds."""
        return self.layers.value or tuple(layer for _, layer in self.layers.options)

    def _find(self) -> None:
        options = found(self.series.layers, self.search.value)
        kept = [layer for layer in self.layers.value if layer in [layer for _, layer in options]]
        self._searching = True  # options and value change one after the other: one drawing, at the end
        try:
            self.layers.options, self.layers.value = options, kept
        finally:
            self._searching = False
        self._redraw()

    def _redraw(self) -> None:
        if self._searching:
            return
        asked = self.view.value, self.chosen
        if asked not in self._drawn:
            told, table, figure = shown(asked[0], self.series, self.other, self.parting, asked[1])
            if figure is not None:
                draw(self.picture, figure)
            if len(self._drawn) == KEPT:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[asked] = told, table, None if figure is None else self.picture.value
        told, table, image = self._drawn[asked]
        self.say(told)
        self.table.value = table
        self.picture.layout.display = "none" if image is None else ""
        if image is not None:
            self.picture.value = image

    def __repr__(self) -> str:
        beside = "" if self.other is None else f" beside {len(self.other.numbers)}"
        return f"CheckpointExplorer({len(self.series.numbers)} checkpoints{beside}, {len(self.series.layers)} layers)"


def found(layers: tuple[str, ...], words: str) -> tuple[tuple[str, str], ...]:
    """(short name, layer) of the layers whose names hold all the words, whatever their case."""
    named = zip(shortened(layers), layers, strict=True) if layers else ()
    return tuple((short, layer) for short, layer in named if all(w in layer.lower() for w in words.lower().split()))


def shown(view, series, other, both, layers) -> tuple[str, str, object]:
    """(finding, HTML table, figure or None) of one view.

    Raises:
        BadInput: an unknown view, or one that needs another series.
    """
    sides = [series] if other is None else [series, other]
    if view == "contents":
        told = [text.finding(side) for side in sides]
        told += [text.parting_text(both, series.unit)] if both is not None else []
        return "\n\n".join(told), "".join(text.contents_html(side, both) for side in sides), None
    if view == "outliers":
        return "\n\n".join(text.outliers_text(side, layers) for side in sides), "", None
    if not layers:
        return "No layer is found: search for part of its name.", "", None
    if view == "courses":
        parted = f"{text.parting_text(both, series.unit)}\n" if both is not None else ""
        return parted + text.courses_text(series, layers), "", figures.trajectories(series, other, layers)
    if view == "changes":
        told = "\n".join(text.changes_text(side, layers) for side in sides)
        return told, "", figures.changes(series, other, layers)
    if view == "apart" and both is not None:
        return text.parting_text(both, series.unit), "", figures.distance(both, series.unit, layers)
    raise BadInput(f"view={view!r}: choose one of {', '.join(VIEWS.values())}; 'apart' needs two folders")
