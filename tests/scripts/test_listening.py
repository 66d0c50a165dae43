"""Calls that torch has no hook for: who listens sees the caller, and the calls do what they did."""

import os

import pytest
import torch

from dora_repro.scripts import listening


@pytest.fixture
def product():
    weight = torch.tensor([2.0], requires_grad=True)
    return weight, (weight * weight).sum()


def test_optimizers_are_heard_of_when_they_are_made(monkeypatch, product):
    monkeypatch.setattr(torch.optim.Optimizer, "__init__", torch.optim.Optimizer.__init__)
    made = []
    listening.to_optimizer_making(made.append)
    optimizer = torch.optim.AdamW([product[0]], lr=0.5)
    assert made == [optimizer] and optimizer.param_groups[0]["lr"] == 0.5


def test_a_backward_pass_is_heard_before_and_after(monkeypatch, product):
    monkeypatch.setattr(torch.autograd, "backward", torch.autograd.backward)
    weight, loss = product
    heard = []

    def before(frame):
        heard.append(("before", weight.grad))
        return False

    listening.to_backward(before, lambda: heard.append(("after", weight.grad.clone())))
    loss.backward()

    assert heard == [("before", None), ("after", torch.tensor([4.0]))]


def test_a_recorder_that_begins_with_a_pass_wraps_it_by_itself(monkeypatch, product):
    real = torch.autograd.backward
    monkeypatch.setattr(torch.autograd, "backward", real)
    weight, loss = product
    heard = []

    def recorder(*args, **kwargs):
        heard.append("recorder")
        real(*args, **kwargs)

    def begin(frame):
        torch.autograd.backward = recorder
        return True

    listening.to_backward(begin, lambda: heard.append("after"))
    loss.backward()

    assert heard == ["recorder"] and weight.grad.item() == 4.0


def test_gradients_that_are_asked_for_show_their_callers_frame(monkeypatch, product):
    monkeypatch.setattr(torch.autograd, "grad", torch.autograd.grad)
    weight, loss = product
    names = []
    listening.to_grad(lambda frame: False, lambda frame: names.append(frame.f_code.co_name))

    (gradient,) = torch.autograd.grad(loss, [weight])

    assert gradient.item() == 4.0 and names == ["test_gradients_that_are_asked_for_show_their_callers_frame"]


def test_an_end_without_pythons_own_way_out_is_heard_first(monkeypatch):
    order = []
    monkeypatch.setattr(os, "_exit", lambda status: order.append(status))
    listening.to_exit(lambda: order.append("heard"))
    os._exit(7)

    assert order == ["heard", 7]
