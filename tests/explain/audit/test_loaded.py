"""Each thing that can become of a leaf when it is loaded, with a small model, and a clean twin."""

import copy

import pytest
import torch
from torch import nn

from dora_repro.comparison.leaves import compare
from dora_repro.explain.audit.loaded import audit_load
from dora_repro.state.snapshot import Snapshot, run_roots


class Adapted(nn.Module):
    """A DoRA layer in small: a weight, its magnitude and two factors."""

    def __init__(self, trainable=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4), requires_grad=trainable)
        self.m = nn.Parameter(self.weight.detach().norm(dim=1))
        self.delta_D_A = nn.Parameter(torch.randn(2, 3))
        self.delta_D_B = nn.Parameter(torch.zeros(4, 2))

    def forward(self, inputs):
        changed = self.weight + (self.delta_D_B @ self.delta_D_A).T
        return inputs @ (self.m[:, None] * changed / changed.norm(dim=1, keepdim=True)).T


class Run:
    def __init__(self, trainable=True):
        torch.manual_seed(0)
        self.model = nn.Sequential(Adapted(trainable), nn.Linear(3, 3), nn.Linear(3, 3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.generator = torch.Generator().manual_seed(1)
        self.steps = 0
        for _ in range(3):
            self.step()

    def step(self):
        self.model(torch.randn(5, 4, generator=self.generator)).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1


def taken(run):
    return Snapshot.capture(run_roots(run))


def told(change, run=None, **options):
    """Words for each leaf that a change to a copy of a run makes differ."""
    run = run or Run()
    other = copy.deepcopy(run)
    other.generator = torch.Generator()
    other.generator.set_state(run.generator.get_state())
    change(other)
    saved, loaded = taken(run), taken(other)
    return audit_load(saved, loaded, compare(saved, loaded).differences, **options)


def test_nothing_is_told_of_equal_states():
    assert told(lambda run: None) == {}


def test_what_is_missing_is_lost():
    words = told(lambda run: run.optimizer.state.clear())
    assert len(words) == 24 and set(words.values()) == {"lost"}


def test_what_is_there_besides_is_told():
    assert told(lambda run: setattr(run, "extra", 3)) == {"extra": "only in the resumed run"}


def test_another_dtype_is_recast():
    def halve(run):
        run.model[1].weight.data = run.model[1].weight.data.bfloat16()

    words = told(halve)
    assert words == {"model/1.weight": "recast: f32[3, 3] became bf16[3, 3]"}
    assert told(lambda run: setattr(run, "steps", 3.0)) == {"steps": "recast: int became float"}


def test_none_where_there_was_a_value_is_no_recast_but_a_loss():
    assert told(lambda run: setattr(run, "steps", None)) == {"steps": "lost: None in its place"}


def test_a_lazy_layer_in_the_place_of_one_with_weights_is_a_loss():
    words = told(lambda run: run.model.__setitem__(1, nn.LazyLinear(3)))
    lost = "lost: a lazy tensor, which has no shape yet, in its place"
    assert words["model/1.weight"] == words["model/1.bias"] == lost


@pytest.mark.parametrize("half, name", [(torch.bfloat16, "bf16"), (torch.float16, "f16")])
def test_a_round_trip_through_a_half_is_recast(half, name):
    def round_off(run):
        run.model[1].weight.data = run.model[1].weight.data.to(half).float()

    assert told(round_off) == {"model/1.weight": f"recast: rounded to {name} and back"}


def test_a_round_trip_of_a_double_through_a_single_is_recast():
    run = Run()
    run.model.double()[1].weight.data.div_(3)
    words = told(lambda other: setattr(other.model[1].weight, "data", other.model[1].weight.data.float().double()), run)
    assert words == {"model/1.weight": "recast: rounded to f32 and back"}


def test_another_axis_is_reshaped():
    def turn(run):
        run.model[1].weight.data = run.model[1].weight.data.T.contiguous()
        run.model[0].delta_D_B.data = run.model[0].delta_D_B.data.T.contiguous()
        run.model[2].bias.data = run.model[2].bias.data[:, None]
        run.model[0].m.data = run.model[0].weight.detach().norm(dim=0)

    words = told(turn)
    assert words["model/1.weight"] == "reshaped: transposed"
    assert words["model/0.delta_D_B"] == "reshaped: f32[4, 2] became f32[2, 4], transposed"
    assert words["model/2.bias"] == "reshaped: f32[3] became f32[3, 1], the same numbers"
    assert words["model/0.m"] == "reshaped: f32[3] became f32[4]: a magnitude on the other axis"


def test_the_values_of_another_in_another_shape_are_told_as_its():
    def swap(run):
        run.optimizer.state[run.model[1].weight]["exp_avg"] = run.model[2].bias.detach().clone()
        run.optimizer.state[run.model[2].weight]["exp_avg"] = run.optimizer.state[run.model[2].bias]["exp_avg"].clone()

    assert told(swap) == {
        "optimizer/1.weight/exp_avg": "other values: those that `model/2.bias` had, in another shape",
        "optimizer/2.weight/exp_avg": "misplaced: it holds what `optimizer/2.bias/exp_avg` had, in another shape",
    }


def test_moments_on_another_parameter_are_misplaced():
    def swap(run):
        first, second = (run.optimizer.state[run.model[index].weight] for index in (1, 2))
        first["exp_avg"], second["exp_avg"] = second["exp_avg"], first["exp_avg"]

    assert told(swap) == {
        "optimizer/1.weight/exp_avg": "misplaced: it holds what `optimizer/2.weight/exp_avg` had",
        "optimizer/2.weight/exp_avg": "misplaced: it holds what `optimizer/1.weight/exp_avg` had",
    }


def test_moments_that_are_zeros_are_reset():
    words = told(lambda run: run.optimizer.state[run.model[1].bias]["exp_avg"].zero_())
    assert words == {"optimizer/1.bias/exp_avg": "reset to zeros"}


def test_ties_that_were_lost_or_made_are_told():
    tied = Run()
    tied.model[2].weight = tied.model[1].weight

    def untie(run):
        run.model[2].weight = nn.Parameter(run.model[1].weight.detach().clone())

    words = told(untie, tied)
    assert words["model/2.weight"] == "untied: it is no longer the same as `model/1.weight`"
    words = told(lambda run: setattr(run.model[2], "weight", run.model[1].weight))
    assert words["model/2.weight"] == "retied: it is now the same as `model/1.weight`"


@pytest.mark.parametrize("trainable", [True, False])
def test_an_adapter_that_was_made_anew_is_told(trainable):
    def anew(run):
        run.model[0].m.data = run.model[0].weight.detach().norm(dim=1)
        run.model[0].delta_D_B.data.zero_()

    run = Run(trainable)
    bases = {} if trainable else {"model/0.weight": run.model[0].weight.detach()}
    assert told(anew, run, bases=bases) == {
        "model/0.m": "re-initialised: the norms of the base weight",
        "model/0.delta_D_B": "re-initialised: all zeros",
    }


def test_the_names_of_peft_are_known():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_layer = nn.Linear(4, 3)
            self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 3, bias=False)})
            self.lora_magnitude_vector = nn.ModuleDict({"default": nn.Linear(3, 1, bias=False)})

    class Wrapped:
        def __init__(self):
            torch.manual_seed(0)
            self.model = nn.Sequential(Layer())
            self.generator = torch.Generator()

    def anew(run):
        layer = run.model[0]
        layer.lora_B["default"].weight.data.zero_()
        layer.lora_magnitude_vector["default"].weight.data = layer.base_layer.weight.detach().norm(dim=1)[None]

    assert told(anew, Wrapped()) == {
        "model/0.lora_B.default.weight": "re-initialised: all zeros",
        "model/0.lora_magnitude_vector.default.weight": "re-initialised: the norms of the base weight",
    }


