"""A step of which a resumed run does the rest: its first backward passes are taken out, its batches ahead are not."""

from dataclasses import replace

import pytest

from dora_repro.scripts.checking import check_script
from dora_repro.scripts.windows import from_the_save_on
from dora_repro.trace import Recorded
from tests.scripts.trainings import commands
from tests.traces import ONE, trace

TWO_PASSES = [
    *("batch x a", "forward loss b", "backward w/grad c"),
    *("batch[2] x d", "forward[2] loss e", "backward[2] w/grad f", "update w g"),
]
REST = [("batch", "x"), ("forward", "loss"), ("backward", "w/grad"), ("update", "w")]


def names(step):
    return [(effect.phase, effect.leaf) for effect in step.effects]


def test_the_rest_of_the_step_is_numbered_as_a_step_of_its_own():
    found = from_the_save_on(trace(ONE, TWO_PASSES), 1, 1)

    assert names(found.steps[1]) == REST
    assert found.steps[1].effects[0].digest.startswith(b"d")
    assert found.steps[0] == trace(ONE).steps[0]


def test_a_batch_that_was_fetched_ahead_stays():
    ahead = ["batch x a", "batch[2] x d", *TWO_PASSES[1:3], *TWO_PASSES[4:]]
    found = from_the_save_on(trace(ahead), 0, 1)

    assert names(found.steps[0]) == REST
    assert found.steps[0].effects[0].digest.startswith(b"d")


def test_a_save_between_steps_leaves_the_trace():
    whole = trace(ONE, TWO_PASSES)
    assert from_the_save_on(whole, 1, 0) is whole
    assert from_the_save_on(whole, 5, 1) is whole


def test_gradients_that_were_thrown_away_are_known_by_their_new_phases():
    places = tuple(Recorded(*each, "w/grad") for each in ((1, "backward"), (2, "backward[2]"), (2, "backward")))
    whole = trace(ONE, TWO_PASSES, ONE)
    whole.steps[2] = replace(whole.steps[2], thrown_away=places)

    found = from_the_save_on(whole, 1, 1)
    assert found.steps[2].thrown_away == (places[0], Recorded(2, "backward", "w/grad"))


ACCUMULATES = """
import argparse
import torch
from torch import nn

p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume"); p.add_argument("--lose")
args = p.parse_args()
torch.manual_seed(0)
data = torch.randn(24, 4, 6)
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
first = 0
if args.resume:
    state = torch.load(args.resume)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["next"]
    if args.lose != "gradients":
        for parameter, gradient in zip(model.parameters(), state["gradients"]):
            parameter.grad = gradient
for i in range(first, 24):
    loss = model(data[i]).square().mean() / 3
    loss.backward()
    if (i + 1) % 3 == 0:
        optimizer.step()
        optimizer.zero_grad()
    if (i + 1) % 5 == 0:  # after 5, 10, 15, 20 passes: mostly inside a window of three
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "next": i + 1}
        state["gradients"] = [parameter.grad for parameter in model.parameters()]
        torch.save(state, f"{args.out}/pass{i + 1}.pt")
"""
"""Eight steps of three passes each. After ten passes three steps are done, and one pass of the fourth."""


@pytest.mark.parametrize("lose", ["", "gradients"])
def test_a_run_that_is_saved_inside_a_window(tmp_path, lose):
    run, resume = commands(tmp_path, ACCUMULATES, f"--lose {lose}" if lose else "")
    report = check_script(run, resume, kill_after=4)

    assert report.save_at == 3
    assert any("inside an accumulation window, 1 backward pass" in note for note in report.notes)
    if lose:
        assert report.verdict.name == "DIFFERENT"
        assert (report.divergence.step, report.divergence.phase) == (4, "backward")
        assert "grad" in report.causes[0].name
    else:
        assert report.verdict.name == "EXACT"
