"""Lines fit the form of what `save` writes: where no key can be added, they write a file of their own beside it."""

import copy
import json
import os
import random
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from dora_repro.checks.checks import check
from dora_repro.explain.advice.lost_state import Advice, LostState, holder_of, under_free_keys
from dora_repro.explain.advice.values import value_lines
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.rebuild import PARTS, Kind


class Averaged:
    """Loses an average and a counter; a subclass says how it saves the rest."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(8, 4)
        self.seen = 0
        self.pull = torch.zeros(4)

    def step(self):
        self.seen += 1
        self.pull = self.pull * 0.9 + self.model.weight.detach()[0] * self.seen
        self.optimizer.zero_grad()
        loss = (self.model(self.inputs) - 1 + (self.pull * self.model.weight).sum()).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        torch.save(self.written(), path)

    def load(self, path):
        self.model.load_state_dict(self.weights(torch.load(path)))


class Tuple(Averaged):
    def written(self):
        return self.model.state_dict(), 3

    def weights(self, state):
        return state[0]


class Flat(Averaged):
    def written(self):
        return self.model.state_dict()

    def weights(self, state):
        return state


class Keyed(Averaged):
    def written(self):
        return {"model": self.model.state_dict()}

    def weights(self, state):
        return state["model"]


class Safetensors(Averaged):
    def save(self, path):
        safetensors.torch.save_file(self.model.state_dict(), path)

    def load(self, path):
        self.model.load_state_dict(safetensors.torch.load_file(path))


class Folder(Averaged):
    def save(self, path):
        os.makedirs(path, exist_ok=True)
        torch.save(self.model.state_dict(), f"{path}/model.pt")

    def load(self, path):
        self.model.load_state_dict(torch.load(f"{path}/model.pt"))


class Several(Averaged):
    def save(self, path):
        torch.save(self.model.state_dict(), f"{path}.model")

    def load(self, path):
        self.model.load_state_dict(torch.load(f"{path}.model"))


@pytest.mark.parametrize("factory", [Tuple, Flat, Safetensors, Folder, Several])
def test_a_file_beside_is_written_where_no_key_can_be_added(factory):
    found = check(factory, 6, 3, in_process=True).explanation
    beside = 'f"{path}/more.pt"' if factory is Folder else 'f"{path}.more"'
    assert found.lines.save[0] == "more = {}" and found.lines.save[-1] == f"torch.save(more, {beside})"
    assert found.lines.load[0] == ("", f"more = torch.load({beside})")
    assert any(line.startswith('more["seen"] = ') for line in found.lines.save)
    assert found.lines_tried.restores


def test_a_key_is_added_to_a_dict():
    found = check(Keyed, 6, 3, in_process=True).explanation
    assert any(line.startswith('state["seen"] = ') for line in found.lines.save)
    assert not any("more" in line for line in found.lines.save) and found.lines_tried.restores


class ManyOptimizers:
    """An optimizer for each parameter; all are saved, in a list, and none is loaded."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.inputs = torch.randn(4, 3)
        self.each = [torch.optim.Adam([parameter], lr=0.1) for parameter in self.model.parameters()]

    def step(self):
        loss = self.model(self.inputs).square().mean()
        loss.backward()
        for optimizer in self.each:
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    def save(self, path):
        torch.save({"model": self.model.state_dict(), "each": [each.state_dict() for each in self.each]}, path)

    def load(self, path):
        self.model.load_state_dict(torch.load(path)["model"])


def test_each_of_many_optimizers_is_read_from_its_own_place():
    report = check(ManyOptimizers, steps=4, save_at=2, in_process=True)
    lines = [line for cause in report.causes for line in cause.load]
    assert lines == [f'self.each[{index}].load_state_dict(state["each"][{index}])' for index in range(2)]
    assert report.explanation.lines_tried.restores


