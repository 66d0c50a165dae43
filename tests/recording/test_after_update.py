"""Parameters that change between their update and the end of the step, by whatever way, and those that do not."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro.recording import Recorder
from dora_repro.recording.after_update import LARGE, AfterUpdate
from dora_repro.state.digest import digest_tensor
from tests import runs


def halve_in_place(weight):
    with torch.no_grad():
        weight.mul_(0.5)


def replace_data(weight):
    weight.data = weight.data * 0.5


def load_state(weight):
    nn.ParameterList([weight]).load_state_dict({"0": weight.detach() * 0.5})


WAYS = {
    "in place": halve_in_place,
    "through .data": lambda weight: weight.data.mul_(0.5),
    "through detach": lambda weight: weight.detach().mul_(0.5),
    "through numpy": lambda weight: weight.detach().numpy().__imul__(0.5),
    "by other data": replace_data,
    "by load_state_dict": load_state,
}


class Changing(runs.Plain):
    """Does something to its first weights after each update."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def step(self):
        loss = super().step()
        self.change(self.model[0].weight)
        return loss


def recorded(run, steps=1, **options):
    with Recorder(run, **options) as recorder:
        for number in range(steps):
            recorder.step(last=number == steps - 1)
    return recorder


def at_end(recorder) -> list[tuple[str, str]]:
    return [(e.phase, e.leaf) for e in recorder.trace.steps[-1].effects if e.phase.startswith("step_end")]


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
def test_a_parameter_that_changes_after_its_update_is_an_effect_of_the_step(change):
    run = Changing(change)
    recorder = recorded(run)
    assert at_end(recorder) == [("step_end", "model/0.weight")]
    order = list(dict.fromkeys(effect.phase for effect in recorder.trace.steps[0].effects))
    assert order == ["forward", "backward", "update", "schedule", "step_end"]
    assert recorder.trace.steps[0].effects[-1].digest == digest_tensor(run.model[0].weight)


def test_what_is_back_at_the_end_of_the_step_is_none():
    def swap_and_back(weight):
        kept = weight.data
        weight.data = torch.zeros_like(kept)
        weight.data = kept

    assert at_end(recorded(Changing(swap_and_back))) == []
    assert at_end(recorded(runs.Plain(), 2)) == []


class Validating(runs.Plain):
    """Validates, and halves its first weights before that or after it."""

    before = True

    def step(self):
        loss = super().step()
        if self.before:
            self.model[0].weight.data.mul_(0.5)
        with torch.no_grad():
            for inputs, _ in DataLoader(runs.made_data(), batch_size=32):
                self.model(inputs)
        if not self.before:
            self.model[0].weight.data.mul_(0.5)
        return loss


def test_it_stands_before_the_end_of_the_epoch_or_after_it_as_it_happened():
    run = Validating()
    order = [effect.phase for effect in recorded(run).trace.steps[0].effects]
    assert order.index("step_end") < order.index("epoch_end") and order.index("step_end") > order.index("schedule")
    run.before = False
    order = [effect.phase for effect in recorded(run).trace.steps[0].effects]
    assert order[-1] == "step_end"


def test_the_value_that_is_wanted_is_kept_there_though_it_did_not_change():
    run = runs.Plain()
    recorder = recorded(run, keep=(1, "step_end", "model/0.weight"))
    assert torch.equal(recorder.kept, run.model[0].weight)


def test_a_large_parameter_is_read_again_where_a_sample_moved_and_at_the_last_step():
    large = nn.Parameter(torch.zeros(LARGE))  # 4 MiB
    after = AfterUpdate()
    after.note("w", large, digest_tensor(large))
    assert after.changed({}) == {}
    large.data[5000] = 1.0  # in no block of the sample, and without a version
    assert after.changed({}) == {}
    assert list(after.changed({}, whole=True)) == ["w"]
    large.data.add_(1.0)
    assert list(after.changed({})) == ["w"]
    after.begin()
    assert after.changed({}, whole=True) == {}
    after.note("w", large, digest_tensor(large))
    with torch.no_grad():
        large[5000] = 3.0  # a version tells
    assert list(after.changed({})) == ["w"]
