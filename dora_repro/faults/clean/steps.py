"""Runs that look suspicious and are right: steps and samplers of a kind. Each must come out EXACT."""

import copy
import decimal
import random
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, WeightedRandomSampler

from dora_repro.faults.adversaries import Adversaries
from dora_repro.faults.averages import WithTarget
from dora_repro.faults.configuration import Configured, Marked
from dora_repro.faults.data import OrderedByEpoch
from dora_repro.faults.environment import DecimalPrecision
from dora_repro.faults.forms import ClippedByHistory
from dora_repro.faults.gallery import fault
from dora_repro.faults.model import Clipped as WeightsClipped
from dora_repro.faults.objects import OptimizerInStep as MadeInStep
from dora_repro.faults.objects import Thawing
from dora_repro.faults.plain import BATCH, PER_EPOCH, SAMPLES, ConstantRate, Training, samples
from dora_repro.faults.position import InnerSampler


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


@fault("clean-weights-clipped", verdict="EXACT")
class BoundSaved(WeightsClipped):
    """Weights are clipped after each update, by writes that no version counter sees. The bound is in the file."""


@fault("clean-swapped-for-validation", verdict="EXACT", steps=9)
class SwappedForValidation(Training):
    """At the end of an epoch the average takes the place of the weights, is validated, and is taken out again."""

    def __init__(self) -> None:
        super().__init__()
        self.average = copy.deepcopy(self.model)
        self.validation_loss = 0.0

    @torch.no_grad()
    def after_update(self) -> None:
        super().after_update()
        for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(new, 0.1)

    @torch.no_grad()
    def end_epoch(self) -> None:
        raw = [parameter.data for parameter in self.model.parameters()]
        for parameter, average in zip(self.model.parameters(), self.average.parameters(), strict=True):
            parameter.data = average.data
        inputs, targets = samples().tensors
        self.validation_loss = nn.functional.mse_loss(self.model.eval()(inputs), targets).item()
        self.model.train()
        for parameter, value in zip(self.model.parameters(), raw, strict=True):
            parameter.data = value

    def state(self) -> dict:
        return {**super().state(), "average": self.average.state_dict(), "validation_loss": self.validation_loss}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.average.load_state_dict(state["average"])
        self.validation_loss = state["validation_loss"]


@fault("clean-optimizer-in-step", verdict="EXACT")
class OptimizerInStep(MadeInStep):
    """The optimizer is made in the first step, inside an object that the run holds, and what was saved of it is loaded
    then, as trainers do it. Right after loading there is none."""


@fault("clean-group-added", verdict="EXACT", steps=8, save_at=5)
class GroupAdded(Thawing):
    """The optimizer got another group of parameters on the way, when a layer was thawed. The resumed run thaws it, too,
    before it loads, and then has as many groups as the file."""


@fault("clean-target-network", verdict="EXACT")
class TargetNetwork(WithTarget):
    """A second network is learnt from, lags behind and catches up at the end of each epoch. It is saved for itself."""


@fault("clean-deque", verdict="EXACT")
class BoundedDeque(ClippedByHistory):
    """A deque that forgets what is old is saved as a list, and made again with its bound."""


@fault("clean-resume-marked", verdict="EXACT")
class ResumeMarked(Marked):
    """The configuration of the resumed run says where it was resumed from, and no save ever held that. It is told what
    it is; every step is the same."""


@fault("clean-set-epoch", verdict="EXACT", steps=9, save_at=6)
class SetEpoch(OrderedByEpoch):
    """The order of an epoch comes from its number, which the sampler is told when an epoch begins; one that is resumed
    in its middle is told, too, before the used batches are passed over."""

    def load_data(self, state: dict) -> None:
        self.sampler.set_epoch(state["steps"] // PER_EPOCH)
        super().load_data(state)


@fault("clean-set-epoch-inside", verdict="EXACT", steps=10, save_at=6)
class SetEpochInside(InnerSampler):
    """The same for a sampler inside another one."""

    def load_data(self, state: dict) -> None:
        self.steps = state["steps"]
        self.set_epoch()
        super().load_data(state)


@fault("clean-seed-of-the-clock", verdict="EXACT")
class SeedOfTheClock(Training):
    """Noise is seeded by the operating system, so no two runs that are started are alike. The seed is in the file, with
    the number of draws: a run that is resumed is the one that it resumes."""

    def __init__(self) -> None:
        super().__init__()
        self.noise_seed, self.draws = random.SystemRandom().randrange(2**31), 0

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.noise_seed + self.draws)
        self.draws += 1
        return super().loss(inputs + 0.1 * torch.randn(inputs.shape, generator=generator), targets)

    def state(self) -> dict:
        return {**super().state(), "noise": (self.noise_seed, self.draws)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.noise_seed, self.draws = state["noise"]


@fault("clean-config-overridden", verdict="EXACT")
class ConfigOverridden(Configured):
    """The run is resumed with another learning rate in its configuration. The optimizer's state is loaded after it was
    made with that, and has the rate that it was trained with."""

    told: ClassVar = {"rate": 1e-3}


@fault("clean-decimal-precision", verdict="EXACT")
class DecimalPrecisionKept(DecimalPrecision):
    """A weight of the loss is computed in decimals, in fewer digits from the second step on; how many is saved."""

    def state(self) -> dict:
        return {**super().state(), "precision": decimal.getcontext().prec}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        decimal.getcontext().prec = state["precision"]


@fault("clean-adversaries", verdict="EXACT", steps=7)
class GeneratorFirst(Adversaries):
    """The generator's loss adds to what the critic's gradients were in the step before, in all runs but one that has
    just been resumed. The sum is thrown away before the critic is updated."""


@fault("clean-adversaries-in-turn", verdict="EXACT", steps=8)
class InTurn(Adversaries):
    """The same where the critic is trained in every other step: the sum is thrown away a step later."""

    def step(self) -> float:
        if self.steps % 2 == 0:
            return super().step()
        inputs, _ = self.next_batch()
        self.optimizer.zero_grad()
        loss = nn.functional.softplus(-self.critic(self.model(inputs))).mean()
        loss.backward()
        self.optimizer.step()
        return self.count_step(loss)
