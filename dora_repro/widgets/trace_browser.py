"""Two runs step by step, in JupyterLab: one parameter of both runs, their difference, and its size in words.

Words and figures come from pure functions (`describe_parameter`, `show/figures.py`); the controls are here.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.difference import sizes
from dora_repro.errors import BadInput
from dora_repro.show import figures
from dora_repro.show.names import shortened
from dora_repro.widgets.panel import Panel, draw, image_view, row, widgets
from dora_repro.wording import counted

MEASURES = {"absolute": "max_abs", "ULP": "max_ulp", "share of elements": "share"}


class TraceBrowser(Panel):
    """One parameter of both runs at one step, as matrices; or all parameters at all steps, as a heat map.

    Args:
        report: of a check that was given `values`.
        names: maps a path to the name to show.

    Raises:
        BadInput: the report holds no values.
    """

    def __init__(self, report: Report, names: Callable[[str], str] = str):
        if report.drift is None:
            raise BadInput("the report holds no values: give the check values='*', for instance")
        self._drift = drift = report.drift
        super().__init__()
        wide = {"description_width": "5.5em"}
        first = drift.first or (drift.steps[-1], drift.leaves[0])
        labels = shortened([names(path) for path in drift.leaves])
        self.step = widgets.SelectionSlider(
            options=drift.steps, value=first[0], description="step", style=wide, continuous_update=False
        )
        self.parameter = widgets.Dropdown(
            options=list(zip(labels, drift.leaves, strict=True)), value=first[1], description="parameter", style=wide
        )
        self.measure = widgets.Dropdown(options=MEASURES, value="max_abs", description="measure", style=wide)
        self.picture = image_view()
        self.show(row(self.step, self.parameter, self.measure), self.picture)
        for control in (self.step, self.parameter, self.measure):
            self.on_change(control, self._redraw)
        self.guarded(self._redraw)

    def _redraw(self) -> None:
        self.summarize(describe_parameter(self._drift, self.step.value, self.parameter.value))
        draw(self.picture, self._figure())

    def _figure(self) -> Figure:
        if self.measure.value != "max_abs":
            return figures.drift_map(self._drift, self.measure.value)
        step, path = self.step.value, self.parameter.value
        return figures.matrix_difference(self._drift.expected[step][path], self._drift.actual[step][path])

    def __repr__(self) -> str:
        parameters, steps = counted(len(self._drift.leaves), "parameter"), counted(len(self._drift.steps), "step")
        return f"TraceBrowser({parameters}, {steps})"


def describe_parameter(drift: Drift, step: int, path: str) -> str:
    """Say in a sentence how far one parameter of two runs differs at the end of one step.

    Args:
        drift: of the two runs.
        step: to describe.
        path: of the parameter.

    Raises:
        ValueError: the two runs do not have this step and parameter in common.
    """
    if step not in drift.steps or path not in drift.leaves:
        raise ValueError(f"the two runs do not both have {path!r} at step {step}")
    row, column = drift.leaves.index(path), drift.steps.index(step)
    share = drift.share[row, column]
    if not share:
        return f"Step {step}: {path} is byte-identical."
    size = ", ".join(sizes(float(drift.max_abs[row, column]), int(drift.max_ulp[row, column])))
    return f"Step {step}: {share:.1%} of the elements of {path} differ, {size}."
