"""Weights that come back wrong: others, rounded, transposed, untied or frozen."""

import torch
from torch import nn

from dora_repro.faults.averages import WEIGHTS
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate


@fault(
    "strict-false",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(WEIGHTS,),
    fix='self.model.load_state_dict(strip(state["model"], "module."))  # strict, as is the default',
    threads=("pytorch/examples#1029", "nayeemrizve/OpenLDN#5"),
)
class StrictFalse(ConstantRate):
    """Every key in the file begins with `module.`, as DataParallel writes them, and `strict=False` passes over keys
    that the model does not have. Nothing is loaded or said, and training goes on from the initialisation."""

    def state(self) -> dict:
        return {**super().state(), "model": nn.DataParallel(self.model).state_dict()}

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"], strict=False)


class Compiled(nn.Module):
    """The names that `torch.compile` gives a module, without compiling it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._orig_mod(inputs)


@fault(
    "compile-prefix",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("run/exception",),),
    fix='{"model": self.model._orig_mod.state_dict()}',
    threads=("karpathy/nanoGPT#325", "pytorch/torchtitan#961"),
)
class CompilePrefix(ConstantRate):
    """The compiled model is saved and the one inside it loaded. `torch.compile` wraps a module, so that every key
    begins with `_orig_mod.`, and the strict load stops the resumed job. With `strict=False` it would have gone on."""

    def make_model(self) -> nn.Module:
        return Compiled(super().make_model())

    def load_model(self, state: dict) -> None:
        self.model._orig_mod.load_state_dict(state["model"])


class Weighted(nn.Module):
    """A loss that learns how to weigh its targets, by their uncertainty (Kendall et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(3))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        errors = (outputs - targets).square().mean(dim=0)  # (3,)
        return (errors * torch.exp(-self.log_variance) + self.log_variance).sum()


