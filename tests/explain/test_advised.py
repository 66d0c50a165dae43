"""The lines for each part of a cause, and sentences where there are none."""

import enum

import pytest
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

from dora_repro import check
from dora_repro.faults import plain


class Weighted(plain.ConstantRate):
    """Draws hard samples more often; the weights are lost, and load() makes an iterator before they could be back."""

    def make_loader(self):
        self.weights = torch.ones(plain.SAMPLES, dtype=torch.double)
        sampler = WeightedRandomSampler(self.weights, plain.SAMPLES, generator=self.generator)
        return DataLoader(plain.samples(), batch_size=plain.BATCH, sampler=sampler)

    def end_epoch(self):
        self.weights[:8] *= 2


class Relabelled(plain.ConstantRate):
    """Changes its own labels while it trains."""

    def make_loader(self):
        self.data = plain.samples()
        return DataLoader(self.data, batch_size=plain.BATCH, shuffle=True, generator=self.generator)

    def end_epoch(self):
        self.data.tensors[1].mul_(0.5)


@pytest.mark.parametrize(("factory", "leaf"), [(Weighted, "weights"), (Relabelled, "data/tensors/1")])
def test_what_batches_are_made_of_is_named_beside_them(factory, leaf):
    """Neither can be put back in time: what was drawn stays drawn, and a dataset is stored by digest alone."""
    report = check(factory, 9, 5, in_process=True)
    (cause,) = report.causes
    assert cause.name == "data/batches" and cause.how.endswith(f"their sources differ right after loading: {leaf}")
    assert any(line.startswith(f"Restore {leaf} before an iterator of the loader is made") for line in cause.advice)


class TextForKeys(plain.Training):
    """Scales by a table of steps, whose keys come back as text: what the file has cannot mend that."""

    def __init__(self):
        super().__init__()
        self.table = {step: 1 + step / 10 for step in range(6)}

    def loss(self, inputs, targets):
        return super().loss(inputs, targets) * self.table.get(self.steps, 1.0)

    def state(self):
        return {**super().state(), "table": {str(step): scale for step, scale in self.table.items()}}

    def load_model(self, state):
        super().load_model(state)
        self.table = state["table"]


def test_where_what_the_file_has_does_not_do_it_is_saved_anew():
    report = check(TextForKeys, steps=6, save_at=3, in_process=True)
    (cause,) = report.causes
    assert cause.name == "table" and cause.save and cause.load
    assert report.explanation.lines_tried.restores


class Color(enum.Enum):
    RED = 1


class WeightedByColor(plain.Training):
    """A weight by the member of an enum grows with each step, in a dict that begins empty."""

    def __init__(self):
        super().__init__()
        self.weights = {}

    def loss(self, inputs, targets):
        self.weights[Color.RED] = self.weights.get(Color.RED, 0) + 1
        return super().loss(inputs, targets) * self.weights[Color.RED]


def test_the_lines_for_a_member_of_an_enum_as_key_can_be_pasted():
    report = check(WeightedByColor, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == ("weights/Color.RED",)
    assert report.explanation.lines_tried.restores
