"""The lab's panel without a browser: each button, what goes wrong, and that nothing is left over."""

import asyncio
import functools
import logging
import re

import pytest

from dora_repro.lab import Lab
from dora_repro.lab.choices import Choices
from dora_repro.lab.script import ACTIONS
from dora_repro.widgets.lab.panel import LabPanel
from dora_repro.widgets.panel import widgets
from tests import runs as small

CLICKED = ("build", "step", "step", "save", "kill", "load", "step")


def plain(value: str) -> str:
    return re.sub(r"<[^>]+>", "", value)


def clicked(panel, *names):
    for name in names:
        panel.buttons[name].click()
    return panel


def row_of(panel, name):
    return next(row for row in panel.views["State"].children if name in row.children[0].description)


def test_buttons_lead_to_a_divergence_and_a_transplant_removes_it(panel):
    assert "Nothing is built" in panel.summary.value
    assert [name for name, button in panel.buttons.items() if not button.disabled] == ["build"]
    clicked(panel, *CLICKED)
    assert "first differs at step 3, phase update, model/0.weight" in plain(panel.summary.value)
    assert "first differs: step 3, update" in plain(panel.line.value)
    row_of(panel, "Transplant optimizer").children[0].click()
    assert "with optimizer transplanted: 1 step since, all effects byte-identical" in plain(panel.summary.value)
    assert "first differs" not in panel.line.value
    assert panel.error.value == ""
    assert repr(panel) == "LabPanel(build,step*2,save,kill,load,transplant optimizer,step)"
    clicked(panel, "undo", "undo", "step")
    assert "first differs" in plain(panel.summary.value)


def test_each_button_is_an_action_and_says_what_it_does(panel):
    assert set(panel.buttons) == set(ACTIONS) - {"transplant"}
    assert all(button.tooltip and button.description for button in panel.buttons.values())


def test_several_steps_at_once_and_to_the_end(panel):
    clicked(panel, "build")
    panel.count.value = 3
    clicked(panel, "step")
    assert panel.lab.current.done == 3
    clicked(panel, "end")
    assert panel.lab.current.done == 6 and panel.buttons["end"].disabled
    early = LabPanel(Lab(functools.partial(small.EndsEarly, False), 30))
    clicked(early, "build")
    early.count.value = 30
    clicked(early, "step")
    assert early.lab.current.finished and early.error.value == ""
    assert "The run has ended after" in plain(early.summary.value) and early.buttons["step"].disabled
    early.close()


def test_long_work_lets_the_page_speak_and_can_be_cancelled(panel):
    clicked(panel, "build")
    panel.lab.steps = 500
    seen = []

    async def work():
        panel.buttons["end"].click()
        for _ in range(6):
            await asyncio.sleep(0.02)
            seen.append((panel.busy.value, panel.cancel.layout.display))
        panel.cancel.click()
        await asyncio.sleep(0.05)

    asyncio.run(work())
    assert seen[-1][0] > 0 and seen[-1][1] == ""
    assert 0 < panel.lab.current.done < 500
    assert panel.cancel.layout.display == "none" and not panel.buttons["step"].disabled
    assert panel.error.value == ""


def test_what_a_run_raises_is_shown_logged_and_raised_and_all_is_as_before(caplog):
    class Raises(small.Plain):
        def load(self, path):
            raise RuntimeError("no <such> file")

    panel = LabPanel(Lab(Raises, 6))
    clicked(panel, "build", "step", "save", "kill")
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError, match="no <such> file"):
        panel.guarded(lambda: panel.act("load"))
    assert "RuntimeError: no &lt;such&gt; file" in panel.error.value
    assert "no <such> file" in caplog.text
    assert panel.lab.script == "build,step,save,kill" and not panel.buttons["load"].disabled
    clicked(panel, "undo")
    assert panel.error.value == ""
    panel.close()


def test_the_same_actions_are_replayed_with_other_choices():
    panel = LabPanel(choices=Choices(run="opt-missing"))
    clicked(panel, "build", "step", "step", "save", "kill", "load", "step")
    assert "first differs" in panel.summary.value
    panel.settings.run.value = "clean-ema"
    panel.settings.replay.click()
    assert "all effects byte-identical" in plain(panel.summary.value)
    assert panel.lab.script == "build,step*2,save,kill,load,step"
    panel.close()


def test_a_closed_panel_leaves_no_widget_behind():
    before = set(widgets.widget._instances)
    panel = LabPanel(choices=Choices(run="opt-missing"))
    clicked(panel, *CLICKED)
    panel.tabs.selected_index = 1
    panel.close()
    assert set(widgets.widget._instances) <= before


# --- what is shown, as data


def test_buttons_are_above_what_may_get_longer_and_settings_are_folded():
    panel = LabPanel(choices=Choices())
    settings, controls, *below = panel.children
    assert settings is panel.settings and settings.selected_index is None
    assert [*controls.children[: len(panel.buttons)]] == list(panel.buttons.values())
    assert below == [panel.summary, panel.error, panel.line, panel.tabs]
    panel.close()
