"""What a step consumes is all that its modules are given, but for those that only prepare data."""

import copy
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dora_repro import Recorder, check


class Scale(nn.Module):
    def forward(self, inputs):
        return (inputs - 0.5) / 2


class Skips:
    """Six batches an epoch, of a generator that prepares them outside the loader; a resumed run passes over those that
    were used in its first step, and `off` more."""

    off = 0

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.loader = DataLoader(TensorDataset(torch.randn(24, 3)), 4)
        self.prepare = self.make_prepare()
        self.skip, self.used, self.left = 0, 0, None

    def make_prepare(self):
        return Scale()

    def batches(self) -> Iterator[torch.Tensor]:
        for (inputs,) in self.loader:
            yield self.prepare(inputs)

    def step(self):
        if self.left is None:
            self.left, self.skip = islice(self.batches(), self.skip, None), 0
        inputs = next(self.left)
        self.used += 1
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(inputs), torch.ones(4, 1))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        parts = self.model.state_dict(), self.optimizer.state_dict(), self.prepare.state_dict(), self.used
        torch.save(parts, path)

    def load(self, path):
        model, optimizer, prepare, self.used = torch.load(path)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.prepare.load_state_dict(prepare)
        self.skip = self.used + self.off


class Encoder(nn.Module):
    """A frozen one, which prepares what the model is given."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, inputs):
        return {"features": self.linear(inputs)}


class Encoded(Skips):
    def make_prepare(self):
        return Encoder()

    def batches(self):
        for (inputs,) in self.loader:
            yield self.prepare(inputs)["features"]


class ByHand(Skips):
    def batches(self):
        for inputs in self.loader.dataset.tensors[0].split(4):
            yield self.prepare(inputs)


class Ahead(Skips):
    """One batch ahead: a resumed run takes two in its first step."""

    def batches(self):
        ahead = super().batches()
        inputs = next(ahead)
        for following in ahead:
            yield inputs
            inputs = following
        yield inputs


KINDS = [Skips, Encoded, ByHand, Ahead]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_that_are_passed_over_are_no_difference_though_modules_prepared_them(kind):
    report = check(kind, steps=5, save_at=3, in_process=True, explain=False)
    assert report.verdict == "EXACT", report.reason


@pytest.mark.parametrize("off", [1, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_too_many_or_too_few_is_a_difference_of_what_is_read(kind, off, monkeypatch):
    monkeypatch.setattr(kind, "off", off, raising=False)
    report = check(kind, steps=5, save_at=3, in_process=True, explain=False)
    assert report.verdict == "DIFFERENT" and report.divergence.step == 4
    assert report.divergence.phase == ("forward" if kind is ByHand else "batch")
    assert report.divergence.leaf == ("outputs/prepare" if kind is ByHand else "batch/0")


class EncoderLost(Encoded):
    def load(self, path):
        super().load(path)
        self.prepare = Encoder()


def test_other_data_made_of_the_same_batches_is_a_difference_of_what_made_it():
    report = check(EncoderLost, steps=5, save_at=3, in_process=True, explain=False)
    assert (report.verdict, report.divergence.phase) == ("DIFFERENT", "forward")
    assert report.divergence.leaf == "outputs/prepare/features"
    weight = Encoded().prepare.linear.weight
    assert 0 < report.divergence.difference.max_abs < 10 and weight.shape == (3, 3)


class Evaluates(Skips):
    """The first step after resuming evaluates an averaged copy on batches of its own: nothing that prepares data."""

    resumed = False

    def __init__(self):
        super().__init__()
        self.average = copy.deepcopy(self.model)
        self.validation = DataLoader(TensorDataset(torch.ones(4, 3)), 2, generator=torch.Generator())

    def step(self):
        if self.resumed:
            with torch.no_grad():
                for (inputs,) in self.validation:
                    self.average(inputs)
        self.resumed = False
        return super().step()

    def load(self, path):
        super().load(path)
        self.resumed = True


def test_an_evaluation_more_is_a_difference():
    report = check(Evaluates, steps=5, save_at=3, in_process=True, explain=False)
    assert (report.verdict, report.divergence.step) == ("DIFFERENT", 4)


def test_a_step_names_what_prepared_its_data():
    with Recorder(Skips()) as recorder:
        recorder.step()
    assert recorder.trace.step(1).prepared == ("outputs/prepare",)
    with Recorder(Evaluates()) as recorder:
        recorder.run.resumed = True
        recorder.step()
    assert recorder.trace.step(1).prepared == ("outputs/prepare",), "the copy's evaluation prepares nothing"


class HeadApart(Skips):
    """A criterion and an activation are modules without parameters, too, and come after a module that trains."""

    def __init__(self):
        super().__init__()
        self.criterion, self.activation = nn.MSELoss(), nn.ReLU()

    def step(self):
        self.optimizer.zero_grad()
        hidden = self.activation(self.model(self.prepare(torch.ones(4, 3))))
        self.criterion(hidden, torch.zeros(4, 1)).backward()
        self.optimizer.step()


def test_what_comes_after_a_module_that_trains_is_consumed():
    with Recorder(HeadApart()) as recorder:
        recorder.step()
    assert recorder.trace.step(1).prepared == ("outputs/prepare",)
