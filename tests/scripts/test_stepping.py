"""When a step is over: told by what a script calls, in the order in which it does."""

import pytest
import torch
from torch import nn

from dora_repro.scripts.stepping import Stepping


def steps(calls):
    """Number the calls by step: each is a module that is called, `backward`, `asked`, `update`, `save`, or, for a batch
    that was fetched, the name of the loader."""
    stepping, number, told = Stepping(), 1, []
    source, wrote, mark = None, False, 0
    for call in calls:
        over = False
        if isinstance(call, nn.Module):
            over = stepping.armed and stepping.trains(call)
            if stepping.armed and stepping.may_train(call) and stepping.may_begin(source, wrote):
                stepping.mark(source)
                mark = len(told)
            source, wrote = None, False
        elif call in ("backward", "asked"):
            over = stepping.ends_without_modules
        elif call == "update":
            over = stepping.ended_at_mark
            if over:
                told[mark:] = [number + 1] * (len(told) - mark)
        elif call == "save":
            wrote = True
        else:
            source = call
        if over:
            stepping.over()
            number += 1
        if isinstance(call, nn.Module):
            stepping.called(call)
        elif call == "backward":
            stepping.backwards += 1
        elif call == "asked":
            stepping.asked()
        elif call == "update":
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
        ("eval mode after train mode", [model, "backward", "update", still, "backward", "update"], [1, 1, 1, 2, 2, 2]),
        ("and back", [still, "backward", "update", model, "backward", "update"], [1, 1, 1, 2, 2, 2]),
        ("gradients asked for in it", [still, "asked", "update"] * 2, [1, 1, 1, 2, 2, 2]),
        ("accumulation in it", [still, "backward", still, "backward", "update"] * 2, [1] * 5 + [2] * 5),
        (
            "evaluated before it",
            ["a", still, "backward", "update", "b", still, "b", still, "a", still, "backward", "update"],
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2],
        ),
        (
            "saved before it",
            [still, "backward", "update", still, "save", still, "backward", "update"],
            [1, 1, 1, 1, 1, 2, 2, 2],
        ),
        ("evaluated after it", [still, "backward", "update", still, still], [1, 1, 1, 1, 1]),
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
    assert stepping.may_begin(None, False)
