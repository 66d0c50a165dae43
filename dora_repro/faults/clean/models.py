"""Runs that look suspicious and are right: models, optimizers and schedules. Each must come out EXACT."""

from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.faults.buffers import validate
from dora_repro.faults.forms import Wide
from dora_repro.faults.gallery import fault
from dora_repro.faults.own_optimizers import KeyedById
from dora_repro.faults.plain import ConstantRate, Training
from dora_repro.faults.schedule import ScaledByHand


@fault("clean-onecycle", verdict="EXACT")
class OneCycle(Training):
    """OneCycleLR writes learning rates and betas of its own into the groups when it is built, and counts to a last
    step. Its state and the optimizer's groups are both loaded over that."""

    def make_scheduler(self) -> LRScheduler:
        return lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=12)


@fault("clean-sequential-lr", verdict="EXACT", steps=8)
class Sequential(Training):
    """A warm-up and a cosine in turn. SequentialLR steps its schedules while it is built, which changes the learning
    rate; its state has those of both inside, and the rate itself comes back with the optimizer."""

    def make_scheduler(self) -> LRScheduler:
        parts = (
            lr_scheduler.LinearLR(self.optimizer, 0.1, total_iters=4),
            lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=8),
        )
        return lr_scheduler.SequentialLR(self.optimizer, list(parts), milestones=[4])


@fault("clean-chained-lr", verdict="EXACT")
class Chained(Training):
    """Two schedules that multiply the same learning rate at each step, so that neither knows what it is. The optimizer
    does, and is loaded as well."""

    def make_scheduler(self) -> LRScheduler:
        parts = [
            lr_scheduler.ConstantLR(self.optimizer, total_iters=4),
            lr_scheduler.ExponentialLR(self.optimizer, 0.9),
        ]
        return lr_scheduler.ChainedScheduler(parts, self.optimizer)


@fault("clean-autocast", verdict="EXACT")
class Autocast(Training):
    """The forward pass runs in bf16, where every rounding is visible. It is the same rounding each time: autocast keeps
    no state from step to step."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = self.model(inputs)
        return nn.functional.mse_loss(outputs.float(), targets)


@fault("clean-scaler", verdict="EXACT")
class Scaler(Training):
    """The loss is scaled by a power of two that grows with time, beyond what any state dict of the model or the
    optimizer tells. The scaler has one of its own, and it is in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=2)

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.after_update()
        self.steps += 1
        if self.position == len(self.loader):
            self.batches, self.position = None, 0
        return loss.item()

    def state(self) -> dict:
        return {**super().state(), "scaler": self.scaler.state_dict()}

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        self.scaler.load_state_dict(state["scaler"])


@fault("clean-scaled-by-hand", verdict="EXACT")
class ByHand(ScaledByHand):
    """The loss is multiplied by a scale that grows, and the gradients are divided by it; the scale is in the file."""


@fault("clean-scaled-and-clipped", verdict="EXACT")
class ByHandAndClipped(ScaledByHand):
    """Gradients are divided by the scale, and then clipped; the scale is in the file."""

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.01)


@fault("clean-lbfgs", verdict="EXACT")
class LBFGS(Training):
    """LBFGS calls a closure several times a step, each with dropout of its own, and keeps lists of past gradients as
    state of one parameter. `state_dict` holds all of it."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.model.parameters(), lr=0.1, max_iter=3, history_size=4)

    def step(self) -> float:
        inputs, targets = self.next_batch()

        def closure() -> Any:  # a tensor, where the stubs of torch say float
            self.optimizer.zero_grad()
            loss = self.loss(inputs, targets)
            loss.backward()
            return loss

        loss: Any = self.optimizer.step(closure)
        self.after_update()
        self.steps += 1
        if self.position == len(self.loader):
            self.batches, self.position = None, 0
        return loss.item()


class Momentum(Training):
    """SGD with momentum, whose buffers do not exist before the first step."""

    foreach = fused = False

    def make_optimizer(self) -> torch.optim.Optimizer:
        how: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "foreach": self.foreach, "fused": self.fused}
        return torch.optim.SGD(self.model.parameters(), **how)


@fault("clean-sgd-foreach", verdict="EXACT")
class SGDForeach(Momentum):
    """All parameters are stepped by one call, whose momenta are made in the first step. The loaded ones are used in
    their place, and `foreach` comes back with the options."""

    foreach = True


@fault("clean-sgd-fused", verdict="EXACT")
class SGDFused(Momentum):
    """A fused kernel makes other roundings than the plain loop. Both runs use it: `fused` is an option of the group,
    and in the file."""

    fused = True


@fault("clean-tied", verdict="EXACT")
class Tied(Training):
    """Two layers share one weight, and the file has it under two names. It is loaded twice into the same tensor, in
    place, so they are still one."""

    def make_model(self) -> nn.Module:
        layers = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Dropout(self.dropout), nn.Linear(8, 3)
        layers[2].weight = layers[0].weight
        return nn.Sequential(*layers)


@fault("clean-spectral-norm", verdict="EXACT")
class SpectralNorm(Training):
    """The weight that the layer uses is no parameter: it is computed anew with each forward, from vectors that a
    forward changes. Parameter and vectors are in the state dict."""

    def make_model(self) -> nn.Module:
        model = super().make_model()
        spectral_norm(model[0])
        return model


@fault("clean-batch-norm", verdict="EXACT", steps=9)
class BatchNorm(Training):
    """Running averages change with every forward in training mode, and validation between the epochs switches the mode.
    They are buffers of the state dict, and the mode is back before the next step."""

    def make_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    def end_epoch(self) -> None:
        validate(self.model)


@fault("clean-frozen-backbone", verdict="EXACT")
class FrozenBackbone(Training):
    """The file lacks most of the model. The backbone is frozen and comes from elsewhere, the same each time; the head
    is all that is trained, and all that is saved."""

    def make_model(self) -> nn.Module:
        backbone = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(self.dropout)).requires_grad_(False)
        return nn.Sequential(backbone, nn.Linear(16, 3))

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model[1].parameters(), lr=1e-2)

    def state(self) -> dict:
        return {**super().state(), "model": self.model[1].state_dict()}

    def load_model(self, state: dict) -> None:
        self.model[1].load_state_dict(state["model"])


@fault("clean-gan", verdict="EXACT")
class Adversarial(Training):
    """Two models and two optimizers in turn, and gradients of one that the other's loss leaves behind. Each is set to
    zero before its own step; all four are in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.optimizer_of_critic = torch.optim.Adam(self.critic.parameters(), lr=1e-2, betas=(0.5, 0.9))

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        made = self.model(inputs)
        self.optimizer_of_critic.zero_grad()
        (self.critic(made.detach()).mean() - self.critic(targets).mean()).backward()
        self.optimizer_of_critic.step()
        return -self.critic(made).mean()

    def state(self) -> dict:
        critic = {"critic": self.critic.state_dict(), "optimizer_of_critic": self.optimizer_of_critic.state_dict()}
        return {**super().state(), **critic}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.critic.load_state_dict(state["critic"])
        self.optimizer_of_critic.load_state_dict(state["optimizer_of_critic"])


