"""Notebooks as a reader opens them: run in JupyterLab without an error, their widgets answer to the keyboard.

Each costs what it computes, here on two cores and beside a browser: give it short training.
"""

from dataclasses import dataclass, field

import pytest

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Tried:
    """A notebook, and how its widget is tried.

    Attributes:
        name: of the notebook.
        widget: what the source of the widget's cell holds.
        role, key: the first control of this role gets this key.
        finding: what the line begins with that then changes.
        given: parameters that make it short.
    """

    name: str
    widget: str
    role: str
    key: str
    finding: str
    given: dict[str, object] = field(default_factory=dict)


TRIED = [
    Tried(
        "03_parameter_differences", "widgets.TraceBrowser(", "slider", "ArrowRight", "Step ",
        {"epochs": 2, "steps_per_epoch": 2},
    ),
    Tried("08_difference_explorer", "DifferenceExplorer.of(", "slider", "ArrowLeft", "Step ", {"steps": 2}),
    Tried("09_checkpoint_explorer", "CheckpointExplorer(one", "combobox", "ArrowDown", "", {"epochs": 6}),
]  # fmt: skip


@pytest.fixture(scope="module", params=TRIED, ids=lambda tried: tried.name)
def opened(request, open_notebook):
    """A notebook that was run from its beginning to its end."""
    notebook = open_notebook(request.param.name, **request.param.given)
    notebook.run_all()
    return request.param, notebook


def test_it_runs_without_an_error(opened):
    _, notebook = opened
    assert notebook.output_errors() == []
    counts = notebook.counts()
    assert counts == list(range(1, len(counts) + 1))


def test_its_widget_answers_to_the_keyboard_in_both_themes(opened):
    tried, notebook = opened
    cell = notebook.scroll_to(tried.widget)
    finding = cell.locator(".widget-html-content").filter(has_text=tried.finding).first
    control = cell.get_by_role(tried.role).first
    for theme in ("light", "dark"):
        notebook.theme(theme)
        before = finding.inner_text()
        control.focus()
        control.press(tried.key)
        finding.filter(has_not_text=before).wait_for()
        assert finding.inner_text().startswith(tried.finding)
        notebook.screenshot(f"{tried.name}_{theme}")
    assert notebook.output_errors() == []
    assert notebook.console_errors() == []