def test_frozen_weights_modes_and_freezing():
    def change(run):
        run.model[0].weight.data.add_(1)
        run.model[1].bias.requires_grad_(False)
        run.model[2].eval()

    words = told(change, Run(trainable=False))
    assert words["model/0.weight"] == "frozen weights differ"
    assert words["model/1.bias/requires_grad"] == "frozen"
    assert words["model/2/training"] == "in evaluation mode"


def test_generators_and_other_values():
    def move(run):
        torch.rand(2, generator=run.generator)
        run.model[1].weight.data.mul_(2)
        run.steps = 9

    words = told(move)
    assert words["steps"] == words["model/1.weight"] == "other values"
    assert words["generator"] in ("2 draws ahead", "different state")


def test_a_copy_that_was_made_anew_is_not_called_misplaced():
    """Its values are those of what it was copied from, and nothing was mixed up."""
    run = Run()
    run.average = copy.deepcopy(run.model)
    run.average[2].bias.data += 1

    def copied(run):
        run.average = copy.deepcopy(run.model)

    words = told(copied, run)
    assert words == {"average/2.bias": "other values: those that `model/2.bias` had"}


def test_a_tensor_of_the_run_that_began_as_another_is_not_called_misplaced():
    run = Run()
    run.shift = torch.arange(4.0)
    run.total = run.shift.clone() + 3

    def begun_anew(other):
        other.total = other.shift.clone()

    def swapped(other):
        other.total, other.shift = other.shift, other.total

    assert told(begun_anew, run) == {"total": "other values"}
    assert told(swapped, run)["total"] == "other values: those that `shift` had"
