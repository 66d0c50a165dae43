"""What the recorder sees of a step, in order of execution, and that looking changes nothing."""

import copy
import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks
from torch.utils.data import DataLoader

from dora_repro.alignment import first_divergence
from dora_repro.recording import Recorder
from dora_repro.recording.drawing import DrawLog, Generators
from dora_repro.recording.operators import OperatorLog
from dora_repro.recording.replay import StreamRecorder, StreamReplay, Streams
from dora_repro.state.snapshot import Snapshot, run_roots
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


EVERY_KIND = [
    runs.Plain,
    runs.Loader,
    runs.Ema,
    runs.Accumulating,
    runs.Lbfgs,
    runs.BatchNormSgd,
    runs.PrivateGenerators,
    runs.Tied,
    runs.Generating,
    runs.HandMade,
]


@pytest.mark.parametrize("make", EVERY_KIND, ids=lambda make: make.__name__)
def test_recording_changes_no_byte_of_a_run(make):
    """The same run, recorded and not: every leaf at the end is the same, generators and gradients included."""
    bare = make()
    for _ in range(6):
        bare.step()
    expected = Snapshot.capture(run_roots(bare))
    recorded = make()
    with Recorder(recorded, keep=(3, "forward", "loss")) as recorder:
        for _ in range(6):
            recorder.step()
    actual = Snapshot.capture(run_roots(recorded))
    assert {p: leaf.digest for p, leaf in actual.items()} == {p: leaf.digest for p, leaf in expected.items()}


def test_the_comparison_above_sees_a_recorder_that_draws_a_number():
    run, other = runs.Plain(), runs.Plain()
    run.step()
    expected = Snapshot.capture(run_roots(run))
    other.step()
    torch.rand(1)
    assert Snapshot.capture(run_roots(other))["rng/torch.cpu"].digest != expected["rng/torch.cpu"].digest


def test_everything_that_was_patched_is_put_back():
    def patched():
        of_loaders = torch.utils.data.dataloader._BaseDataLoaderIter.__next__
        return torch.autograd.backward, torch.autograd.grad, torch.amp.GradScaler.scale, of_loaders

    before, run = patched(), runs.Loader()
    with Recorder(run) as recorder:
        recorder.step()
        assert not any(one is other for one, other in zip(patched(), before, strict=True))
    assert patched() == before
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert not _global_optimizer_post_hooks
    assert not any(module._forward_hooks for module in run.model.modules())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in run.model.parameters())


def test_a_run_that_cannot_be_looked_at_leaves_nothing_patched():
    run = runs.Loader()
    run.optimizer.param_groups[0]["params"] = None  # as a run may be that was put together from two
    before = torch.autograd.backward
    with pytest.raises(TypeError), Recorder(run):
        pass
    assert torch.autograd.backward is before and not _global_optimizer_post_hooks


def test_a_step_that_raises_leaves_nothing_patched_and_says_how_far_it_came():
    class Bad(runs.Loader):
        def step(self):
            self.model(self.next_batch()[0])
            raise RuntimeError("planted")

    run = Bad()
    with pytest.raises(RuntimeError, match="planted"), Recorder(run) as recorder:
        recorder.step()
    assert recorder.reached == "forward"
    assert recorder.trace.steps == []
    assert not torch.nn.modules.module._global_forward_pre_hooks


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
    assert recorder.reached == phase


def test_an_exception_inside_a_module_leaves_no_hook_on_it():
    class Bad(runs.Plain):
        def step(self):
            self.model(torch.ones(1, 3))

    run = Bad()
    with pytest.raises(RuntimeError), Recorder(run) as recorder:
        recorder.step()
    assert not any(module._forward_hooks for module in run.model.modules())


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


def test_two_runs_of_the_same_seed_have_the_same_trace_and_two_seeds_have_not():
    def record(seed):
        with Recorder(runs.Loader(seed)) as recorder:
            for _ in range(5):
                recorder.step()
        return recorder.trace

    assert first_divergence(record(1), record(1)) is None
    found = first_divergence(record(1), record(2))
    assert (found.step, found.phase, found.leaf) == (1, "batch", "batch/0")


