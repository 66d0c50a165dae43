"""The lab in JupyterLab: buttons that tell a story of two runs, and views of what it made of them.

All that happens is the lab's (`dora_repro.lab`); here a click becomes an action, and the view that is open is drawn
anew. More than one step at a time is done as a task of the kernel's loop, so that the page stays alive and the work can
be cancelled.
"""

import asyncio
import html
from collections.abc import Callable

from dora_repro.lab.choices import Choices
from dora_repro.lab.lab import Lab
from dora_repro.lab.ledger import Component
from dora_repro.lab.script import ACTIONS, Action
from dora_repro.show.figures import drift_map
from dora_repro.widgets.lab import figures, text
from dora_repro.widgets.lab.settings import Settings
from dora_repro.widgets.lab.timeline import described, timeline
from dora_repro.widgets.panel import Panel, close_all, draw, picture, row, widgets

BUTTONS = (
    # action, label, icon
    ("build", "Build", "cubes"),
    ("step", "Step", "step-forward"),
    ("both", "Step both", "forward"),
    ("phase", "Phase by phase", "search-plus"),
    ("save", "Save", "floppy-o"),
    ("kill", "Kill", "bolt"),
    ("load", "Load", "folder-open"),
    ("end", "Run to the end", "fast-forward"),
    ("undo", "Undo", "undo"),
    ("reset", "Reset", "refresh"),
)
MEASURES = {"absolute": "max_abs", "ULP": "max_ulp"}


class LabPanel(Panel):
    """Two runs to step through.

    Args:
        lab: what is shown; one that has played a script already, if wanted.
        choices: what it was built of, to be changed here; None for a run object of one's own.
    """

    def __init__(self, lab: Lab | None = None, choices: Choices | None = None):
        super().__init__()
        if lab is None:
            choices = choices or Choices()
            lab = Lab(choices.factory, choices.steps)
        self.lab = lab
        self.settings = Settings(choices) if choices is not None else None
        self.buttons = {name: self._button(name, label, icon) for name, label, icon in BUTTONS}
        self.count = widgets.BoundedIntText(
            value=1, min=1, max=1000, description="steps", style={"description_width": "3em"}, layout={"width": "8em"}
        )
        self.busy = widgets.IntProgress(layout={"width": "12em", "display": "none"})
        self.cancel = widgets.Button(description="Cancel", icon="stop", layout={"width": "7em", "display": "none"})
        self.line = widgets.HTML()
        self.views = {
            "State": _State(self),
            "Losses": _Picture(lambda: figures.losses(self.lab)),
            "Batches": _Picture(lambda: figures.batches(self.lab)),
            "Random numbers": _Text(lambda: text.generators_html(self.lab)),
            "Parameters": _HeatMap(self),
            "Phases": _Text(lambda: text.phases_html(self.lab)),
            "Mend": _Text(lambda: text.mending_html(self.lab)),
        }
        self.tabs = widgets.Tab(list(self.views.values()), titles=tuple(self.views))
        self._task: asyncio.Task | None = None
        self.on_click(self.cancel, self._cancel)
        self.on_change(self.tabs, self._draw_open, "selected_index")
        self.show(
            *([self.settings] if self.settings is not None else []),
            row(*list(self.buttons.values())[:7]),
            row(self.count, *list(self.buttons.values())[7:], self.busy, self.cancel),
            self.line,
            self.tabs,
        )
        if self.settings is not None:
            self.on_click(self.settings.apply, self._retell)
        self.update()

    def __repr__(self) -> str:
        return f"LabPanel({self.lab.script or 'nothing built'})"

    # --- clicks

    def _button(self, name: str, label: str, icon: str) -> widgets.Button:
        button = widgets.Button(description=label, icon=icon, tooltip=ACTIONS[name], layout={"width": "auto"})
        self.on_click(button, lambda: self.act(name))
        return button

    def act(self, name: str, what: str = "") -> None:
        """Do an action as its button does: `step` as often as `count` says."""
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
        """Whether the run has come to its end, so that no more of the steps that were asked for can be done."""
        return bool(self.lab.lives) and self.lab.current.finished

    async def _work(self, units: list[Action]) -> None:
        """Do actions one by one, and between them let the page speak: it may cancel."""
        self.busy.max, self.busy.value = len(units), 0
        self._show_busy(True)
        try:
            for unit in units:
                self.guarded(lambda unit=unit: self.lab.do(unit))
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
        for each in (self.busy, self.cancel):
            each.layout.display = "" if busy else "none"
        if busy:
            for button in self.buttons.values():
                button.disabled = True

    def transplant(self, name: str) -> None:
        """As if the checkpoint had held a component."""
        self.guarded(lambda: self.act("transplant", name))

    def _retell(self) -> None:
        """The same story, with what is chosen now."""
        choices = self.settings.choices()
        try:
            self.lab.retell(choices.factory, choices.steps)
        finally:
            self.update()

    # --- views

    def update(self) -> None:
        """Draw what is open anew, and let only those buttons be pressed that can be."""
        self.say(text.finding(self.lab))
        self.line.value = timeline(self.lab)
        self.line.tooltip = described(self.lab)
        possible = self.lab.possible()
        for name, button in self.buttons.items():
            button.disabled = name not in possible
        self._draw_open()

    def _draw_open(self) -> None:
        list(self.views.values())[self.tabs.selected_index or 0].draw()

    def close(self) -> None:
        self._cancel()
        super().close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Text(widgets.HTML):
    """A view that is text."""

    def __init__(self, told: Callable[[], str]):
        self._told = told
        super().__init__()

    def draw(self) -> None:
        self.value = self._told()


