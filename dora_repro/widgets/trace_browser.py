"""Results that can be looked through in JupyterLab: boxes of controls and views over the kit's own objects.

A control's change calls one pure function and puts what it returns into a view (`HTML`, `Image`); there is no `Output`
widget, which swallows exceptions and can leave papermill waiting for ever (nbclient #312). What a view raises is shown
in it and raised again. The text of a widget (`repr`) is short and the same each time. ipywidgets is an extra
(`notebooks`).
"""

import base64
import html
from collections.abc import Callable

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.difference import sizes
from dora_repro.errors import BadInput, MissingExtra
from dora_repro.show import figures
from dora_repro.show.html import png
from dora_repro.show.names import shortened
from dora_repro.wording import counted

try:
    import ipywidgets as widgets
except ImportError as error:
    raise MissingExtra("ipywidgets", "notebooks", "a widget") from error

MEASURES = {"absolute": "max_abs", "ULP": "max_ulp", "share of elements": "share"}


class TraceBrowser(widgets.VBox):
    """Two runs step by step: one parameter of both sides and their difference, and what of it differs in words.

    Args:
        report: of a check that was asked for `values`.
        names: gives the name that is shown for a path.

    Raises:
        BadInput: the report has no values.
    """

    def __init__(self, report: Report, names: Callable[[str], str] = str):
        if report.drift is None:
            raise BadInput("the report holds no values: ask the check for them, as in values='*'")
        self._drift = drift = report.drift
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
        self.finding = widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width="800px", max_width="100%"))
        controls = widgets.HBox([self.step, self.parameter, self.measure], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([controls, self.finding, self.picture])
        for control in (self.step, self.parameter, self.measure):
            control.observe(self._redraw, "value")
        self._redraw()

    def _redraw(self, change: object = None) -> None:
        try:
            self.finding.value = html.escape(finding(self._drift, self.step.value, self.parameter.value))
            if self.measure.value == "max_abs":
                held = self._drift.expected, self._drift.actual
                sides = (values[self.step.value][self.parameter.value] for values in held)
                figure = figures.matrix_difference(*sides)
            else:
                figure = figures.drift_map(self._drift, self.measure.value)
            self.picture.value = base64.b64decode(png(figure))
        except Exception as error:
            self.finding.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"
            raise

    def __repr__(self) -> str:
        parameters, steps = counted(len(self._drift.leaves), "parameter"), counted(len(self._drift.steps), "step")
        return f"TraceBrowser({parameters}, {steps})"


def finding(drift: Drift, step: int, path: str) -> str:
    """One parameter at the end of one step, in a sentence.

    Raises:
        ValueError: a step or parameter that the two runs do not have in common.
    """
    if step not in drift.steps or path not in drift.leaves:
        raise ValueError(f"the two runs do not both have {path!r} at step {step}")
    row, column = drift.leaves.index(path), drift.steps.index(step)
    share = drift.share[row, column]
    if not share:
        return f"Step {step}: {path} is equal by bytes."
    measured = sizes(drift.max_abs[row, column], drift.max_ulp[row, column])
    return f"Step {step}: {share:.1%} of {path} differ, {', '.join(measured)}."