class OfEachParameter(ManyOptimizers):
    """Optimizers by parameter. A moment of one element has as many bytes as the count of steps, alike in all."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        self.by_parameter = {parameter: torch.optim.Adam([parameter], lr=0.1) for parameter in self.model.parameters()}
        self.each = self.by_parameter.values()

    def save(self, path):
        each = [optimizer.state_dict() for optimizer in self.by_parameter.values()]
        torch.save({"model": self.model.state_dict(), "each": each}, path)


def test_what_is_in_many_places_does_not_tell_which_is_its_own():
    report = check(OfEachParameter, steps=4, save_at=2, in_process=True)
    lines = [line for cause in report.causes for line in cause.load]
    assert [line.partition("load_state_dict")[2] for line in lines] == [
        f'(state["each"][{index}])' for index in range(4)
    ]
    assert report.explanation.lines_tried.restores


class InAnObject(ManyOptimizers):
    """A generator is saved inside a pickled object, and not taken out of it."""

    def __init__(self):
        super().__init__()
        self.draws = random.Random(3)

    def step(self):
        self.inputs = self.inputs * self.draws.random()
        return super().step()

    def save(self, path):
        super().save(path)
        torch.save(Pocket(copy.deepcopy(self.draws), self.inputs), f"{path}.pocket")

    def load(self, path):
        saved = torch.load(path)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.each, saved["each"], strict=True):
            optimizer.load_state_dict(state)
        self.inputs = torch.load(f"{path}.pocket", weights_only=False).inputs


class Pocket:
    def __init__(self, draws, inputs):
        self.draws, self.inputs = draws, inputs


def test_what_lies_in_a_pickled_object_is_saved_by_a_line_of_its_own():
    report = check(InAnObject, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == ("draws",) and cause.save and cause.load
    assert report.explanation.lines_tried.restores


def test_a_key_that_holds_something_else_is_left_to_it():
    found = under_free_keys(
        Advice(('state["seen"] = self.seen', 'state["seen too"] = 1'), ('self.seen = state["seen"]',)), {"seen", "n"}
    )
    assert found.save == ('state["seen, itself"] = self.seen', 'state["seen too"] = 1')
    assert found.load == ('self.seen = state["seen, itself"]',)


class Encoded:
    """Keeps the order of its entries through JSON, or not: `itself` is what is advised, pasted."""

    pasted = False

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.turns = OrderedDict(b=1.0, a=2.0)

    def step(self):
        name, scale = self.turns.popitem(last=False)
        self.turns[name] = scale
        loss = (self.model(torch.ones(1, 2)) - scale).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        state = {"model": self.model.state_dict(), "turns": json.dumps(self.turns, sort_keys=True)}
        if self.pasted:
            state["turns, itself"] = self.turns
        torch.save(state, path)

    def load(self, path):
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.turns = OrderedDict(json.loads(state["turns"]))
        if self.pasted:
            self.turns = state["turns, itself"]


class Pasted(Encoded):
    pasted = True


def test_lines_do_not_take_the_key_of_what_load_decodes():
    lines = check(Encoded, 4, 2, in_process=True).explanation.lines
    assert lines.save == ('state["turns, itself"] = self.turns',)
    assert lines.load == (("", 'self.turns = state["turns, itself"]'),)
    assert check(Pasted, 4, 2, in_process=True).verdict.name == "EXACT"


def test_the_parts_of_a_library_are_no_container_that_is_saved_as_one():
    """An average that a class derived from the Trainer keeps: `copy.deepcopy(self.trainer)` was advised for it."""
    kinds = {"trainer": Kind(PARTS, coded=(("ema", "trainer.ema"),))}
    lost = LostState(("trainer/ema",), {"trainer/ema": SavedLeaf("trainer/ema", "memory", b"", 0.5)}, kinds)
    assert holder_of(lost) == "trainer/ema"
    advice = value_lines(lost)
    assert (advice.save, advice.load) == (
        ('state["trainer/ema"] = trainer.ema',),
        ('trainer.ema = state["trainer/ema"]',),
    )
    assert holder_of(LostState(("d/a", "d/b"), {}, {"d": Kind("dict")})) == "d"
