"""What the widgets of this kit are made of: a box with a summary in words, controls and views.

When a control changes, one function is called, which puts its result into views (`HTML`, `Image`). There is no `Output`
widget: it swallows exceptions, and can leave papermill waiting for ever (nbclient #312). What a function raises is
shown in the panel, logged, and raised again, so that a program that runs the notebook sees it as well. The text of a
panel (`repr`) is short and the same each time. ipywidgets is an extra (`notebooks`).
"""

import base64
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from matplotlib.figure import Figure

from dora_repro.errors import MissingExtra
from dora_repro.printable import in_html
from dora_repro.show.html import png

try:
    import ipywidgets as widgets
except ImportError as error:
    raise MissingExtra("ipywidgets", "notebooks", "a widget") from error

Observer: TypeAlias = Callable[[object], None]

log = logging.getLogger(__name__)


class Panel(widgets.VBox):
    """A summary in words, above controls and views.

    Attributes:
        summary: what the views say, as text.
        error: what was raised last; empty if all is well.
    """

    _observed: Sequence[tuple[widgets.Widget, Observer, str]] = ()

    def __init__(self) -> None:
        self.summary = widgets.HTML()
        self.summary.add_class("dora-repro-summary")
        self.error = widgets.HTML()
        super().__init__([self.summary, self.error])
        self.add_class("dora-repro-panel")

    def show(self, *views: widgets.Widget, above: Sequence[widgets.Widget] = ()) -> None:
        """Put controls and views into the panel.

        Args:
            views: below the summary.
            above: those that stand above it, so that they do not move when it gets longer.
        """
        self.children = [*above, self.summary, self.error, *views]

    def on_change(self, control: widgets.Widget, call: Callable[[], None], trait: str = "value") -> None:
        """Call a function whenever a control changes.

        Args:
            control: to observe.
            call: the function; what it raises is shown in the panel.
            trait: of the control.
        """

        def changed(change: object) -> None:
            self.guarded(call)

        control.observe(changed, trait)
        self._observed = [*self._observed, (control, changed, trait)]

    def on_click(self, button: widgets.Button, call: Callable[[], None]) -> None:
        """Call a function at each click of a button; what it raises is shown in the panel."""
        button.on_click(lambda clicked: self.guarded(call))

    def guarded(self, call: Callable[[], None]) -> None:
        """Call a function; what it raises is shown here, logged and raised."""
        try:
            call()
        except Exception as error:
            self.error.value = f"<b role='alert'>{in_html(f'{type(error).__name__}: {error}')}</b>"
            log.exception("%r", self)
            raise
        self.error.value = ""

    def summarize(self, text: str) -> None:
        """Set the summary; line breaks are kept."""
        self.summary.value = text_html(text)

    def close(self) -> None:
        """Close all controls and views, here and in the browser."""
        for control, changed, trait in self._observed:
            control.unobserve(changed, trait)
        self._observed = ()
        if self.comm is None:  # closed before, or never complete: Python closes what it collects
            return
        styling = styling_of(self)
        for child in _descendants(self):
            child.close()
        super().close()
        for each in styling:
            each.close()


def _descendants(box: widgets.Widget) -> list[widgets.Widget]:
    children = list(getattr(box, "children", ()))
    return [widget for child in children for widget in [*_descendants(child), child]]


def close_all(boxes: Iterable[widgets.Widget]) -> None:
    """Close boxes, all that lies in them, and their layouts and styles."""
    for box in boxes:
        for each in (*_descendants(box), box, *styling_of(box)):
            each.close()


def styling_of(box: widgets.Widget) -> list[widgets.Widget]:
    """Return the layouts and styles of a box and of all that lies in it: widgets, too, which nobody else closes."""
    named = (getattr(each, name, None) for each in (box, *_descendants(box)) for name in ("layout", "style"))
    return list({id(each): each for each in named if isinstance(each, widgets.Widget)}.values())


def text_html(text: str) -> str:
    """Return text as HTML; line breaks are kept."""
    return f"<div style='white-space: pre-wrap; line-height: 1.4'>{in_html(text)}</div>"


def image_view() -> widgets.Image:
    """Make a view of a figure, as wide as the notebook allows."""
    # It has no tooltip: JupyterLab cannot show an image that has one.
    return widgets.Image(format="png", layout=widgets.Layout(width="800px", max_width="100%"))


def draw(view: widgets.Image, figure: Figure) -> None:
    """Put a figure into a view."""
    view.value = base64.b64decode(png(figure))


def row(*controls: widgets.Widget) -> widgets.HBox:
    """Put controls side by side, on as many lines as they need."""
    return widgets.HBox(list(controls), layout=widgets.Layout(flex_flow="row wrap"))