def test_a_run_that_is_over_says_so_and_what_was_not_seen_is_listed():
    with Recorder(runs.EndsEarly(resumed_only=False)) as recorder:
        while recorder.step():
            pass
    assert recorder.trace.finished
    assert len(recorder.trace.steps) == 4
    assert recorder.trace.unseen == ("batch",)


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


def test_facts_tell_a_run_that_learns_from_one_that_does_not():
    def facts(run):
        with Recorder(run) as recorder:
            recorder.step()
        return recorder.facts()

    good = facts(runs.Plain())
    assert good["gradients"] is True and good["changed"] is True and sum(good["trainable"].values()) == 195
    assert facts(runs.Vacuous("no learning rate"))["changed"] is False
    assert facts(runs.Vacuous("zero gradients"))["gradients"] is False
    nothing = {"trainable": {}, "gradients": None, "changed": False, "values_dropped": False}
    assert facts(runs.Vacuous("no parameter")) == nothing


def test_a_copy_of_a_run_records_what_its_original_would():
    run = runs.Plain()
    with Recorder(run) as recorder:
        recorder.step()
        state = copy.deepcopy(run), torch.get_rng_state()
        recorder.step()
    torch.set_rng_state(state[1])
    with Recorder(state[0], done=1) as again:
        again.step()
    assert again.trace.steps[0].effects == recorder.trace.steps[1].effects


def test_values_are_kept_at_every_step_where_they_are_asked_for():
    run = runs.Plain()
    with Recorder(run, done=4, values=("model/*.weight",)) as recorder:
        before = run.model[0].weight.detach().clone()
        recorder.step()
        recorder.step()
    assert list(recorder.values) == [4, 5, 6]
    assert list(recorder.values[4]) == ["model/0.weight", "model/3.weight"]
    assert torch.equal(recorder.values[4]["model/0.weight"], before)
    assert torch.equal(recorder.values[6]["model/0.weight"], run.model[0].weight.detach())
    assert not torch.equal(recorder.values[5]["model/0.weight"], recorder.values[6]["model/0.weight"])
    with Recorder(runs.Plain()) as recorder:
        recorder.step()
    assert recorder.values == {}


def test_values_beyond_the_limit_are_not_kept_at_all(monkeypatch):
    monkeypatch.setattr("dora_repro.recording.recorder.VALUES_LIMIT", 1000)
    with Recorder(runs.Plain(), values=("*",)) as recorder:
        recorder.step()
    assert recorder.values == {} and recorder.facts()["values_dropped"] is True
    with Recorder(runs.Plain(), values=("*.bias",)) as recorder:
        recorder.step()
    assert len(recorder.values) == 2 and recorder.facts()["values_dropped"] is False


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


class Counting:
    def __init__(self):
        self.model, self.count, self.generator = nn.Linear(1, 1), 0, torch.Generator()

    def step(self):
        self.count += 1
        self.model(torch.ones(1, 1))


@pytest.mark.parametrize(
    "around",
    [
        lambda run: nullcontext(),
        StreamRecorder,
        lambda run: StreamReplay(run, Streams(), batches=True, draws=True),
        lambda run: DrawLog(Generators(run)),
        lambda run: OperatorLog(),
    ],
    ids=["alone", "keeping streams", "feeding streams", "logging draws", "logging operators"],
)
def test_a_recorder_that_is_closed_keeps_no_run_alive(around):
    """Not even until the next collection: a loader's workers end with their iterator, and a worker that is forked
    before that finds an iterator in its memory which is not its own to end."""

    def recorded():
        run = Counting()
        with around(run) as outer, Recorder(run) as recorder:
            recorder.step()
        assert not recorder.facts()["changed"]
        return weakref.ref(run), recorder, outer  # the latter two live on

    gc.disable()
    try:
        there, recorder, outer = recorded()
        assert there() is None
        assert recorder.trace.steps and outer is not recorder
    finally:
        gc.enable()


def test_a_run_that_is_still_recorded_is_alive():
    recorder = Recorder(Counting())
    with recorder:
        assert weakref.ref(recorder.run)() is not None