@fault(
    "criterion-params",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("criterion/log_variance",),),
    fix='{"criterion": self.criterion.state_dict()}  # and load it',
    threads=("ifzhang/FairMOT#364", "NCAR/miles-credit#473"),
)
class CriterionParameters(ConstantRate):
    """The loss has parameters of its own that are trained with the model's, and the checkpoint knows only the model.
    After resuming the model is as it was and is told to do something else: the loss jumps."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        self.criterion = Weighted()
        return torch.optim.AdamW([*self.model.parameters(), *self.criterion.parameters()], lr=1e-2)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.criterion(self.model(inputs), targets)


class MixedPrecision(ConstantRate):
    """A bf16 model with fp32 masters of its weights: the optimizer steps the masters, the model gets them rounded."""

    def make_model(self) -> nn.Module:
        return super().make_model().bfloat16()

    def make_optimizer(self) -> torch.optim.Optimizer:
        self.masters = [parameter.detach().float().requires_grad_() for parameter in self.model.parameters()]
        optimizer = torch.optim.AdamW(self.masters, lr=1e-2)
        optimizer.register_step_pre_hook(self.gradients_to_masters)
        return optimizer

    def gradients_to_masters(self, *about: object) -> None:
        for master, parameter in zip(self.masters, self.model.parameters(), strict=True):
            master.grad = parameter.grad.float()

    @torch.no_grad()
    def after_update(self) -> None:
        for master, parameter in zip(self.masters, self.model.parameters(), strict=True):
            parameter.copy_(master)
        self.model.zero_grad()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(self.model(inputs.bfloat16()).float(), targets)


@fault(
    "master-weights",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("masters/*",),),
    fix='{"masters": self.masters}  # and copy them back',
    threads=("TensorAuto/OpenTau#185", "NVIDIA/apex#42"),
)
class MasterWeights(MixedPrecision):
    """The bf16 weights are saved, and the fp32 masters rebuilt from them. Whatever the masters had gathered below a
    rounding step of bf16 is thrown away with each resume; loss and outputs look untouched at first."""

    @torch.no_grad()
    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for master, parameter in zip(self.masters, self.model.parameters(), strict=True):
            master.copy_(parameter)


@fault(
    "master-weights-stale",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("masters/*",),),
    fix='{"masters": self.masters}  # and copy them back',
    threads=("NVIDIA/apex#42",),
)
class MasterWeightsStale(MixedPrecision):
    """The masters were cloned before the checkpoint was loaded, and are still those of the initialisation. The model is
    right until the first update, which copies the masters over it: one step later all training is undone."""


@fault(
    "tied-untied",
    verdict="DIFFERENT",
    step=4,
    phase="backward",
    causes=(("model/2.weight",),),
    fix="self.model[2].weight = self.model[0].weight  # after loading",
)
class TiedUntied(ConstantRate):
    """Two layers share one weight, and the loader gives the second a tensor of its own, with the right values. The
    first loss is the same; then the shared weight gets half its gradient, and no optimizer steps the other."""

    def make_model(self) -> nn.Module:
        layers = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Dropout(self.dropout), nn.Linear(8, 3)
        layers[2].weight = layers[0].weight
        return nn.Sequential(*layers)

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.model[2].weight = nn.Parameter(state["model"]["2.weight"].clone())


@fault(
    "weight-transposed",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/2.weight",),),
    fix="loaded = {key: value.T if value.ndim == 2 else value for key, value in stored.items()}",
)
class WeightTransposed(ConstantRate):
    """The file keeps matrices as (in, out), and the loader transposes those whose shape does not fit. A square matrix
    fits either way, and stays transposed: shapes are no proof of a layout."""

    def make_model(self) -> nn.Module:
        first, rest = (nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16)), (nn.Dropout(self.dropout), nn.Linear(16, 3))
        return nn.Sequential(*first, *rest)

    def state(self) -> dict:
        state = super().state()
        return {**state, "model": {key: value.T if value.ndim == 2 else value for key, value in state["model"].items()}}

    def load_model(self, state: dict) -> None:
        own, stored = self.model.state_dict(), state["model"]
        self.model.load_state_dict({key: v if v.shape == own[key].shape else v.T for key, v in stored.items()})


@fault(
    "requires-grad-lost",
    verdict="DIFFERENT",
    step=6,
    phase="backward",
    causes=(("model/0.*/requires_grad",),),
    steps=8,
    save_at=5,
    fix='self.model[0].requires_grad_(state["steps"] >= PER_EPOCH)',
)
class RequiresGradLost(ConstantRate):
    """The first layer is thawed after an epoch. `requires_grad` is in no state dict, so a run that is resumed later has
    the layer frozen, as it was built, and trains the rest without a word."""

    def make_model(self) -> nn.Module:
        model = super().make_model()
        model[0].requires_grad_(False)
        return model

    def end_epoch(self) -> None:
        self.model[0].requires_grad_(True)


@fault(
    "half-checkpoint",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(WEIGHTS,),
    fix='{"model": self.model.state_dict()}  # fp16 files are for use, not for resuming',
)
class HalfCheckpoint(ConstantRate):
    """Weights are saved in fp16, at half the size. `load_state_dict` copies them into fp32 parameters without a word,
    and the run goes on from rounded weights beside moments that belong to the others."""

    def state(self) -> dict:
        state = super().state()
        return {**state, "model": {key: value.half() for key, value in state["model"].items()}}


class Clipped(ConstantRate):
    """The clean run, as a critic is trained: weights are clipped after each update, to a bound that falls."""

    widest = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.bound = self.widest

    def after_update(self) -> None:
        self.bound *= 0.8
        for parameter in self.model.parameters():
            parameter.data.clamp_(-self.bound, self.bound)

    def state(self) -> dict:
        return {**super().state(), "bound": self.bound}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.bound = state["bound"]


@fault(
    "clip-bound-reset",
    verdict="DIFFERENT",
    step=4,
    phase="step_end",
    causes=(("bound",),),
    fix='self.bound = state["bound"]',
)
class ClipBoundReset(Clipped):
    """Weights are clipped after each update, to a bound that falls, and the bound begins anew. The update itself is the
    same: what comes after it is not, before any other phase of the training shows it."""

    def load_model(self, state: dict) -> None:
        super().load_model({**state, "bound": self.widest})


@fault(
    "pruning-mask-missing",
    verdict="DIFFERENT",
    step=4,
    phase="step_end",
    causes=(("mask",),),
    fix='self.mask = state["mask"]',
)
class PruningMaskMissing(ConstantRate):
    """The smallest weights are pruned once, by a mask that every later update is followed by. The zeros are in the
    file, the mask is not: the first update after resuming brings the pruned weights back."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = torch.ones_like(self.model[0].weight)

    def after_update(self) -> None:
        weight = self.model[0].weight
        if self.steps == 1:
            self.mask = (weight.detach().abs() > weight.detach().abs().median()).float()
        weight.data.mul_(self.mask)
