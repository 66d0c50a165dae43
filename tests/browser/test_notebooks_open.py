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
        role, key: the first control of this role gets this key (a list: its next entry), and what is shown changes.
        given: parameters that make it short.
    """

    name: str
    widget: str
    role: str
    key: str
    given: dict[str, object] = field(default_factory=dict)


TRIED = [
    Tried(
        "03_parameter_differences", "TraceBrowser(report", "slider", "ArrowRight", {"epochs": 2, "steps_per_epoch": 3}
    ),
    Tried("08_difference_explorer", "DifferenceExplorer.of(", "slider", "ArrowRight", {"steps": 3}),
    Tried("09_checkpoint_explorer", "CheckpointExplorer(one", "combobox", "", {"epochs": 6}),
]  # fmt: skip

# What a panel shows: its summary, and its pictures by address, which is a new one for each.
SHOWN = "node => [...node.querySelectorAll('.dora-repro-summary, img')].map(one => one.src ?? one.innerText).join()"


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


def test_its_widget_answers_in_both_themes(opened):
    tried, notebook = opened
    cell = notebook.scroll_to(tried.widget)
    control = cell.get_by_role(tried.role).first
    for entry, theme in enumerate(("light", "dark"), start=1):
        notebook.theme(theme)
        before = cell.evaluate(SHOWN)
        control.focus()
        if tried.key:
            control.press(tried.key)
        else:
            control.select_option(index=entry)
        notebook.page.wait_for_function(
            f"([node, before]) => ({SHOWN})(node) !== before", arg=[cell.element_handle(), before]
        )
        notebook.screenshot(f"{tried.name}_{theme}")
    assert notebook.output_errors() == []
    assert notebook.console_errors() == []
