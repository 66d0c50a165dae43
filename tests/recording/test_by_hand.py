"""A loss that is scaled by hand: told from one that is divided for its own sake, and recorded without the scale."""

import functools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dora_repro import check
from dora_repro.recording import Recorder
from dora_repro.recording.by_hand import factor_of, is_clipped


class Run:
    """Scales its loss by `scale`, `parts` times a step, and divides the gradients by `undo`."""

    def __init__(self, scale=1.0, undo=None, parts=1, clip=None):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(8, 3)
        self.scale, self.undo, self.parts, self.clip = scale, scale if undo is None else undo, parts, clip

    def step(self):
        self.optimizer.zero_grad()
        for inputs in self.inputs.chunk(self.parts):
            loss = self.model(inputs).square().mean()
            (loss * self.scale).backward()
        for parameter in self.model.parameters():
            parameter.grad /= self.undo
        if self.clip is not None:
            self.clip(self.model.parameters())
        self.optimizer.step()
        return loss.item()


def effects(**how):
    run = Run(**how)
    with Recorder(run, 0) as recorder:
        recorder.step()
    return {(effect.phase, effect.leaf): effect.digest for effect in recorder.trace.steps[0].effects}


def differing(one, two):
    assert one.keys() == two.keys()
    leaves = {leaf for (phase, leaf), found in one.items() if found != two[phase, leaf]}
    return {leaf.rpartition("/")[2].rpartition(".")[2] for leaf in leaves}


@pytest.mark.parametrize("parts", [1, 2])
def test_a_scale_that_is_undone_is_no_effect(parts):
    assert differing(effects(scale=16.0, parts=parts), effects(scale=256.0, parts=parts)) == set()


def test_a_scale_that_is_undone_is_as_none_at_all():
    assert differing(effects(scale=16.0), effects(scale=1.0)) == set()


CLIPS = {
    "by norm": functools.partial(nn.utils.clip_grad_norm_, max_norm=0.1),
    "by value": functools.partial(nn.utils.clip_grad_value_, clip_value=0.05),
    "by a norm that none reaches": functools.partial(nn.utils.clip_grad_norm_, max_norm=1e6),
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_scale_that_is_undone_before_clipping_is_no_effect(clip, parts):
    found = [effects(scale=scale, parts=parts, clip=clip) for scale in (16.0, 256.0)]
    assert differing(*found) == set()
    if parts == 1:
        assert differing(found[0], effects(scale=1.0, clip=clip)) == set()


def test_where_clipping_saw_the_scale_the_update_shows_it():
    found = [effects(scale=scale, undo=1.0, clip=CLIPS["by norm"]) for scale in (16.0, 256.0)]
    assert differing(*found) <= {"weight", "bias"} and differing(*found)


def test_other_losses_that_are_clipped_count_as_they_are():
    clip = CLIPS["by norm"]
    divided = [effects(scale=scale, undo=1.0, parts=2, clip=clip) for scale in (0.5, 0.25)]
    assert {"loss", "grad"} <= differing(*divided)  # by a number of micro-batches


def test_what_clipping_may_make_of_gradients():
    one, other = torch.randn(5), torch.randn(3, 2)
    norm = torch.tensor(0.3123)
    assert is_clipped([(one, one * norm), (other, other * norm)])
    assert is_clipped([(one, one.clamp(-0.1, 0.1)), (other, other.clamp(-0.1, 0.1))])
    assert not is_clipped([(one, one * norm), (other, other)])
    assert not is_clipped([(one, one * 2), (other, other * 2)])
    assert not is_clipped([(one, one / 4), (other, other / 4)])  # a scale, undone by another number
    assert not is_clipped([(one, one * norm + 1e-3)]) and not is_clipped([])
    assert not is_clipped([(one, -one)]) and not is_clipped([(one, one.double() * norm)])
    assert not is_clipped([(torch.zeros(3), torch.zeros(3))])


def test_a_scale_that_is_not_undone_is_an_effect_where_it_is():
    assert differing(effects(scale=0.5, undo=1.0), effects(scale=0.25, undo=1.0)) == {"loss", "grad", "weight", "bias"}


def test_of_one_that_is_undone_by_another_number_all_counts():
    assert {"loss", "grad"} <= differing(effects(scale=16.0, undo=8.0), effects(scale=32.0, undo=16.0))


def test_a_scale_that_is_no_power_of_two_loses_bits_and_counts():
    assert {"loss", "grad"} <= differing(effects(scale=3.0), effects(scale=6.0))


@pytest.mark.parametrize(
    ("scaled", "factor"),
    [
        (lambda loss: loss * 8, 8.0), (lambda loss: 8.0 * loss, 8.0), (lambda loss: loss / 4, 0.25),
        (lambda loss: loss * torch.tensor(2.0), 2.0), (lambda loss: loss, 1.0), (lambda loss: loss * 3, 1.0),
        (lambda loss: loss * loss, 1.0), (lambda loss: loss * 0, 1.0), (lambda loss: -loss, 1.0),
        (lambda loss: loss * float("inf"), 1.0), (lambda loss: loss * -2, 1.0), (lambda loss: [loss], 1.0),
    ],
)  # fmt: skip
def test_the_factor_is_the_number_that_a_loss_was_multiplied_by_last(scaled, factor):
    assert factor_of(scaled(torch.ones(2, requires_grad=True).sum())) == factor


class Lost(Run):
    """Grows its scale, and begins anew with the first one."""

    def __init__(self, **how):
        super().__init__(scale=16.0, **how)

    def step(self):
        loss = super().step()
        self.scale = self.undo = self.scale * 2
        return loss

    def save(self, path):
        torch.save(self.model.state_dict(), path)

    def load(self, path):
        self.model.load_state_dict(torch.load(path))


class LostParts(Lost):
    """What it multiplies its loss by is not undone."""

    def step(self):
        loss = super().step()
        self.undo = 16.0
        return loss


def test_a_lost_scale_is_latent_and_a_lost_weight_of_the_loss_is_not():
    assert check(Lost, steps=4, save_at=2, in_process=True).verdict.name == "LATENT"
    report = check(LostParts, steps=4, save_at=2, in_process=True)
    assert report.verdict.name == "DIFFERENT" and report.divergence.place.startswith("step 3, phase forward, loss")


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_the_factor_is_read_while_operators_are_watched():
    weight = torch.ones(2, requires_grad=True)
    with Watching():
        assert factor_of(weight.sum() * 4.0) == 4.0
        assert factor_of(weight.sum() / 0.5) == 2.0
        assert factor_of(weight.sum() * torch.tensor(8.0)) == 8.0
