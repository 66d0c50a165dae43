"""What all panels have: a summary, what was raised, and that closing leaves nothing behind."""

import logging

import pytest

from dora_repro.widgets import panel
from dora_repro.widgets.panel import Panel, widgets


class Adder(Panel):
    def __init__(self):
        super().__init__()
        self.number, self.button = widgets.IntText(), widgets.Button(description="fail")
        self.show(self.button, above=[self.number])
        self.on_change(self.number, lambda: self.summarize(f"<{self.number.value}>\nand one"))
        self.on_click(self.button, self.fail)

    def fail(self):
        raise ValueError("<no> sum")


def test_a_summary_is_escaped_and_keeps_its_lines():
    adder = Adder()
    adder.number.value = 3
    assert adder.summary.value == "<div style='white-space: pre-wrap; line-height: 1.4'>&lt;3&gt;\nand one</div>"
    assert adder.children == (adder.number, adder.summary, adder.error, adder.button)


def test_what_a_click_raises_is_shown_logged_and_raised(caplog):
    adder = Adder()
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="<no> sum"):
        adder.guarded(adder.fail)
    assert adder.error.value == "<b role='alert'>ValueError: &lt;no&gt; sum</b>" and "<no> sum" in caplog.text
    adder.number.value = 1
    assert adder.error.value == ""


def test_after_closing_no_control_is_observed_and_no_widget_is_left():
    before = set(widgets.widget._instances)
    adder = Adder()
    number, summary = adder.number, adder.summary
    assert set(widgets.widget._instances) > before
    adder.close()
    adder.close()
    number.value = 5
    assert summary.value == "" and set(widgets.widget._instances) <= before


def test_boxes_are_closed_with_all_that_lies_in_them():
    before = set(widgets.widget._instances)
    panel.close_all([panel.row(widgets.Button(), panel.row(panel.image_view()))])
    assert set(widgets.widget._instances) <= before
