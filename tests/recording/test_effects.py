"""What one step does, as it is seen: its phases in order of execution, and the leaves of each."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro.alignment.divergence import first_divergence
from dora_repro.recording import Recorder
from dora_repro.state.digest import digest
from tests import runs


def phases(run, steps=1) -> list[str]:
    """The phases of the last of some steps, in order, each once."""
    with Recorder(run) as recorder:
        for _ in range(steps):
            assert recorder.step()
    return list(dict.fromkeys(effect.phase for effect in recorder.trace.steps[-1].effects))


def leaves(run, phase) -> list[str]:
    with Recorder(run) as recorder:
        recorder.step()
    return [effect.leaf for effect in recorder.trace.steps[-1].effects if effect.phase == phase]


@pytest.mark.parametrize("phase", ["backward", "update"])
def test_a_step_that_raises_inside_a_backward_pass_or_an_update_came_to_that(phase):
    class Bad(runs.Plain):
        def step(self):
            output = self.model(torch.ones(2, 8))
            if phase == "backward":
                output.register_hook(lambda gradient: gradient.nothing)
            output.sum().backward()
            self.optimizer.state[self.model[0].weight]["exp_avg"] = torch.ones(3)
            self.optimizer.step()

    run = Bad()
    with pytest.raises((AttributeError, RuntimeError, KeyError)), Recorder(run) as recorder:
        recorder.step()
    assert recorder.effects.reached == phase


def test_phases_come_in_order_of_execution():
    assert phases(runs.Loader()) == ["batch", "forward", "backward", "update", "schedule"]
    assert phases(runs.Plain()) == ["forward", "backward", "update", "schedule"]


def test_repeated_phases_are_numbered():
    assert phases(runs.Accumulating()) == ["forward", "backward", "forward[2]", "backward[2]", "update", "schedule"]
    assert phases(runs.Lbfgs())[:4] == ["forward", "backward", "forward[2]", "backward[2]"]


def test_what_follows_the_last_update_is_the_end_of_the_epoch():
    class Validating(runs.Plain):
        def step(self):
            loss = super().step()
            with torch.no_grad():
                for inputs, _ in DataLoader(runs.made_data(), batch_size=16):
                    self.model(inputs)
            return loss

    assert phases(Validating()) == [
        "forward", "backward", "update", "schedule", "epoch_end", "epoch_end[2]", "epoch_end[3]", "epoch_end[4]",
    ]  # fmt: skip


def test_a_scheduler_that_looks_at_the_validation_is_seen_after_it():
    class Plateau(runs.BatchNormSgd):
        def step(self):
            loss = runs.Plain.step(self)
            with torch.no_grad():
                self.model(self.inputs)
            self.scheduler.step(loss)
            return loss

    run = Plateau()
    run.optimizer.param_groups[0]["lr"] = 0.0
    run.scheduler.best = -1.0
    run.scheduler.num_bad_epochs = 5
    run.optimizer.param_groups[0]["lr"] = 0.1
    assert phases(run)[-3:] == ["schedule", "epoch_end", "schedule[2]"]


def test_gradients_are_in_order_of_accumulation_and_parameters_in_order_of_the_optimizer():
    run = runs.Plain()
    run.optimizer = torch.optim.SGD([run.model[3].bias, run.model[0].weight], lr=0.1)
    # The others' gradients are no optimizer's: nothing works with them. The last layer comes before the first.
    assert leaves(run, "backward") == ["model/3.bias/grad", "model/0.weight/grad"]
    assert leaves(run, "update") == ["model/3.bias", "model/0.weight"]


def test_parameters_that_no_optimizer_steps_are_digested_when_the_step_is_over():
    run = runs.Plain()
    run.optimizer = torch.optim.SGD([run.model[3].bias], lr=0.1)
    with Recorder(run) as recorder:
        recorder.step()
    updates = [(e.phase, e.leaf) for e in recorder.trace.steps[0].effects if e.phase.startswith("update")]
    assert updates[0] == ("update", "model/3.bias")
    assert {leaf for phase, leaf in updates if phase == "update[2]"} == {
        "model/0.weight",
        "model/0.bias",
        "model/3.weight",
    }


def test_a_method_of_the_model_that_is_not_forward_is_seen_by_the_modules_it_calls():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(8, 4), nn.Linear(4, 3)

        def features(self, inputs):
            return self.body(inputs)

    class Run(runs.Plain):
        def __init__(self):
            super().__init__()
            self.model = Split()
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

        def step(self):
            self.optimizer.zero_grad()
            loss = self.model.head(self.model.features(self.inputs)).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            return loss.item()

    assert leaves(Run(), "forward") == ["outputs/model.body", "outputs/model.head", "loss"]


def test_only_the_outermost_module_is_seen_and_inner_ones_run_without_hooks():
    seen = []

    class Inner(nn.Linear):
        def forward(self, inputs):
            seen.append(bool(torch.nn.modules.module._global_forward_pre_hooks))
            return super().forward(inputs)

    run = runs.Plain()
    run.model = nn.Sequential(Inner(8, 3))
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    assert leaves(run, "forward") == ["outputs/model", "loss"]
    assert seen == [False]


def test_a_forward_pass_recomputed_during_backward_is_no_forward_of_its_own():
    from torch.utils.checkpoint import checkpoint

    class Recomputing(runs.Plain):
        def step(self):
            self.optimizer.zero_grad()
            loss = checkpoint(self.model, self.inputs, use_reentrant=False).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            return loss.item()

    assert phases(Recomputing()) == ["forward", "backward", "update", "schedule"]


def test_an_optimizer_made_anew_and_layers_thawed_on_the_way_are_followed():
    class Changing(runs.Plain):
        def step(self):
            if self.count == 1:
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
            if self.count == 2:
                self.model[0].weight.requires_grad_(True)
            return super().step()

    run = Changing()
    run.model[0].weight.requires_grad_(False)
    with Recorder(run) as recorder:
        for _ in range(4):
            recorder.step()
    grads = [[e.leaf for e in step.effects if e.phase == "backward"] for step in recorder.trace.steps]
    assert ["model/0.weight/grad" in found for found in grads] == [False, False, True, True]
    assert recorder.trace.steps[2].learning_rates == (0.1,)


def test_a_change_of_an_option_between_two_steps_is_seen_whatever_it_is():
    run = runs.Plain()
    with Recorder(run) as recorder:
        recorder.step()
        run.optimizer.param_groups[0]["lr"] = 0.5
        recorder.step()
        run.optimizer.param_groups[0]["betas"] = (0.5, 0.5)
        recorder.step()
    rates, betas = (
        [effect.digest for step in recorder.trace.steps for effect in step.effects if effect.leaf.endswith(option)]
        for option in ("group.0/lr", "group.0/betas")
    )
    assert rates[0] != rates[1] == rates[2] and betas[0] == betas[1] != betas[2]


@pytest.mark.parametrize("of_scaled", [lambda scaled: scaled, lambda scaled: scaled / 1], ids=["scaled", "made of it"])
def test_a_loss_and_its_gradients_are_recorded_without_the_scale_of_a_scaler(of_scaled):
    class Scaled(runs.Plain):
        def __init__(self, scale):
            super().__init__()
            self.scaler = torch.amp.GradScaler("cpu", init_scale=scale)

        def step(self):
            self.optimizer.zero_grad()
            loss = self.model(self.inputs).pow(2).mean()
            of_scaled(self.scaler.scale(loss)).backward()
            self.scaler.step(self.optimizer)
            return loss.item()

    def record(scale):
        with Recorder(Scaled(scale)) as recorder:
            recorder.step()
        return recorder.trace

    assert first_divergence(record(64.0), record(4.0)) is None
    # A scale at which gradients lose bits is an effect.
    assert first_divergence(record(64.0), record(2.0**-140)).phase in ("forward", "backward")


def test_what_a_loader_runs_to_make_a_batch_is_the_batch():
    class Doubling(nn.Module):
        def forward(self, inputs):
            return 2 * inputs

    class Samples(torch.utils.data.Dataset):
        def __init__(self):
            self.transform, self.model = Doubling(), nn.Linear(8, 8)
            self.inner = DataLoader(runs.made_data(), batch_size=1)

        def __len__(self):
            return 32

        def __getitem__(self, index):
            inputs, targets = next(iter(self.inner))
            wanted = inputs.clone().requires_grad_()
            self.model(wanted).sum().backward()
            return self.transform(wanted.grad.sign())[0], targets[0]

    class Run(runs.Loader):
        def __init__(self):
            super().__init__()
            self.loader = DataLoader(Samples(), batch_size=8, shuffle=True, generator=self.generator)

    assert phases(Run()) == ["batch", "forward", "backward", "update", "schedule"]
    assert leaves(Run(), "batch") == ["batch/0", "batch/1"]
    assert "outputs/model" in leaves(Run(), "forward") and len(leaves(Run(), "forward")) == 2


def test_the_one_value_that_is_wanted_is_kept_as_it_was_then():
    run = runs.Plain()
    with Recorder(run, keep=(2, "update", "model/0.weight")) as recorder:
        recorder.step()
        assert recorder.kept is None
        recorder.step()
        expected = run.model[0].weight.detach().clone()
        recorder.step()
    assert torch.equal(recorder.kept, expected)
    assert not torch.equal(recorder.kept, run.model[0].weight)


class Functional(runs.Plain):
    """Three models trained as one, by transforms of `torch.func`; `local`: the module is no attribute of the run."""

    def __init__(self, local=False):
        super().__init__()
        del self.optimizer
        models = [nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(3)]
        self.parameters, _ = torch.func.stack_module_state(models)
        self.model = None if local else models[0]

    def step(self):
        model = self.model or nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))

        def loss(parameters, inputs):
            return torch.func.functional_call(model, parameters, (inputs,)).pow(2).mean()

        of_each = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None))
        gradients, losses = of_each(self.parameters, self.inputs)
        for name, gradient in gradients.items():
            self.parameters[name] = (self.parameters[name] - 0.1 * gradient).detach()
        return losses.mean().item()


@pytest.mark.parametrize("local", [False, True])
def test_inside_a_transform_of_torch_func_all_samples_are_recorded_together(local):
    alone = Functional(local)
    expected = [alone.step() for _ in range(3)]
    outputs = "outputs/Sequential" if local else "outputs/model"
    with Recorder(Functional(local), keep=(2, "forward", outputs)) as recorder:
        for _ in range(3):
            recorder.step()
    assert [step.loss for step in recorder.trace.steps] == expected
    assert all(outputs in [effect.leaf for effect in step.effects] for step in recorder.trace.steps)
    assert recorder.kept.shape == (3, *alone.inputs.shape[:-1], 3)
    second = {effect.leaf: effect.digest for effect in recorder.trace.steps[1].effects}
    assert second[outputs] == digest(recorder.kept)
