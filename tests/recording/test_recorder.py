"""The recorder: looking changes nothing, all that it patches is put back, and a trace says what a run did."""

import copy
import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from dora_repro.alignment.divergence import first_divergence
from dora_repro.recording import Recorder
from dora_repro.recording.drawing import DrawLog, Generators
from dora_repro.recording.operators import OperatorLog
from dora_repro.recording.replay import StreamRecorder, StreamReplay, Streams
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs

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
    recorder = Recorder(run)
    with pytest.raises(TypeError), recorder:
        pass
    recorder.__exit__()  # as whoever opens it by hand may do when that fails
    assert torch.autograd.backward is before and not _global_optimizer_post_hooks


def test_a_step_that_raises_leaves_nothing_patched_and_says_how_far_it_came():
    class Bad(runs.Loader):
        def step(self):
            self.model(self.next_batch()[0])
            raise RuntimeError("planted")

    run = Bad()
    with pytest.raises(RuntimeError, match="planted"), Recorder(run) as recorder:
        recorder.step()
    assert recorder.effects.reached == "forward"
    assert recorder.trace.steps == []
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_an_exception_inside_a_module_leaves_no_hook_on_it():
    class Bad(runs.Plain):
        def step(self):
            self.model(torch.ones(1, 3))

    run = Bad()
    with pytest.raises(RuntimeError), Recorder(run) as recorder:
        recorder.step()
    assert not any(module._forward_hooks for module in run.model.modules())


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
