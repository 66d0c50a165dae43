"""When a step is over: told by what a script calls, in the order in which it does."""

import pytest
import torch
from torch import nn

from dora_repro.scripts.stepping import Stepping


def steps(calls):
    """Number the calls by step: each is a module that is called, `backward`, or `update`."""
    stepping, number, told = Stepping(), 1, []
    for call in calls:
        if isinstance(call, nn.Module):
            over = stepping.armed and stepping.trains(call)
        elif call == "backward":
            over = stepping.ends_without_modules
        else:
            over = stepping.ends_with_second_update
        if over:
            stepping.over()
            number += 1
        if isinstance(call, nn.Module):
            stepping.called(call)
        elif call == "backward":
            stepping.backwards += 1
        else:
            stepping.updated()
        told.append(number)
    return told


model, other = nn.Linear(1, 1), nn.Linear(1, 1)
still = nn.Linear(1, 1).eval()
loss = nn.MSELoss()


@pytest.mark.parametrize(
    ("what", "calls", "numbers"),
    [
        ("plain", [model, loss, "backward", "update"] * 2, [1, 1, 1, 1, 2, 2, 2, 2]),
        ("accumulation", [model, "backward", model, "backward", "update", model], [1, 1, 1, 1, 1, 2]),
        ("two optimizers at once", [model, "backward", "update", "update", model], [1, 1, 1, 1, 2]),
        ("two in turn", [model, "backward", "update", other, "backward", "update", model], [1, 1, 1, 2, 2, 2, 3]),
        ("an evaluation between", [model, "backward", "update", still, model], [1, 1, 1, 1, 2]),
        ("no module", ["backward", "update"] * 2, [1, 1, 2, 2]),
        ("in eval mode", [still, "backward", "update"] * 3, [1, 1, 1, 2, 2, 2, 3, 3, 3]),
    ],
)
def test_a_step_is_over_when_the_next_one_begins(what, calls, numbers):
    assert steps(calls) == numbers, what


def test_without_gradients_and_without_parameters_nothing_trains():
    stepping = Stepping()
    assert not stepping.trains(loss)
    assert not stepping.trains(nn.Linear(1, 1).requires_grad_(False))
    with torch.no_grad():
        assert not stepping.trains(model)
    assert stepping.trains(model)


def test_an_evaluation_before_the_first_step_is_forgotten():
    stepping = Stepping()
    stepping.called(still)
    stepping.backwards = 1
    stepping.forget_evaluation()
    stepping.called(model)
    stepping.updated()
    assert not stepping.trains(still)
