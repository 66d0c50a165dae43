"""The lab in JupyterLab: buttons that do something to two runs, and views of what became of them.

All that happens is the lab's (`dora_repro.lab`); here a click becomes an action, and the open view is drawn anew. More
than one step at a time is done as a task of the kernel's event loop, so that the page stays responsive and the work can
be cancelled.
"""

import asyncio
import functools

from dora_repro.lab.choices import Choices
from dora_repro.lab.lab import Lab
from dora_repro.lab.script import ACTIONS, Action
from dora_repro.widgets.lab import figures, text
from dora_repro.widgets.lab.settings import Settings
from dora_repro.widgets.lab.timeline import description, timeline
from dora_repro.widgets.lab.views import FigureView, HeatMap, State, TextView, View
from dora_repro.widgets.panel import Panel, row, widgets

BUTTONS = (
    # action, label, icon
    ("build", "Build", "cubes"),
    ("step", "Step", "step-forward"),
    ("both", "Both", "forward"),
    ("phase", "Phase", "search-plus"),
    ("save", "Save", "floppy-o"),
    ("kill", "Kill", "bolt"),
    ("load", "Load", "folder-open"),
    ("end", "End", "fast-forward"),
    ("undo", "Undo", "undo"),
    ("reset", "Reset", "refresh"),
)


class LabPanel(Panel):
    """Two runs to step through.

    Args:
        lab: with the runs; by default a new one of `choices`.
        choices: the run and its options, which can then be changed in the panel. Without them, and with a lab, there
            are no settings.

    Attributes:
        buttons: by action.
        count: how many steps a click on Step or Both does.
        views: by the title of their tab.
    """

    def __init__(self, lab: Lab | None = None, choices: Choices | None = None):
        super().__init__()
        if lab is None:
            choices = choices or Choices()
            lab = Lab(choices.factory, choices.steps)
        self.lab = lab
        self.settings = None if choices is None else Settings(choices)
        self.buttons = {name: self._button(name, label, icon) for name, label, icon in BUTTONS}
        self.count = widgets.BoundedIntText(
            value=1, min=1, max=1000, description="steps", tooltip="how many steps a click on Step or Both does",
            style={"description_width": "3.2em"}, layout={"width": "7em"},
        )  # fmt: skip  # a row of arguments
        self.busy = widgets.IntProgress(layout={"width": "8em", "display": "none"})
        self.cancel = widgets.Button(
            description="Cancel", icon="stop", tooltip="stop after the present step", layout=_narrow(display="none")
        )
        self.line = widgets.HTML()
        self.views: dict[str, View] = {
            "State": State(self),
            "Losses": FigureView(lambda: figures.losses(self.lab)),
            "Batches": FigureView(lambda: figures.batches(self.lab)),
            "RNG": TextView(lambda: text.generators_html(self.lab)),
            "Parameters": HeatMap(self),
            "Phases": TextView(lambda: text.phases_html(self.lab)),
            "Fix": TextView(lambda: text.fix_html(self.lab)),
        }
        self.tabs = widgets.Tab(list(self.views.values()), titles=tuple(self.views))
        self._task: asyncio.Task[None] | None = None
        self.on_click(self.cancel, self._cancel)
        self.on_change(self.tabs, self._draw_open, "selected_index")
        # Above the summary, which may take a line or two: a button that is about to be clicked must not move.
        controls = row(*self.buttons.values(), self.count, self.busy, self.cancel)
        self.show(self.line, self.tabs, above=[controls] if self.settings is None else [self.settings, controls])
        if self.settings is not None:
            self.on_click(self.settings.replay, self._replay)
        self.update()

    def __repr__(self) -> str:
        return f"LabPanel({self.lab.script or 'nothing built'})"

    # --- clicks

    def _button(self, name: str, label: str, icon: str) -> widgets.Button:
        button = widgets.Button(description=label, icon=icon, tooltip=ACTIONS[name], layout=_narrow())
        self.on_click(button, lambda: self.act(name))
        return button

    def act(self, name: str, what: str = "") -> None:
        """Do an action as its button does: `step` and `both` as often as `count` says.

        Args:
            name: of the action.
            what: for `transplant`, the component.
        """
        times = self.count.value if name in ("step", "both") else 1
        units = [unit for _ in range(times) for unit in self.lab.units(Action(name, what))]
        if len(units) > 1 and (loop := _running_loop()) is not None:
            self._task = loop.create_task(self._work(units))
            return
        try:
            for unit in units:
                self.lab.do(unit)
                if self._over:
                    break
        finally:
            self.update()

    @property
    def _over(self) -> bool:
        """Whether the run has ended, so that none of the remaining steps can be done."""
        return bool(self.lab.processes) and self.lab.current.finished

    async def _work(self, units: list[Action]) -> None:
        """Do actions one by one, and between them let the event loop run: a click may cancel."""
        self.busy.max, self.busy.value = len(units), 0
        self._show_busy(True)
        try:
            for unit in units:
                self.guarded(functools.partial(self.lab.do, unit))
                self.busy.value += 1
                self.line.value = timeline(self.lab)
                if self._over:
                    break
                await asyncio.sleep(0.01)
        finally:
            self._task = None
            self._show_busy(False)
            self.update()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _show_busy(self, busy: bool) -> None:
        """Show progress and Cancel where the number of steps was."""
        for each in (self.busy, self.cancel):
            each.layout.display = "" if busy else "none"
        self.count.layout.display = "none" if busy else ""
        if busy:
            for button in self.buttons.values():
                button.disabled = True

    def transplant(self, name: str) -> None:
        """Go on as if the checkpoint had held a component."""
        self.guarded(lambda: self.act("transplant", name))

    def _replay(self) -> None:
        """Do the same actions with the present settings."""
        if self.settings is None:
            return
        choices = self.settings.choices()
        try:
            self.lab.replay(choices.factory, choices.steps)
        finally:
            self.update()

    # --- views

    def update(self) -> None:
        """Draw the open view anew, and enable the buttons of those actions that are possible."""
        self.summarize(text.summary(self.lab))
        self.line.value = timeline(self.lab)
        self.line.tooltip = description(self.lab)
        possible = self.lab.possible()
        for name, button in self.buttons.items():
            button.disabled = name not in possible
        self._draw_open()

    def _draw_open(self) -> None:
        list(self.views.values())[self.tabs.selected_index or 0].draw()

    def close(self) -> None:
        """Stop working, and close all controls and views."""
        self._cancel()
        super().close()


def _narrow(**layout: str) -> dict[str, str]:
    """Lay a button out so that all of them fit on one line."""
    return {"width": "auto", "padding": "0 6px", **layout}


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
