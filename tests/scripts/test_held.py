"""A model that is to be trained and asks for no gradients, as one that was loaded for inference."""

import pytest
import torch
from torch import nn

from dora_repro.scripts.checking import check_script
from dora_repro.scripts.held import Held
from tests.scripts.trainings import TRAIN, commands


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)


def held_by(*optimizers):
    held = Held()
    for optimizer in optimizers:
        held.made(optimizer)
    return held


def test_a_model_is_frozen_where_nothing_that_its_optimizer_holds_asks_for_gradients(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = held_by(optimizer)
    assert held.is_frozen(model) and held.is_frozen(model[0])
    assert not held.is_frozen(nn.Linear(2, 2).requires_grad_(False))  # a teacher: no optimizer has it
    with torch.no_grad():
        assert not held.is_frozen(model)
    assert not held.is_frozen(model.eval())
    model.train()[1].bias.requires_grad_()
    assert not held.is_frozen(model)  # a part of it is trained


def test_without_an_optimizer_nothing_is_to_be_trained(model):
    assert not held_by().is_frozen(model)
    other = nn.Linear(2, 2)
    both = torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.SGD(other.parameters(), lr=0.1)
    assert not held_by(*both).is_frozen(model)  # the turn of the other one


FROZEN = (
    TRAIN.replace("weights_only=False)\n", "weights_only=False)\n        model.requires_grad_(args.lose != 'asking')\n")
    .replace(", nn.Dropout(0.2)", "")
    .replace("shuffle=True", "shuffle=False")
)


def test_what_asks_for_gradients_is_put_back_before_the_forward_pass(tmp_path):
    run, resume = commands(tmp_path, FROZEN, more="--lose asking")
    report = check_script(run, resume, kill_after=4)
    assert report.verdict == "DIFFERENT" and "does not require grad" in str(report)
    (cause,) = report.causes
    assert cause.name == "main/model/*/requires_grad" and cause.how.startswith("frozen")
    assert report.explanation.proved and report.explanation.lines_tried.restores
    assert check_script(run, resume.replace("asking", "nothing"), kill_after=4).verdict == "EXACT"
