"""The lines for optimizers are run, and then an optimizer steps the run's own parameters with the moments it had."""

import pytest
import torch
from torch import nn

from dora_repro import check
from dora_repro.explain.advice.advice import advise
from dora_repro.explain.advice.lost_state import LostState
from dora_repro.explain.advice.optimizers import whole_optimizer
from dora_repro.explain.trials.search_result import OBJECT
from dora_repro.faults.forms import WideMomentum
from dora_repro.state.snapshot import Snapshot, run_roots


class Run:
    """A model and an optimizer inside an object, made when the first step is done."""

    def __init__(self, steps=0, make=torch.optim.AdamW, dtype=torch.float32):
        torch.manual_seed(steps)
        self.model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).to(dtype)
        self.parts = {"optimizer": None}
        self.make = make
        for _ in range(steps):
            self.step()

    def step(self):
        if self.parts["optimizer"] is None:
            self.parts["optimizer"] = self.make(self.model.parameters(), lr=0.03)
        optimizer = self.parts["optimizer"]
        optimizer.zero_grad()
        self.model(torch.ones(1, 3, dtype=self.model[0].weight.dtype)).sum().backward()
        optimizer.step()


def taken(run):
    return Snapshot.capture(run_roots(run))


def run_lines(advice, first, other):
    state = {}
    for line in advice.save:
        exec(line, {"self": first, "state": state})
    for line in advice.load:
        exec(line, {"self": other, "torch": torch, "state": state})


def lost(run):
    saved = taken(run)
    return LostState(("parts/optimizer",), saved, saved.kinds)


def test_an_optimizer_that_is_lost_whole_is_made_over_the_parameters_of_the_run():
    first, other = Run(steps=3), Run()
    saved = taken(first)
    advice = advise("parts/optimizer", ("parts/optimizer",), OBJECT, saved)
    run_lines(advice, first, other)
    assert [*other.parts["optimizer"].param_groups[0]["params"]] == [*other.model.parameters()]
    made = taken(other)
    inside = [path for path in saved if path.startswith("parts/optimizer/")]
    assert len(inside) > 15 and all(made[path].digest == saved[path].digest for path in inside)


def two_groups(parameters, lr):
    first, *rest = parameters
    return torch.optim.AdamW([{"params": [first]}, {"params": rest}], lr=lr)


def of_some(parameters, lr):
    return torch.optim.AdamW([*parameters][1:], lr=lr)


@pytest.mark.parametrize("make", [two_groups, of_some, WideMomentum])
def test_no_lines_are_made_up_for_groups_for_some_of_the_parameters_or_for_a_class_that_torch_lacks(make):
    assert whole_optimizer(lost(Run(steps=1, make=make))) is None
    assert whole_optimizer(lost(Run(steps=1))) is not None


def test_what_is_no_optimizer_has_other_lines():
    saved = taken(Run(steps=1))
    assert whole_optimizer(LostState(("model",), saved, saved.kinds)) is None


def test_moments_of_another_dtype_than_their_parameters_are_set_after_loading():
    first, other = (Run(steps=steps, make=WideMomentum, dtype=torch.bfloat16) for steps in (3, 1))
    saved = taken(first)
    leaves = tuple(path for path in saved if path.endswith("/momentum"))
    for plain in (False, True):  # load_state_dict alone casts them
        run_lines(advise("momentum", leaves, "moment", saved, how="recast", plain=plain), first, other)
        assert all((taken(other)[path].digest == saved[path].digest) is plain for path in leaves)
    sentences = (False, True), ("build the run in the dtype", "puts what was saved in its place")
    for plain, words in zip(*sentences, strict=True):
        advice = advise("momentum", leaves, "moment", saved, how="recast", plain=plain)
        assert words in " ".join((advice.sentence, *advice.further))


class Unfreezing:
    """Trains its last layer, from the third step on the first one as well, in a group of its own; the optimizer is not
    saved."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        self.net[0].requires_grad_(False)
        self.opt = torch.optim.Adam(self.net[1].parameters(), lr=0.05)
        self.steps = 0

    def step(self):
        if self.steps == 2:
            self.net[0].requires_grad_(True)
            self.opt.add_param_group({"params": self.net[0].parameters(), "lr": 0.01})
        self.steps += 1
        self.opt.zero_grad()
        loss = (self.net(torch.full((3, 4), 0.1 * self.steps)) - 1).square().mean()
        loss.backward()
        self.opt.step()
        return loss.item()

    def save(self, path):
        torch.save({"net": self.net.state_dict(), "steps": self.steps}, path)

    def load(self, path):
        state = torch.load(path)
        self.net.load_state_dict(state["net"])
        self.steps = state["steps"]


def test_a_group_that_was_added_while_training_is_added_before_the_state_is_loaded():
    found = check(Unfreezing, 6, 3, in_process=True).explanation
    loads = [line for _, line in found.lines.load]
    added = next(index for index, line in enumerate(loads) if ".add_param_group(" in line)
    assert added < loads.index('self.opt.load_state_dict(state["opt"])') and found.lines_tried.restores
    assert any("before the optimizer's state is loaded" in line for cause in found.causes for line in cause.advice)
