"""Parts of a model that it does not register, so that no state dict has them: statistics, settings, layers, hooks."""

from typing import Any

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate


class Centred(nn.Module):
    """Takes the mean of all inputs that it has seen away from them, while training as well."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.seen = torch.zeros(8), 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.mean = self.mean + (inputs.mean(dim=0) - self.mean) / self.seen
        return inputs - self.mean


@fault(
    "stats-as-attributes",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/0/mean", "model/0/seen"),),
    fix='self.register_buffer("mean", torch.zeros(8)); self.register_buffer("seen", torch.zeros(()))',
    threads=("vlomonaco/ar1-pytorch#1",),
)
class StatisticsAsAttributes(ConstantRate):
    """A layer keeps running statistics as plain attributes. A tensor that is neither a parameter nor a registered
    buffer is no state to a module: the whole model is saved and strictly loaded, and the statistics begin anew."""

    def make_model(self) -> nn.Module:
        return nn.Sequential(Centred(), super().make_model())


class Annealed(ConstantRate):
    """The clean run with dropout that is lowered after each epoch, by a number that is saved."""

    def end_epoch(self) -> None:
        self.model[2].p *= 0.5

    def state(self) -> dict:
        return {**super().state(), "dropout": self.model[2].p}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.model[2].p = state["dropout"]


@fault(
    "dropout-annealed",
    verdict="DIFFERENT",
    step=6,
    phase="forward",
    causes=(("model/2/p",),),
    steps=8,
    save_at=5,
    fix='self.model[2].p = state["dropout"]',
)
class DropoutAnnealed(Annealed):
    """Dropout is lowered after each epoch by setting `p` of the layer. That is a number of the module and in no state
    dict: the resumed run drops as many values as on the first day."""

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])


class Ensemble(nn.Module):
    """A body with several heads, whose outputs are averaged."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout))
        self.heads = [nn.Linear(16, 3) for _ in range(2)]  # the defect: no nn.ModuleList

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.body(inputs)
        return torch.stack([head(features) for head in self.heads]).mean(dim=0)


@fault(
    "modules-in-a-list",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/heads/*",),),
    fix="self.heads = nn.ModuleList(nn.Linear(16, 3) for _ in range(2))",
    threads=("Lightning-AI/pytorch-lightning#2941",),
)
class ModulesInAList(ConstantRate):
    """The heads of a model are kept in a Python list, and the optimizer is given their parameters by hand, so they are
    trained. To the model they do not exist: its state dict has the body alone, and new heads sit on the trained body.
    """

    def make_model(self) -> Any:
        return Ensemble(self.dropout)

    def make_optimizer(self) -> torch.optim.Optimizer:
        heads = [parameter for head in self.model.heads for parameter in head.parameters()]
        return torch.optim.AdamW([*self.model.parameters(), *heads], lr=1e-2)


def damped(gradient: torch.Tensor) -> torch.Tensor:
    return 0.1 * gradient


@fault(
    "hook-lost",
    verdict="DIFFERENT",
    step=6,
    phase="backward",
    causes=(("model/0.weight/backward_hooks.0*",),),
    steps=8,
    save_at=5,
    fix='if state["steps"] >= PER_EPOCH: self.end_epoch()  # registers it again',
)
class HookLost(ConstantRate):
    """After the first epoch the gradient of the first layer is damped by a hook. Hooks are code, and no file has them:
    the resumed run is built without and never passes that epoch again."""

    def end_epoch(self) -> None:
        if self.steps == 4:
            self.model[0].weight.register_hook(damped)


class Warming(ConstantRate):
    """A rate that grows with the updates that its class has counted."""

    updates = 0  # of all runs of a class
    rate = 1e-2

    def step(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (type(self).updates + 1) / 10)
        type(self).updates += 1
        return super().step()


@fault(
    "count-on-the-class",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("globals.CountOnTheClass.updates",),),
    fix='type(self).updates = state["updates"]',
)
class CountOnTheClass(Warming):
    """The updates are counted on the class, where no method that saves what the run has looks for them. The first one
    gives the class a count of its own, in place of the one of its base; a new process has none."""

    def __init__(self) -> None:
        if "updates" in vars(type(self)):  # of a run before, in this process
            del type(self).updates
        super().__init__()
