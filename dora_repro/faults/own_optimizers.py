"""Optimizers of one's own, which are none of torch's, and what they leave out of their state."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate


class Lookahead:
    """Slow weights that follow the fast ones, half the way at every second step (Zhang et al. 2019)."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner
        self.slow = [parameter.detach().clone() for parameter in inner.param_groups[0]["params"]]
        self.done = 0

    def zero_grad(self) -> None:
        self.inner.zero_grad()

    def step(self) -> None:
        self.inner.step()
        self.done += 1
        if self.done % 2 == 0:
            with torch.no_grad():
                for slow, fast in zip(self.slow, self.inner.param_groups[0]["params"], strict=True):
                    slow.lerp_(fast, 0.5)
                    fast.copy_(slow)

    def state_dict(self) -> dict:
        return {**self.inner.state_dict(), "done": self.done}

    def load_state_dict(self, state: dict) -> None:
        self.done = state.pop("done")
        self.inner.load_state_dict(state)


@fault(
    "opt-wrapper",
    verdict="DIFFERENT",
    step=4,
    phase="step_end",
    causes=(("optimizer/slow/*",),),
    fix='return {**self.inner.state_dict(), "done": self.done, "slow": self.slow}',
    threads=("davda54/sam#34", "davda54/sam#39", "mgrankin/over9000#8"),
)
class Wrapper(ConstantRate):
    """The state of a wrapper around an optimizer is that of the inner one alone. Here a Lookahead loses its slow
    weights, and at the next synchronisation the model is pulled towards its initialisation."""

    def make_optimizer(self) -> Any:  # a Lookahead is no optimizer of torch
        return Lookahead(super().make_optimizer())


class HeavyBall:
    """SGD with momentum as people write it themselves, its velocities by parameter."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-2) -> None:
        self.parameters, self.lr = list(parameters), lr
        self.velocity: dict[Any, torch.Tensor] = {}

    def key(self, parameter: nn.Parameter) -> Any:
        return parameter

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for parameter in self.parameters:
            moved = self.velocity.setdefault(self.key(parameter), torch.zeros_like(parameter))
            parameter.sub_(moved.mul_(0.9).add_(parameter.grad), alpha=self.lr)  # type: ignore[arg-type]  # after backward

    def state_dict(self) -> dict:
        return {"lr": self.lr}

    def load_state_dict(self, state: dict) -> None:
        self.lr = state["lr"]


@fault(
    "opt-own-momentum",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/velocity/*",),),
    fix='return {"lr": self.lr, "velocity": [self.velocity[parameter] for parameter in self.parameters]}',
)
class OwnMomentum(ConstantRate):
    """An optimizer of one's own leaves its momentum out of its state_dict. The dict that holds it has parameters for
    keys, which are other objects in the next process: it could not be saved as it is either."""

    def make_optimizer(self) -> Any:  # a HeavyBall is no optimizer of torch
        return HeavyBall(self.model.parameters())


class KeyedById(HeavyBall):
    """The velocity of each parameter is kept under its id."""

    def key(self, parameter: nn.Parameter) -> int:
        return id(parameter)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "velocity": self.velocity}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.velocity = state["velocity"]


@fault(
    "opt-keyed-by-id",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/velocity/*",),),
    fix='return {"velocity": [self.velocity[id(parameter)] for parameter in self.parameters]}',
)
class MomentumById(ConstantRate):
    """Momentum is kept under the ids of parameters, and saved as it is. An id is an address: in the next process it is
    that of nothing, or by chance of some object, so that a resume may even work once."""

    def make_optimizer(self) -> Any:  # no optimizer of torch
        return KeyedById(self.model.parameters())