class Remembering(nn.Sequential):
    """Makes the helper that writes it when it is first written."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.writer: Writer | None = None

    def write(self, path: str, state: dict) -> None:
        self.writer = self.writer or Writer()
        self.writer.write(path, state)


class Writer:
    """Has settings, and no state of the training."""

    def __init__(self) -> None:
        self.protocol = 2

    def write(self, path: str, state: dict) -> None:
        torch.save(state, path, pickle_protocol=self.protocol)


@fault("clean-lazy-writer", verdict="EXACT")
class LazyWriter(Training):
    """Saving makes a helper where there was None, as Lightning's Fabric does. The run is another object after it, and
    no other training."""

    def make_model(self) -> nn.Module:
        return Remembering(*super().make_model())

    def save(self, path: str) -> None:
        self.model.write(path, self.state())


class Averaged:
    """An average of weights with a hook for an optimizer, and all it holds in its state dict."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.updates = model, 0
        self.kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def after_step(self, *called: object) -> None:
        """Take the new weights in."""
        self.updates += 1
        for name, parameter in self.model.named_parameters():
            self.kept[name].lerp_(parameter, 1 / (1 + self.updates))

    def state_dict(self) -> dict:
        return {"kept": self.kept, "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.kept, self.updates = state["kept"], state["updates"]


@fault("clean-ema-in-a-hook", verdict="EXACT")
class AveragedInAHook(Training):
    """An average is updated by a hook of the optimizer. The run holds it as well, and saves it by that name."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        optimizer = super().make_optimizer()
        self.average = Averaged(self.model)
        optimizer.register_step_post_hook(self.average.after_step)
        return optimizer

    def state(self) -> dict:
        return {**super().state(), "average": self.average.state_dict()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.average.load_state_dict(state["average"])


@fault("clean-wide-momentum", verdict="EXACT")
class WideMomentum(Wide):
    """An optimizer keeps fp32 momentum beside parameters in bf16, to which `load_state_dict` would cast it. The tensors
    of the file are put in its place after that."""


@fault("clean-lazy-linear", verdict="EXACT")
class LazyLinear(ConstantRate):
    """A layer has no shape before it sees its first batch, and the optimizer is made before that. In a resumed run the
    file gives it its shape; the parameter is the same object, which the optimizer knows."""

    def make_model(self) -> nn.Module:
        return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(16, 3))


class SavedInOrder(KeyedById):
    """What is kept under ids is saved in the order of the parameters."""

    def state_dict(self) -> dict:
        return {"velocity": [self.velocity[id(parameter)] for parameter in self.parameters]}

    def load_state_dict(self, state: dict) -> None:
        kept = zip(self.parameters, state["velocity"], strict=True)
        self.velocity = {id(parameter): velocity for parameter, velocity in kept}


@fault("clean-keyed-by-id", verdict="EXACT")
class ById(ConstantRate):
    """Momentum is kept under the ids of parameters, saved in their order, and put under the ids of the new ones."""

    def make_optimizer(self) -> Any:  # no optimizer of torch
        return SavedInOrder(self.model.parameters())
