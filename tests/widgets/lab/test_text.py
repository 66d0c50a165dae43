"""A lab in words and tables."""

import functools

import pytest
import torch

from dora_repro.lab import Lab
from dora_repro.widgets.lab import text
from tests import runs as small

forgetful = functools.partial(small.Forgetful, "optimizer")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "Nothing is built yet. Build makes two identical runs: one trains on, the other will be interrupted."),
        ("build,step", "Both runs have done 1 step; all 89 leaves of state are identical."),
        ("build,step*2,save,kill", "Killed after step 2. What is left of the run: its checkpoint of step 2."),
        ("build,step*2,kill", "Killed after step 2. What is left of the run: nothing: it was never saved."),
        (
            "build,step*2,save,kill,load",
            "Loaded at step 2: different from the uninterrupted run: optimizer. No step has been done since.",
        ),
        (
            "build,step*2,save,kill,load,step",
            "✗ Resumed at step 2: first differs at step 3, phase update, model/0.weight.",
        ),
    ],
)
def test_where_the_runs_stand_is_said(script, said):
    assert text.summary(Lab(forgetful, 6).play(script)) == said


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (0, "identical"),
        (1, "1 draw ahead"),
        (-98304, "98,304 draws behind"),
        (None, "different state: no number of draws leads from one to the other"),
    ],
)
def test_draws_have_words(draws, words):
    assert words in text.draws_text(draws)


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
    found = next(each for each in lab.components() if each.name == "<b>")
    assert "<b>" not in text.component_html(found) and "&lt;b&gt;" in text.fix_html(lab)


def test_what_there_is_not_yet_is_said():
    lab = Lab(forgetful, 6)
    assert text.generators_html(lab) == "Nothing is built yet."
    assert text.phases_html(lab).startswith("This process has not done a step yet.")
    assert text.fix_html(lab) == "Nothing to fix: nothing has been loaded yet."
    exact = Lab(small.Plain, 6).play("build,save,kill,load")
    assert text.fix_html(exact) == "Nothing to fix: the last load restored all state."
