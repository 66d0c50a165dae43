"""The lab's panel without a browser: each button, each view, what goes wrong, and that nothing is left over."""

import asyncio
import functools
import logging
import re

import pytest
import torch

from dora_repro.lab import Lab
from dora_repro.lab.choices import Choices
from dora_repro.lab.script import ACTIONS
from dora_repro.widgets.lab import figures, text, timeline
from dora_repro.widgets.lab.panel import LabPanel
from dora_repro.widgets.panel import widgets
from tests import runs as small

STORY = ("build", "step", "step", "save", "kill", "load", "step")
forgetful = functools.partial(small.Forgetful, "optimizer")


def plain(value: str) -> str:
    return re.sub(r"<[^>]+>", "", value)


@pytest.fixture
def panel():
    made = LabPanel(Lab(forgetful, 6))
    yield made
    made.close()


def clicked(panel, *names):
    for name in names:
        panel.buttons[name].click()
    return panel


def row_of(panel, name):
    return next(row for row in panel.views["State"].children if name in row.children[0].description)


def test_a_story_is_clicked_through_to_a_divergence_and_healed(panel):
    assert "Nothing is built" in panel.finding.value
    assert [name for name, button in panel.buttons.items() if not button.disabled] == ["build"]
    clicked(panel, *STORY)
    assert "first differs at step 3, phase update, model/0.weight" in plain(panel.finding.value)
    assert "first differs: step 3, update" in plain(panel.line.value)
    row_of(panel, "Transplant optimizer").children[0].click()
    assert "with optimizer transplanted: 1 step since, every effect equal by bytes" in plain(panel.finding.value)
    assert "first differs" not in panel.line.value
    assert panel.trouble.value == ""
    assert repr(panel) == "LabPanel(build,step*2,save,kill,load,transplant optimizer,step)"
    clicked(panel, "undo", "undo", "step")
    assert "first differs" in plain(panel.finding.value)


def test_each_button_is_an_action_and_says_what_it_does(panel):
    assert set(panel.buttons) == set(ACTIONS) - {"transplant"}
    assert all(button.tooltip and button.description for button in panel.buttons.values())


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("State", "optimizer: "),
        ("Random numbers", "rng/torch.cpu"),
        ("Phases", "differs: model/0.weight"),
        ("Mend", "self.optimizer.load_state_dict"),
    ],
)
def test_a_view_that_is_opened_tells_of_the_lab(panel, view, words):
    clicked(panel, *STORY)
    panel.tabs.selected_index = list(panel.views).index(view)
    shown = panel.views[view]
    held = shown.value if hasattr(shown, "value") else "".join(c.children[1].value for c in shown.children[:-1])
    assert words in plain(held)


@pytest.mark.parametrize("view", ["Losses", "Batches", "Parameters"])
def test_a_figure_is_drawn_anew_when_something_was_done(panel, view):
    clicked(panel, *STORY)
    panel.tabs.selected_index = list(panel.views).index(view)
    before = bytes(panel.views[view].image.value)
    assert before.startswith(b"\x89PNG")
    clicked(panel, "step")
    assert bytes(panel.views[view].image.value) != before or view == "Batches"  # this run has no loader


def test_the_heat_map_is_of_what_was_loaded_by_either_measure(panel):
    panel.tabs.selected_index = list(panel.views).index("Parameters")
    heat = panel.views["Parameters"]
    assert "Nothing was loaded" in heat.said.value and heat.image.layout.display == "none"
    clicked(panel, *STORY)
    before = bytes(heat.image.value)
    heat.measure.value = "max_ulp"
    assert bytes(heat.image.value) != before and heat.image.layout.display == ""


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
    assert early.lab.current.finished and early.trouble.value == ""
    assert "over" in early.finding.value and early.buttons["step"].disabled
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
    assert panel.trouble.value == ""


def test_what_a_run_raises_is_shown_logged_and_raised_and_all_is_as_before(caplog):
    class Raises(small.Plain):
        def load(self, path):
            raise RuntimeError("no <such> file")

    panel = LabPanel(Lab(Raises, 6))
    clicked(panel, "build", "step", "save", "kill")
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError, match="no <such> file"):
        panel.guarded(lambda: panel.act("load"))
    assert "RuntimeError: no &lt;such&gt; file" in panel.trouble.value
    assert "no <such> file" in caplog.text
    assert panel.lab.script == "build,step,save,kill" and not panel.buttons["load"].disabled
    clicked(panel, "undo")
    assert panel.trouble.value == ""
    panel.close()


