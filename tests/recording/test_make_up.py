"""Optimizers, modules and parameters are known wherever they are, and whenever they are made."""

import copy

import torch
from torch import nn

from dora_repro.recording import Recorder
from dora_repro.recording.make_up import MakeUp
from tests import runs


class Box:
    """Something that a run holds."""


def effects(run, steps=1):
    with Recorder(run) as recorder:
        for _ in range(steps):
            recorder.step()
    return [[(effect.phase, effect.leaf) for effect in step.effects] for step in recorder.trace.steps]


class Deferred(runs.Plain):
    """Makes its model and its optimizer in the first step, inside an object that it holds."""

    def __init__(self):
        super().__init__()
        self.box = Box()
        del self.model, self.optimizer

    def step(self):
        if not hasattr(self.box, "model"):
            self.box.model = nn.Linear(8, 3)
            self.box.optimizer = torch.optim.SGD(self.box.model.parameters(), lr=0.1)
        self.box.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.box.model(self.inputs), self.targets)
        loss.backward()
        self.box.optimizer.step()
        return loss.item()


def test_the_first_step_is_seen_as_all_others_though_everything_is_made_in_it():
    first, second = effects(Deferred(), 2)
    assert first == second
    assert ("schedule", "box/optimizer/group.0/lr") in first
    assert {("backward", "box/model.weight/grad"), ("update", "box/model.weight")} <= {
        (phase, leaf.replace("model/", "model.")) for phase, leaf in first
    }


def test_an_optimizer_that_only_a_step_has_goes_by_its_class_in_that_step():
    class Local(runs.Plain):
        def step(self):
            self.optimizer = None
            optimizer = torch.optim.SGD([*self.model.parameters(), self.own()], lr=0.1)
            loss = self.model(self.inputs).pow(2).mean() + optimizer.param_groups[0]["params"][-1].pow(2)
            loss.backward()
            optimizer.step()
            return loss.item()

        def own(self):
            return torch.ones((), requires_grad=True)

    first, second = effects(Local(), 2)
    assert ("schedule", "SGD/group.0/lr") in first
    assert ("update", "SGD/group.0.params.4") in first
    assert first == second


def test_a_copy_that_nothing_trains_is_no_effect_though_it_asks_for_gradients():
    class Averaging(runs.Plain):
        def __init__(self):
            super().__init__()
            self.average = copy.deepcopy(self.model)
            assert self.average[0].weight.requires_grad

    run = Averaging()
    with Recorder(run) as recorder:
        recorder.step()
    leaves = {effect.leaf for effect in recorder.trace.steps[0].effects}
    assert "model/0.weight" in leaves and not any(leaf.startswith("average") for leaf in leaves)
    assert set(recorder.facts()["trainable"]) == {f"model/{n}" for n in ("0.weight", "0.bias", "3.weight", "3.bias")}


def test_what_a_gradient_reaches_is_an_effect_whoever_asks_for_it():
    class ByHand(runs.Plain):
        def __init__(self):
            super().__init__()
            self.shift = torch.zeros(3, requires_grad=True)
            self.scale = torch.ones(3, requires_grad=True)
            self.idle = torch.ones(3, requires_grad=True)

        def step(self):
            loss = (self.model(self.inputs) * self.scale + self.shift).pow(2).mean()
            gradients = torch.autograd.grad(loss, (p for p in (self.shift,)), retain_graph=True)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.shift.data -= gradients[0]
            return loss.item()

    updates = {leaf for phase, leaf in effects(ByHand())[0] if phase.startswith("update")}
    assert {"shift", "scale"} <= updates and "idle" not in updates


def test_where_nothing_is_trained_in_a_known_way_all_that_asks_for_gradients_counts():
    class Evolving:
        def __init__(self):
            self.model = nn.Linear(2, 2)

        def step(self):
            with torch.no_grad():
                self.model.weight.add_(0.1)

    assert ("update", "model/weight") in effects(Evolving())[0]


def test_a_parameter_put_in_the_place_of_another_is_seen():
    run = runs.Plain()
    made_of = MakeUp(run)
    assert not made_of.has_changed()
    run.model[0].weight = nn.Parameter(run.model[0].weight.detach().clone())
    assert made_of.has_changed() and not made_of.has_other_objects()


class Lazy(runs.Plain):
    """Its first layer has no shape before its first batch; the optimizer is made before that."""

    def __init__(self, lazy=True):
        super().__init__()
        first = nn.LazyLinear(8) if lazy else nn.Linear(8, 8)
        self.model = nn.Sequential(first, nn.Linear(8, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)


def test_a_lazy_parameter_is_seen_from_the_moment_that_it_has_a_shape():
    assert effects(Lazy(), 2) == effects(Lazy(lazy=False), 2)
    assert ("backward", "model/0.weight/grad") in effects(Lazy())[0]


def test_a_lazy_parameter_that_never_gets_a_shape_is_no_parameter():
    run = Lazy(lazy=False)
    run.unused = nn.LazyLinear(2)
    made_of = MakeUp(run)
    assert not made_of.has_changed() and not [path for path in made_of.parameters if "unused" in path]
    assert effects(run) == effects(Lazy(lazy=False))


def test_whether_a_module_trains_is_known_anew_when_its_parameter_was_replaced():
    run = runs.Plain()
    made_of = MakeUp(run)
    before = {id(run.model[3].weight)}
    assert made_of.trains(before, run.model)
    assert not made_of.trains(set(), run.model)
    run.model[3].weight = nn.Parameter(torch.zeros_like(run.model[3].weight))
    assert made_of.has_changed()
    made_of.look()
    assert not made_of.trains(before, run.model)
    assert made_of.trains({id(run.model[3].weight)}, run.model)


def test_a_module_that_the_run_does_not_hold_is_asked_each_time():
    made_of = MakeUp(runs.Plain())
    stranger = nn.Linear(2, 2)
    first = {id(stranger.bias)}
    assert made_of.trains(first, stranger)
    stranger.bias = nn.Parameter(torch.zeros(2))
    assert not made_of.trains(first, stranger)
