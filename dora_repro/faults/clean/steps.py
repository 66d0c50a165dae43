"""Runs that look suspicious and are right: steps and samplers of a kind. Each must come out EXACT."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, WeightedRandomSampler

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, SAMPLES, ConstantRate, Training, samples


@fault("clean-sharpness-aware", verdict="EXACT")
class SharpnessAware(ConstantRate):
    """Two passes a step: the weights are moved uphill, the gradient is taken there, and they are put back."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def step(self) -> float:
        batch = self.next_batch()
        parameters = list(self.model.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        self.optimizer.zero_grad()
        self.loss(*batch).backward()
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(parameter.grad, alpha=0.05)
        self.optimizer.zero_grad()
        loss = self.loss(*batch)
        loss.backward()
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
        self.optimizer.step()
        return self.count_step(loss)


@fault("clean-weighted-sampler", verdict="EXACT")
class Weighted(Training):
    """Samples are drawn by weight, with the generator that is saved."""

    def make_loader(self) -> DataLoader:
        weights: Any = torch.arange(1.0, 1.0 + SAMPLES)  # the stubs of torch want a list, its code makes a tensor of it
        sampler = WeightedRandomSampler(weights, SAMPLES, generator=self.generator)
        return DataLoader(samples(), BATCH, sampler=sampler, generator=self.generator)


@fault("clean-activations-recomputed", verdict="EXACT")
class Recomputed(Training):
    """Activations are computed once more in the backward pass, dropout included, from a state that is put back."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(checkpoint(self.model, inputs, use_reentrant=False), targets)


@fault("clean-gradients-clipped", verdict="EXACT")
class Clipped(Training):
    """Gradients are clipped by a hook of the optimizer, which is a function that holds the run itself."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = {"last": torch.zeros(())}
        self.optimizer.register_step_pre_hook(
            lambda *_: self.norms.update(last=nn.utils.clip_grad_norm_(self.model.parameters(), 0.5))
        )


@fault("clean-best-copied", verdict="EXACT")
class BestCopied(Training):
    """The best weights are kept as a copy, which is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.best = copy.deepcopy(self.model.state_dict())

    def end_epoch(self) -> None:
        self.best = copy.deepcopy(self.model.state_dict())

    def state(self) -> dict:
        return {**super().state(), "best": self.best}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.best = state["best"]


@fault("clean-resume-at-boundary", verdict="EXACT", save_at=4)
class Boundary(Training):
    """Saved after the last batch of an epoch. The generator's state of the moment is all that the next order needs."""
