"""Further draws, orders, counters and settings that a checkpoint does not hold."""

import copy
import os
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, SAMPLES, Training, samples


@fault(
    "extra-evaluation",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("generator",),),
    save_at=4,
    fix="evaluate with a loader that does not shuffle",
)
class ExtraEvaluation(Training):
    """The loaded model is evaluated once on the training loader before the first resumed epoch. That draws an order
    from the generator that shuffles, and every epoch after it has another."""

    def load(self, path: str) -> None:
        super().load(path)
        self.model.eval()
        with torch.no_grad():
            for inputs, targets in self.loader:
                self.loss(inputs, targets)
        self.model.train()


@fault(
    "order-in-place",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("order",),),
    save_at=4,
    fix='self.order[:] = state["order"]',
)
class InPlace(Training):
    """A list of indices is shuffled in place at each epoch. The generator is restored and the list is not: the right
    permutation is applied to the wrong order."""

    def make_loader(self) -> DataLoader:
        self.order = list(range(SAMPLES))
        return DataLoader(samples(), BATCH, sampler=self.order, generator=self.generator)

    def next_batch(self):
        if self.batches is None:
            random.shuffle(self.order)
        return super().next_batch()


@fault(
    "best-reset",
    verdict="LATENT",
    causes=(("best", "best_weights/*"),),
    fix='self.best, self.best_weights = state["best"]',
    threads=("facebookresearch/ConvNeXt#94",),
)
class BestReset(Training):
    """The weights nearest to the first are kept as the best, and both are forgotten on resume: the first evaluation
    after it replaces a better one. Training is the same, and the model that is published is another."""

    def __init__(self):
        super().__init__()
        self.inputs = samples().tensors[0]
        self.first = self.outputs_now()
        self.best, self.best_weights = float("inf"), None

    @torch.no_grad()
    def outputs_now(self) -> torch.Tensor:
        self.model.eval()
        outputs = self.model(self.inputs)
        self.model.train()
        return outputs

    def after_update(self) -> None:
        super().after_update()
        apart = nn.functional.mse_loss(self.outputs_now(), self.first).item()
        if apart < self.best:
            self.best, self.best_weights = apart, copy.deepcopy(self.model.state_dict())


@fault(
    "environment-variable",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=((),),
    fix="read it once, save it, and compare it on loading",
)
class EnvironmentVariable(Training):
    """A step reads a scale from an environment variable, which the resumed job sets otherwise. It is no state of the
    run; a check can only say that none of its state explains the difference."""

    def __init__(self):
        os.environ["TRAINING_SCALE"] = "1.0"
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs * float(os.environ["TRAINING_SCALE"]), targets)

    def load(self, path: str) -> None:
        super().load(path)
        os.environ["TRAINING_SCALE"] = "1.5"


_calls = 0


@fault(
    "module-global",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals._calls",),),
    fix='global _calls; _calls = state["calls"]',
)
class ModuleGlobal(Training):
    """A count that the inputs are scaled by is a variable of the module. No object of the run holds it, so nothing that
    saves the run's objects saves it."""

    def __init__(self):
        global _calls
        _calls = 0
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        global _calls
        _calls += 1
        return super().loss(inputs * (1 + 0.1 * _calls), targets)


@fault(
    "class-attribute",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("seen/calls",),),
    fix='self.seen.update(state["seen"])',
)
class ClassAttribute(Training):
    """The same count in a dictionary that hangs on the class. It outlives each run of a process and is in no
    checkpoint."""

    seen = {"calls": 0}  # noqa: RUF012  # shared by all runs of a process: that is the defect

    def __init__(self):
        self.seen["calls"] = 0
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.seen["calls"] += 1
        return super().loss(inputs * (1 + 0.1 * self.seen["calls"]), targets)


@fault(
    "aux-replay",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("replay/*",),),
    fix='self.replay = state["replay"]',
    threads=("nicklashansen/tdmpc2#28",),
)
class Replay(Training):
    """A buffer of earlier batches is trained again beside each new one, and begins empty on resume."""

    def __init__(self):
        super().__init__()
        self.replay = []

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.replay.append((inputs, targets))
        old = super().loss(*self.replay[0])
        return super().loss(inputs, targets) + old


_noise = np.random.default_rng(0)


def blurred(inputs: torch.Tensor) -> torch.Tensor:
    return inputs + 0.1 * torch.from_numpy(_noise.normal(size=tuple(inputs.shape))).float()


@fault(
    "module-generator",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals._noise",),),
    fix='_noise.bit_generator.state = state["noise"]',
)
class ModuleGenerator(Training):
    """A function that augments draws from a generator at the top of the script. Python's, numpy's and torch's global
    generators are all saved; this one is nobody's."""

    def __init__(self):
        global _noise
        _noise = np.random.default_rng(0)
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(blurred(inputs), targets)
