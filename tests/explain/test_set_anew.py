"""An option that the run makes of a lost count is told after that, and where the run does not make it, as lost."""

import os

import pytest
import torch

import dora_repro

pytest.importorskip("greenlet", reason="functions are suspended in greenlets")


def train(out, resume_from=None, set_back=False):
    """The rate follows a count that no file has: set before each step, or, with `set_back`, after it."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    inputs = torch.randn(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = updates = 0
    if resume_from is not None:
        state = torch.load(resume_from)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        if set_back:
            optimizer.param_groups[0]["lr"] = 0.1
    while step < 8:
        if not set_back:
            optimizer.param_groups[0]["lr"] = 0.1 * 0.8**updates
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
        step, updates = step + 1, updates + 1
        if set_back:
            optimizer.param_groups[0]["lr"] = 0.1 * 0.8**updates
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, os.path.join(out, f"{step}.pt"))


def causes(**options):
    training = dora_repro.stepwise(train, "{out}", resumed={"resume_from": "{newest}"}, **options)
    report = dora_repro.check(training, steps=7, save_at=3, in_process=True)
    assert [cause.name for cause in report.explanation.causes] == ["train/updates", "train/optimizer/group.0/lr"], (
        report
    )
    assert report.explanation.lines_tried.restores, report
    return report.explanation.causes


def test_a_rate_that_is_made_of_a_lost_count_gets_no_lines():
    count, rate = causes()
    assert count.save == ('state["updates"] = updates',) and not rate.load
    assert (
        rate.how
        == "set by the run for each step: with `train/updates` restored, it has the right value again by itself"
    )
    assert rate.taken_from == "train/updates"


def test_a_rate_that_loading_sets_back_is_lost_beside_the_count():
    count, rate = causes(set_back=True)
    assert count.load and rate.load and not rate.taken_from
