"""The views of a lab, one a tab: text, a figure, the heat map, the state component by component.

What they show comes from `text.py` and the figures; a view that is open is drawn anew after each action.
"""

from collections.abc import Callable
from typing import Protocol

from matplotlib.figure import Figure

from dora_repro.lab.components import Component
from dora_repro.lab.lab import Lab
from dora_repro.printable import in_html
from dora_repro.show.figures import MEASURES as LABELS
from dora_repro.show.figures import drift_map
from dora_repro.widgets.lab import text
from dora_repro.widgets.panel import close_all, draw, image_view, widgets

MEASURES = {"absolute": "max_abs", "ULP": "max_ulp"}


class View(Protocol):
    """What a tab holds: a widget that can be drawn anew."""

    def draw(self) -> None:
        """Show the lab as it is now."""


class Controls(Protocol):
    """What views need of the panel that they lie in."""

    lab: Lab

    def transplant(self, name: str) -> None:
        """Go on as if the checkpoint had held a component."""

    def on_change(self, control: widgets.Widget, call: Callable[[], None], trait: str = "value") -> None:
        """Call a function whenever a control changes."""


class TextView(widgets.HTML):
    """A view that is text.

    Args:
        source: returns it, as HTML.
    """

    def __init__(self, source: Callable[[], str]):
        self._source = source
        super().__init__()

    def draw(self) -> None:
        """Show the lab as it is now."""
        self.value = self._source()


class FigureView(widgets.VBox):
    """A view that is a figure.

    Args:
        source: draws it.
    """

    def __init__(self, source: Callable[[], Figure]):
        self._source, self.image = source, image_view()
        super().__init__([self.image])

    def draw(self) -> None:
        """Show the lab as it is now."""
        draw(self.image, self._source())


class HeatMap(widgets.VBox):
    """Parameters by step: the distance of both runs.

    Args:
        panel: that it lies in.
    """

    def __init__(self, panel: Controls):
        self._panel = panel
        self.measure = widgets.ToggleButtons(
            options=MEASURES, tooltips=[LABELS[measure] for measure in MEASURES.values()],
            style={"button_width": "8em"},
        )  # fmt: skip  # a row of arguments
        self.note, self.image = widgets.HTML(), image_view()
        super().__init__([self.measure, self.note, self.image])
        panel.on_change(self.measure, self.draw)

    def draw(self) -> None:
        """Show the lab as it is now."""
        lab = self._panel.lab
        loaded = bool(lab.processes) and lab.current.loaded
        self.image.layout.display = "" if loaded else "none"
        self.note.value = "" if loaded else "Nothing has been loaded yet: both runs are the same."
        if loaded:
            draw(self.image, drift_map(lab.drift(), self.measure.value))


class State(widgets.VBox):
    """A row for each component that differs, which unfolds to its leaves, with a button that transplants it.

    A component has the same row as long as the panel exists: a button that is about to be clicked stays in place.

    Args:
        panel: that it lies in.
    """

    def __init__(self, panel: Controls):
        self._panel = panel
        self._rows: dict[str, widgets.HBox] = {}
        self._equal = widgets.HTML()
        self._shown: list[widgets.Widget] = [self._equal]
        super().__init__(self._shown)

    def draw(self) -> None:
        """Show the lab as it is now."""
        lab = self._panel.lab
        components = lab.components() if lab.reference is not None else ()
        possible = "transplant" in lab.possible()
        rows = [self._row(component, possible) for component in components if component.differences]
        equal = [f"{each.name} ({each.leaves})" for each in components if not each.differences]
        folded = f"<details><summary>✓ {len(equal)} identical</summary>{in_html(', '.join(equal))}</details>"
        self._equal.value = folded if equal else "" if components else "Nothing is built yet."
        if [*rows, self._equal] != self._shown:
            self.children = self._shown = [*rows, self._equal]

    def _row(self, component: Component, possible: bool) -> widgets.HBox:
        row = self._rows.get(component.name)
        if row is None:
            row = self._rows[component.name] = self._new_row(component.name)
        button, details = row.children
        button.layout.display = "" if possible else "none"
        line = f"<b>{in_html(component.name)}</b>: {text.counts(component)}"
        details.value = f"<details><summary>{line}</summary>{text.component_html(component)}</details>"
        return row

    def _new_row(self, name: str) -> widgets.HBox:
        button = widgets.Button(
            description=f"Transplant {name}",
            icon="medkit",
            tooltip=f"go on as if the checkpoint had held {name}",
            layout={"width": "15em"},  # one width, so that what follows stands in a column
        )
        button.on_click(lambda clicked: self._panel.transplant(name))
        details = widgets.HTML(layout={"flex": "1 1 20em"})
        return widgets.HBox([button, details], layout={"align_items": "flex-start"})

    def close(self) -> None:
        """Close rows that are not shown now, too."""
        close_all(self._rows.values())
        super().close()