def test_the_same_story_is_told_with_other_choices():
    panel = LabPanel(choices=Choices(run="opt-missing"))
    clicked(panel, "build", "step", "step", "save", "kill", "load", "step")
    assert "first differs" in panel.finding.value
    panel.settings.run.value = "clean-ema"
    panel.settings.apply.click()
    assert "every effect equal" in plain(panel.finding.value)
    assert panel.lab.script == "build,step*2,save,kill,load,step"
    panel.close()


def test_what_a_checkpoint_holds_is_chosen_part_by_part():
    panel = LabPanel(choices=Choices())
    settings = panel.settings
    assert [part for part, box in settings.parts.items() if box.value] == ["dora"]
    settings.parts["optimizer"].value = True
    settings.options["perturbation"].value = "random-targets"
    settings.dropout.value = False
    chosen = settings.choices()
    assert chosen.parts == ("dora", "optimizer") and chosen.perturbation == "random-targets"
    assert chosen.config.checkpoint == "dora+optimizer" and chosen.config.dropout_mode == "study"
    settings.run.value = "opt-missing"
    assert all(each.layout.display == "none" for each in settings._of_the_study)
    panel.close()


def test_a_closed_panel_leaves_no_widget_behind():
    before = set(widgets.widget._instances)
    panel = LabPanel(choices=Choices(run="opt-missing"))
    clicked(panel, *STORY)
    panel.tabs.selected_index = 1
    panel.close()
    assert set(widgets.widget._instances) <= before


# --- what is shown, as data


def test_the_timeline_has_a_lane_for_each_life_and_says_so_in_words():
    lab = Lab(forgetful, 6).play("build,step*2,save,step,kill,load,step,save,load,transplant optimizer,step")
    drawn = timeline.timeline(lab)
    assert [drawn.count(name) for name in (">interrupted, killed<", ">resumed, killed<", ">resumed<")] == [1, 1, 1]
    assert drawn.count("✕") == 2 and drawn.count(">uninterrupted<") == 1 and drawn.count(">S</text>") == 2
    words = timeline.described(lab)
    assert "interrupted: built, saved after step 2, killed after step 3" in words
    assert "loaded at step 3, given optimizer at step 3, at step 4" in words
    assert timeline.timeline(Lab(forgetful)) == ""
    long = Lab(small.Plain, 500).play("build,step*70")
    assert timeline.timeline(long).count("<circle") == 4  # ends alone


def test_the_losses_are_those_of_each_life():
    lab = Lab(forgetful, 6).play("build,step*3,save,kill,load,step*2")
    lines = {line.get_label(): line.get_xydata() for line in figures.losses(lab).axes[0].get_lines()}
    assert set(lines) >= {"uninterrupted", "interrupted", "resumed at step 3"}
    assert lines["resumed at step 3"][:, 0].tolist() == [4, 5]
    assert lines["uninterrupted"][:, 1].tolist() == [lab.reference.losses[step] for step in range(1, 6)]


def test_samples_that_are_others_are_framed():
    lab = Lab(functools.partial(small.LoaderForgetful, "data"), 6).play("build,step*2,save,kill,load,step")
    panels = figures.batches(lab).axes
    framed = [axes.spines["left"].get_visible() for axes in panels]
    one, other = (life.streams.batches[3] for life in (lab.reference, lab.current))
    assert any(framed) and one != other
    same = Lab(small.Loader, 6).play("build,step*2,save,kill,load,step")
    assert not any(axes.spines["left"].get_visible() for axes in figures.batches(same).axes)


@pytest.mark.parametrize(
    ("draws", "words"),
    [(0, "the same"), (1, "1 draw ahead"), (-98304, "98,304 draws behind"), (None, "different state")],
)
def test_draws_are_told(draws, words):
    assert words in text.draws_told(draws)


def test_names_are_escaped():
    class Named:
        def __init__(self):
            self.model = torch.nn.Linear(1, 1)
            setattr(self, "<b>", torch.zeros(1))

        def step(self):
            getattr(self, "<b>").add_(torch.rand(1))

        def save(self, path):
            torch.save({}, path)

        def load(self, path):
            pass

    lab = Lab(Named, 4).play("build,step,save,kill,load")
    found = next(each for each in lab.ledger() if each.name == "<b>")
    assert "<b>" not in text.component_html(found) and "&lt;b&gt;" in text.mending_html(lab)
