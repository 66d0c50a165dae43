"""What the widgets of this kit are made of: a box with a line that tells what is found, its controls and its views.

A control's change calls one function, which puts what it finds into views (`HTML`, `Image`). There is no `Output`
widget: it swallows exceptions, and can leave papermill waiting for ever (nbclient #312). What a function raises is
shown in the panel, logged, and raised again, so that a program that runs the notebook sees it as well. The text of a
panel (`repr`) is short and the same each time. ipywidgets is an extra (`notebooks`).
"""

import base64
import html
import logging
from collections.abc import Callable, Iterable, Sequence

from matplotlib.figure import Figure

from dora_repro.errors import MissingExtra
from dora_repro.show.html import png

try:
    import ipywidgets as widgets
except ImportError as error:
    raise MissingExtra("ipywidgets", "notebooks", "a widget") from error

log = logging.getLogger(__name__)


class Panel(widgets.VBox):
    """A finding in words, above controls and views.

    Attributes:
        finding: what is found, as text; always the first thing that is seen.
        trouble: what was raised last; empty where all is well.
    """

    _observed: Sequence[tuple[widgets.Widget, Callable, str]] = ()

    def __init__(self):
        self.finding = widgets.HTML()
        self.trouble = widgets.HTML()
        super().__init__([self.finding, self.trouble])
        self.add_class("dora-repro")

    def show(self, *views: widgets.Widget) -> None:
        """Put controls and views below the finding."""
        self.children = [self.finding, self.trouble, *views]

    def on_change(self, control: widgets.Widget, call: Callable[[], None], trait: str = "value") -> None:
        """Call a function whenever a control's value changes."""

        def changed(change: object) -> None:
            self.guarded(call)

        control.observe(changed, trait)
        self._observed = [*self._observed, (control, changed, trait)]

    def on_click(self, button: widgets.Button, call: Callable[[], None]) -> None:
        """Call a function at each click."""
        button.on_click(lambda clicked: self.guarded(call))

    def guarded(self, call: Callable[[], None]) -> None:
        """Call a function; what it raises is shown here, logged and raised."""
        try:
            call()
        except Exception as error:
            self.trouble.value = f"<b role='alert'>{html.escape(f'{type(error).__name__}: {error}')}</b>"
            log.exception("%r", self)
            raise
        self.trouble.value = ""

    def say(self, text: str) -> None:
        """Tell a finding; line breaks are kept."""
        self.finding.value = f"<div style='white-space: pre-wrap'>{html.escape(text)}</div>"

    def close(self) -> None:
        """Let go of all controls and views, here and in the browser."""
        for control, changed, trait in self._observed:
            control.unobserve(changed, trait)
        self._observed = ()
        if self.comm is None:  # closed already, or never whole: Python closes what it throws away
            return
        looks = looks_of(self)
        for child in _below(self):
            child.close()
        super().close()
        for each in looks:
            each.close()


def _below(box: widgets.Widget) -> list[widgets.Widget]:
    children = list(getattr(box, "children", ()))
    return [found for child in children for found in [*_below(child), child]]


def close_all(boxes: Iterable[widgets.Widget]) -> None:
    """Let go of boxes, of what lies in them, and of their layouts and styles."""
    for box in boxes:
        looks = looks_of(box)
        for each in (*_below(box), box, *looks):
            each.close()


def looks_of(box: widgets.Widget) -> list[widgets.Widget]:
    """Layouts and styles of a box and of all that lies in it: widgets, too, which nobody else closes."""
    named = (getattr(each, name, None) for each in (box, *_below(box)) for name in ("layout", "style"))
    return list({id(each): each for each in named if isinstance(each, widgets.Widget)}.values())


def picture() -> widgets.Image:
    """A view of a figure, as wide as the notebook allows. It has no tooltip: with one, JupyterLab cannot show it."""
    return widgets.Image(format="png", layout=widgets.Layout(width="800px", max_width="100%"))


def draw(view: widgets.Image, figure: Figure) -> None:
    """Put a figure into a view."""
    view.value = base64.b64decode(png(figure))


def row(*controls: widgets.Widget) -> widgets.HBox:
    """Controls side by side, in as many lines as it takes."""
    return widgets.HBox(list(controls), layout=widgets.Layout(flex_flow="row wrap"))
