"""Widgets without a browser: set a control, read the view."""

import io

import pytest
from PIL import Image

from dora_repro import BadInput
from dora_repro.widgets import trace_browser
from dora_repro.widgets.panel import Panel, widgets
from tests.show import made
from tests.show.test_figures import drift


@pytest.fixture
def browser():
    return trace_browser.TraceBrowser(made.different(drift=drift(3, 5)))


def test_it_is_a_panel_that_opens_at_the_first_difference_and_has_a_short_repr(browser):
    assert isinstance(browser, Panel) and repr(browser) == "TraceBrowser(3 parameters, 5 steps)"
    assert browser.step.value == 11
    path = browser.parameter.value
    assert path == "model/tower.blocks.0.attn.out_proj.m"
    assert f"Step 11: 100.0% of the elements of {path} differ, max diff = 1." in browser.summary.value
    assert "ULP" in browser.summary.value


def test_a_moved_slider_redraws_finding_and_picture(browser):
    before = browser.picture.value
    browser.step.value = 10
    assert f">Step 10: {browser.parameter.value} is byte-identical.<" in browser.summary.value
    assert browser.picture.value != before
    assert Image.open(io.BytesIO(browser.picture.value)).format == "PNG"


def test_each_parameter_and_measure_can_be_chosen(browser):
    pictures = set()
    for _, path in browser.parameter.options:
        browser.parameter.value = path
        assert path in browser.summary.value
        pictures.add(browser.picture.value)
    for measure in ("max_ulp", "share"):
        browser.measure.value = measure
        pictures.add(browser.picture.value)
    assert len(pictures) == 5


def test_what_a_view_raises_is_shown_and_raised(browser, monkeypatch):
    def broken(*_):
        raise RuntimeError("<no> picture")

    monkeypatch.setattr(trace_browser.figures, "matrix_difference", broken)
    with pytest.raises(RuntimeError, match="<no> picture"):
        browser.step.value = 12
    assert browser.error.value == "<b role='alert'>RuntimeError: &lt;no&gt; picture</b>"
    browser.measure.value = "max_ulp"
    assert browser.error.value == ""


def test_a_report_without_values_says_how_to_get_them():
    with pytest.raises(BadInput, match="give the check values='\\*', for instance"):
        trace_browser.TraceBrowser(made.report())


def test_a_finding_of_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="do not both have 'nothing' at step 10"):
        trace_browser.describe_parameter(drift(), 10, "nothing")


def test_closing_leaves_no_widget_open():
    before = set(widgets.widget._instances)
    browser = trace_browser.TraceBrowser(made.different(drift=drift(3, 5)))
    browser.close()
    assert set(widgets.widget._instances) <= before
