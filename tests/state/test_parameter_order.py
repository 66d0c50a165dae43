"""The order of an optimizer's parameters: told from other parameters, and put back with the moments."""

import random

import torch

from dora_repro.state.parameter_order import optimizer_of, reordered
from dora_repro.state.snapshot import Snapshot, run_roots


class Run:
    def __init__(self, seed):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(4)))
        parameters = list(self.model.parameters())
        random.Random(seed).shuffle(parameters)
        self.optimizer = torch.optim.AdamW(parameters, lr=0.01)

    def step(self):
        self.optimizer.zero_grad()
        self.model(torch.ones(2, 3)).square().mean().backward()
        self.optimizer.step()


def capture(run):
    return Snapshot.capture(run_roots(run))


def loaded(seed, state):
    run = Run(seed)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    return run


def test_groups_of_the_same_parameters_in_another_order_are_found():
    path = "optimizer/group.0/params"
    assert reordered(capture(Run(1)), capture(Run(2))) == (path,)
    assert reordered(capture(Run(1)), capture(Run(1))) == ()
    fewer = Run(1)
    fewer.optimizer.param_groups[0]["params"].pop()
    assert reordered(capture(Run(1)), capture(fewer)) == ()
    assert optimizer_of(path) == "optimizer" and optimizer_of("optimizer/group.0/lr") == ""


def test_an_order_is_put_back_with_the_moments_that_were_loaded_by_position():
    run = Run(1)
    run.step(), run.step()
    saved = capture(run)
    wrong = loaded(2, {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()})
    moments = [path for path in saved if saved[path].role == "moment"]
    assert any(capture(wrong)[path].digest != saved[path].digest for path in moments)
    assert saved.restore(run_roots(wrong), ["optimizer/group.0/params"]) == {}
    now = capture(wrong)
    assert all(now[path].digest == saved[path].digest for path in moments)
    assert now["optimizer/group.0/params"].digest == saved["optimizer/group.0/params"].digest


def test_parameters_that_an_optimizer_steps_besides_are_taken_from_it_with_their_state():
    class Run:
        def __init__(self, layers):
            self.model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
            parameters = [p for layer in layers for p in self.model[layer].parameters()]
            self.optimizer = torch.optim.AdamW(parameters, lr=0.1)
            self.model(torch.ones(1, 2)).sum().backward()
            self.optimizer.step()

    path = "optimizer/group.0/params"
    for layers, others in (((1,), (0, 1)), ((0, 1), (1,))):
        saved, other = Snapshot.capture(run_roots(Run(layers))), Run(others)
        kept = other.optimizer.state[other.model[1].weight]["exp_avg"].clone()
        assert saved.restore(run_roots(other), [path]) == {}
        now = Snapshot.capture(run_roots(other))
        assert now[path].value == saved[path].value
        assert set(map(id, other.optimizer.state)) == {id(p) for p in other.model[1].parameters()}
        assert torch.equal(other.optimizer.state[other.model[1].weight]["exp_avg"], kept)
