"""Gradients that are added to what is left, and thrown away: no effects, unless an optimizer worked with them."""

import pytest
import torch
from torch import nn

from dora_repro import check
from dora_repro.recording import Recorder
from dora_repro.recording.recorder import Recording
from dora_repro.trace import Recorded


class Two:
    """Two layers, an optimizer each; `words` are what a step does.

    b is a backward pass that reaches both, e one that reaches the second; 0 and 1 clear gradients, u and v update.
    """

    def __init__(self, words, set_to_none=True):
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)
        self.optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.one, self.two)]
        self.words, self.set_to_none, self.steps = words, set_to_none, 0

    def step(self):
        self.steps += 1
        for word in self.words if isinstance(self.words, str) else self.words[(self.steps - 1) % len(self.words)]:
            self.do(word)
        return self.two.weight.detach().sum().item()

    def do(self, word):
        between = self.one(torch.full((2, 3), float(self.steps)))
        match word:
            case "b" | "e":
                self.two(between if word == "b" else between.detach()).square().mean().backward()
            case "0" | "1":
                self.optimizers[int(word)].zero_grad(set_to_none=self.set_to_none)
            case "u" | "v":
                self.optimizers["uv".index(word)].step()
            case "d":
                for parameter in self.two.parameters():
                    parameter.grad.data.zero_()
            case "c":
                nn.utils.clip_grad_norm_(self.two.parameters(), 0.1)

    def save(self, path):
        torch.save([self.one.state_dict(), self.two.state_dict(), self.steps], path)

    def load(self, path):
        one, two, self.steps = torch.load(path)
        self.one.load_state_dict(one)
        self.two.load_state_dict(two)


def thrown_away(words, steps=3, **options):
    run = Two(words, **options)
    with Recorder(run) as recorder:
        for _ in range(steps):
            recorder.step()
    return [where for step in recorder.trace.steps for where in step.thrown_away]


@pytest.mark.parametrize("options", [{}, {"set_to_none": False}])
def test_a_sum_with_what_an_update_left_is_thrown_away(options):
    """From the second step on: in the first there is nothing left."""
    found = thrown_away("0bu1ev", **options)
    assert found == [Recorded(2, "backward", "two/weight/grad"), Recorded(3, "backward", "two/weight/grad")]


def test_it_may_be_thrown_away_a_step_later():
    assert thrown_away(("0bu1ev", "0bu"), steps=4) == [
        Recorded(2, "backward", "two/weight/grad"),
        Recorded(3, "backward", "two/weight/grad"),
    ]


def test_setting_it_to_zero_by_hand_is_seen():
    assert Recorded(2, "backward", "two/weight/grad") in thrown_away("0budev")


@pytest.mark.parametrize(
    "words",
    [
        "01bbuv",  # accumulates, and updates
        "0buv",  # never cleared: each update works with all that there was
        "01b01buv",  # thrown away, but begun anew before: of the step itself
        "01b1buv",  # begun anew
        "0bucv",  # clipped, and worked with
    ],
)
def test_what_an_optimizer_works_with_is_not_thrown_away(words):
    assert thrown_away(words) == []


@pytest.mark.parametrize("words", ["0bu1ev", ("0bu1ev", "0bu"), "0budev"])
def test_a_run_that_lost_nothing_else_is_exact(words):
    assert check(lambda: Two(words), steps=6, save_at=2, in_process=True).verdict == "EXACT"


def test_gradients_that_are_lost_and_worked_with_differ():
    report = check(lambda: Two("0buv"), steps=6, save_at=2, in_process=True)
    assert report.verdict == "DIFFERENT"
    assert report.divergence.phase == "backward" and report.divergence.leaf == "two/weight/grad"


def test_what_is_loaded_wrongly_besides_is_found_behind_them():
    class Forgets(Two):
        def load(self, path):
            super().load(path)
            self.optimizers[1].param_groups[0]["lr"] = 0.2

    report = check(lambda: Forgets("0bu1ev"), steps=6, save_at=2, in_process=True)
    assert report.verdict == "DIFFERENT"
    assert "lr" in report.divergence.leaf


def test_where_no_gradients_are_recorded_none_are_looked_at(monkeypatch):
    """A journal in production may note none, and its training is not to wait for a device at each backward pass."""
    monkeypatch.setattr("dora_repro.recording.leftovers._is_zero", lambda parameter: pytest.fail("was looked at"))
    with Recorder(Two("0bu1ev"), recording=Recording(gradients=False)) as recorder:
        recorder.step()
        recorder.step()
    assert len(recorder.trace.steps) == 2
