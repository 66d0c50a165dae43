"""What a check sees of a GPU: its tensors, its generator, and a run that trains on it."""

import functools

import pytest
import torch
from torch import nn

from dora_repro import Verdict, check
from dora_repro.state.draws import draws_between
from dora_repro.state.rng import capture_world, undisturbed
from dora_repro.state.snapshot import Snapshot
from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.training import TrainingRun

pytestmark = pytest.mark.gpu


class OnTheDevice:
    """A small run with dropout on the GPU; with or without the state of the GPU's generator in its checkpoint."""

    def __init__(self, complete: bool):
        torch.manual_seed(0)
        self.complete = complete
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).cuda()
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def step(self) -> float:
        inputs = torch.randn(16, 4).cuda()
        self.optimizer.zero_grad()
        loss = self.model(inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path: str) -> None:
        generators = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state()}
        torch.save([self.model.state_dict(), self.optimizer.state_dict(), generators], path)

    def load(self, path: str) -> None:
        model, optimizer, generators = torch.load(path)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        torch.set_rng_state(generators["cpu"])
        if self.complete:
            torch.cuda.set_rng_state(generators["cuda"].cpu())


@pytest.mark.parametrize("in_process", [True, False])
def test_a_run_on_a_gpu_that_saves_all_it_needs_is_exact(in_process):
    report = check(functools.partial(OnTheDevice, True), 6, 3, in_process=in_process)
    assert report.verdict is Verdict.EXACT, report.reason


def test_the_generator_of_the_gpu_is_the_cause_where_it_is_lost():
    report = check(functools.partial(OnTheDevice, False), 6, 3, in_process=True)
    assert report.verdict is Verdict.DIFFERENT
    assert (report.divergence.step, report.divergence.phase) == (4, "forward")
    assert report.explanation.leaves == ("rng/torch.cuda:0",)
    assert report.explanation.confirmed


@pytest.mark.parametrize(("content", "verdict"), [("complete", "EXACT"), ("dora-only", "DIFFERENT")])
def test_the_study_on_a_gpu(content, verdict):
    config = TrainingConfig(data="synthetic", batch_size=4, text_dora=0, device="cuda", checkpoint=content)
    report = check(functools.partial(TrainingRun, config), 3, 2, in_process=True)
    assert str(report.verdict) == verdict, report.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_a_tensor_on_the_gpu_has_the_digest_of_the_same_numbers_there(dtype):
    tensor = torch.arange(60).reshape(3, 20).to(dtype).cuda()

    def digest(value: torch.Tensor) -> bytes:
        return Snapshot.capture({"root": {"t": value}})["root/t"].digest

    assert digest(tensor) == digest(tensor.clone()) == digest(tensor.t().contiguous().t())
    assert digest(tensor) != digest(tensor.flip(1))


def test_draws_on_a_gpu_are_told_by_the_offset_and_undone():
    torch.cuda.manual_seed(3)
    before = capture_world()
    with undisturbed():
        torch.rand(5, device="cuda")
        after = capture_world()
    assert draws_between(before["torch.cuda:0"], after["torch.cuda:0"]) > 0
    assert draws_between(before["torch.cuda:0"], capture_world()["torch.cuda:0"]) == 0
    assert draws_between(before["torch.cpu"], after["torch.cpu"]) == 0
