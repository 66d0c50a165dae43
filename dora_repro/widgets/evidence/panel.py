"""Kept evidence in JupyterLab: what a check found, where both runs differ, and transplants by a click.

All that is said and done is `kept`'s; here are controls and views. A transplant is made in a thread, so that the page
stays responsive, and can be cancelled.
"""

import asyncio

from dora_repro.errors import BadInput
from dora_repro.kept.opening import KeptCheck, KeptReport
from dora_repro.kept.process import Cancelled
from dora_repro.kept.transplants import Transplanted, Transplants
from dora_repro.printable import in_html
from dora_repro.show.html import html_table, report_html
from dora_repro.sides.protocol import Event
from dora_repro.widgets.differences.explorer import DifferenceExplorer
from dora_repro.widgets.differences.text import RUNS
from dora_repro.widgets.evidence import text
from dora_repro.widgets.evidence.timeline import timeline
from dora_repro.widgets.panel import Panel, close_all, row, text_html, widgets

TABS = ("Answer", "Lost", "Differences", "Trials", "Transplant")
_ROWS = 8  # components that are in view at once
_LOOK = 0.3  # seconds between two looks at how far a transplant has come


class EvidencePanel(Panel):
    """The reports of a check whose evidence was kept, one at a time.

    Args:
        check: the check, opened again.

    Attributes:
        chosen: which report is shown.
        tabs: its views, by the titles of `TABS`.
        transplants: makes transplants of it.
        components: what is to be put back, by component.
        globs: the same by globs of leaves, separated by spaces.
        launch: the button that makes a transplant.
        cancel: the button that ends it.
    """

    def __init__(self, check: KeptCheck):
        super().__init__()
        self._check = check
        titles = [(each.report.title, index) for index, each in enumerate(check.reports)]
        self.chosen = widgets.Dropdown(
            options=titles, value=check.first.index, description="report", style={"description_width": "4em"},
            layout=widgets.Layout(display=None if len(titles) > 1 else "none"),
        )  # fmt: skip  # a row of arguments
        self.line = widgets.HTML()
        self.components = widgets.SelectMultiple(layout=widgets.Layout(width="620px"))
        self.globs = widgets.Text(placeholder="optimizer/*/exp_avg", layout=widgets.Layout(width="620px"))
        self.launch = widgets.Button(
            description="Put back and resume", icon="play", tooltip="make the resumed run anew, with this state in it",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip  # a row of arguments
        self.cancel = widgets.Button(description="Cancel", icon="stop", layout=widgets.Layout(display="none"))
        self.progress = widgets.HTML()
        self.outcome = widgets.HTML()
        self._answer, self._lost, self._trials = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._differences = widgets.VBox()
        asked = (
            _label("Put back from the uninterrupted run, right after loading (Ctrl-click for several; nothing chosen: "
                   "the resumed run as it was):"),
            self.components, _label("and leaves by globs:"), self.globs,
            row(self.launch, self.cancel, self.progress), self.outcome,
        )  # fmt: skip  # a row of widgets
        views = (self._answer, self._lost, self._differences, self._trials, widgets.VBox(list(asked)))
        self.tabs = widgets.Tab(list(views), titles=TABS)
        self._task: asyncio.Task[None] | None = None
        self._event: Event = {}
        self.transplants = Transplants(check.first)
        self.on_change(self.chosen, self._show_report)
        self.on_click(self.launch, self._launched)
        self.on_click(self.cancel, self._cancelled)
        self.show(self.tabs, above=[self.chosen, self.line])
        self.guarded(self._show_report)

    def __repr__(self) -> str:
        reports = "" if len(self._check.reports) == 1 else f"{len(self._check.reports)} reports, "
        return f"EvidencePanel({self._check.kept.title}: {reports}{self._check.result.verdict})"

    @property
    def report(self) -> KeptReport:
        """The report that is shown."""
        return self._check.reports[self.chosen.value]

    # --- views

    def _show_report(self) -> None:
        """Show another report."""
        self.transplants.close()
        self.transplants = Transplants(self.report)
        self.line.value = timeline(self.report)
        self.summarize(self.report.report.summary)
        self._answer.value = report_html(self.report.report)
        self._lost.value = html_table("What differs right after loading", text.LOST, text.lost_rows(self.transplants))
        close_all(self._differences.children)
        self._differences.children = [self._explorer()]
        self.components.options = self.transplants.choices if not self.transplants.possible else ()
        self.components.rows = min(max(len(self.components.options), 3), _ROWS)
        self.launch.disabled = bool(self.transplants.possible)
        self.globs.value = ""
        self.outcome.value = text_html(self.transplants.possible)
        self._show_trials()

    def _explorer(self) -> widgets.Widget:
        expected, actual = self.report.stored
        if not expected:
            return widgets.HTML(text_html("No state of both runs was stored: there is nothing to compare."))
        try:
            return DifferenceExplorer(expected, actual, sides=RUNS)
        except BadInput as error:
            return widgets.HTML(text_html(str(error)))

    def _show_trials(self) -> None:
        self._trials.value = f"<pre>{in_html(text.trials_text(self.transplants))}</pre>"

    # --- transplants

    def _launched(self) -> None:
        """Make the transplant that is chosen: as a task of the event loop, where there is one."""
        chosen = (*self.components.value, *self.globs.value.split())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._made(self.transplants.make(*chosen, on_event=self._note))
            return
        self._task = loop.create_task(self._work(chosen))

    async def _work(self, chosen: tuple[str, ...]) -> None:
        transplants, self._event = self.transplants, {}
        self._show_busy(True)
        work = asyncio.get_running_loop().run_in_executor(
            None, lambda: transplants.make(*chosen, on_event=self._note)
        )  # fmt: skip
        try:
            while not work.done():
                self.progress.value = in_html(_progress(self._event))
                await asyncio.wait([work], timeout=_LOOK)
            if isinstance(work.exception(), Cancelled):
                self.outcome.value = text_html("Cancelled.")
            else:
                self.guarded(lambda: self._made(work.result()))
        finally:
            self._task = None
            self._show_busy(False)

    def _note(self, event: Event) -> None:
        """Called in the thread of the transplant: the page is changed by the event loop alone."""
        self._event = event

    def _made(self, made: Transplanted) -> None:
        self.outcome.value = text_html(str(made))
        self._show_trials()

    def _cancelled(self) -> None:
        if self._task is not None:
            self.transplants.close()

    def _show_busy(self, busy: bool) -> None:
        self.cancel.layout.display = "" if busy else "none"
        self.launch.disabled = self.chosen.disabled = busy
        if not busy:
            self.progress.value = ""

    def close(self) -> None:
        """End a transplant that is being made, and close all controls and views."""
        self.transplants.close()
        super().close()


def _label(words: str) -> widgets.HTML:
    return widgets.HTML(in_html(words))


def _progress(event: Event) -> str:
    """How far a transplant has come, in words."""
    if event.get("event") == "step":
        return f"step {event['step']} of the resumed run is done"
    return "the resumed run is being built" if not event else "the resumed run is on its way"