class _Picture(widgets.VBox):
    """A view that is a figure."""

    def __init__(self, drawn: Callable[[], object]):
        self._drawn, self.image = drawn, picture()
        super().__init__([self.image])

    def draw(self) -> None:
        draw(self.image, self._drawn())


class _HeatMap(widgets.VBox):
    """Parameters by step: how far both runs are apart."""

    def __init__(self, panel: LabPanel):
        self._panel = panel
        self.measure = widgets.ToggleButtons(options=MEASURES, description="measure")
        self.said, self.image = widgets.HTML(), picture()
        super().__init__([self.measure, self.said, self.image])
        panel.on_change(self.measure, self.draw)

    def draw(self) -> None:
        lab = self._panel.lab
        loaded = bool(lab.lives) and lab.current.loaded
        self.image.layout.display = "" if loaded else "none"
        self.said.value = "" if loaded else "Nothing was loaded yet: both runs are the same one."
        if loaded:
            draw(self.image, drift_map(lab.drift(), self.measure.value))


class _State(widgets.VBox):
    """The ledger: a row a component, with a button that transplants it, unfolding to its leaves.

    A component has the same row as long as the panel is there: a button that is about to be clicked stays.
    """

    def __init__(self, panel: LabPanel):
        self._panel = panel
        self._rows: dict[str, widgets.HBox] = {}
        self._equal = widgets.HTML()
        super().__init__([self._equal])

    def draw(self) -> None:
        lab = self._panel.lab
        ledger = lab.ledger() if lab.reference is not None else ()
        possible = "transplant" in lab.possible()
        rows = [self._row(component, possible) for component in ledger if component.differences]
        equal = [f"{each.name} ({each.leaves})" for each in ledger if not each.differences]
        folded = f"<details><summary>✓ {len(equal)} the same</summary>{html.escape(', '.join(equal))}</details>"
        self._equal.value = folded if equal else "" if ledger else "Nothing is built yet."
        if [*rows, self._equal] != list(self.children):
            self.children = [*rows, self._equal]

    def _row(self, component: Component, possible: bool) -> widgets.HBox:
        row = self._rows.get(component.name)
        if row is None:
            row = self._rows[component.name] = self._made(component.name)
        button, told = row.children
        button.layout.display = "" if possible else "none"
        said = f"<b>{html.escape(component.name)}</b>: {text.counted(component)}"
        told.value = f"<details><summary>{said}</summary>{text.component_html(component)}</details>"
        return row

    def _made(self, name: str) -> widgets.HBox:
        button = widgets.Button(
            description=f"Transplant {name}",
            icon="medkit",
            tooltip=f"as if the checkpoint had held {name}",
            layout={"width": "17em"},  # one width, so that what is said stands in a column
        )
        button.on_click(lambda clicked: self._panel.transplant(name))
        told = widgets.HTML(layout={"flex": "1 1 20em"})
        return widgets.HBox([button, told], layout={"align_items": "flex-start"})

    def close(self) -> None:
        """Rows that are not shown now, too."""
        close_all(self._rows.values())
        super().close()
