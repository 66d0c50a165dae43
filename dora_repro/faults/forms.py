"""What comes back with other types: containers with no bound or in another order, numbers of fewer bits."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate


class ClippedByHistory(ConstantRate):
    """The clean run with gradients clipped to half the mean norm of the last three, which are saved as a list."""

    last = 3

    def __init__(self) -> None:
        super().__init__()
        self.norms: deque[float] = deque(maxlen=self.last)
        self.optimizer.register_step_pre_hook(self.clip)

    def clip(self, *about: object) -> None:
        parameters = list(self.model.parameters())
        self.norms.append(nn.utils.get_total_norm([p.grad for p in parameters]).item())
        nn.utils.clip_grad_norm_(parameters, 0.5 * sum(self.norms) / len(self.norms))

    def state(self) -> dict:
        return {**super().state(), "norms": list(self.norms)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.norms = deque(state["norms"], maxlen=self.last)


@fault(
    "deque-bound-lost",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("norms",),),
    fix='self.norms = deque(state["norms"], maxlen=self.last)',
)
class DequeBoundLost(ClippedByHistory):
    """Gradients are clipped by the norms of the last three steps, in a deque that forgets older ones by itself. It is
    saved as a list and comes back without its bound: every norm is right, and from now on none is forgotten."""

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.norms = deque(state["norms"])


class InTurn(ConstantRate):
    """The clean run with gradients clipped to limits that take turns: the first one in line goes to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = OrderedDict(narrow=0.01, medium=0.02, wide=0.04)
        self.optimizer.register_step_pre_hook(self.clip)

    def clip(self, *about: object) -> None:
        name, limit = self.turns.popitem(last=False)
        nn.utils.clip_grad_norm_(list(self.model.parameters()), limit)
        self.turns[name] = limit

    def state(self) -> dict:
        return {**super().state(), "turns": dict(self.turns)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.turns = OrderedDict(state["turns"])


@fault(
    "keys-sorted",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("turns",),),
    fix='self.turns = OrderedDict(state["turns"])  # as it was written',
)
class KeysSorted(InTurn):
    """Limits take turns in an OrderedDict. On the way back its keys are sorted, as `json.dump(…, sort_keys=True)` and
    many configuration files have them: each limit is there, and another one is first in line."""

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.turns = OrderedDict(sorted(state["turns"].items()))


class WideMomentum(torch.optim.Optimizer):
    """SGD with its momentum in fp32, whatever the parameters are."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 0.1) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # of closures, as all of torch take, it makes no use
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
                state["momentum"].mul_(0.9).add_(parameter.grad)
                parameter.copy_(parameter - group["lr"] * state["momentum"])


class Wide(ConstantRate):
    """The clean run in bf16, with momentum in fp32; loading gives the optimizer the very tensors of the file."""

    def make_model(self) -> Any:
        return super().make_model().bfloat16()

    def make_optimizer(self) -> torch.optim.Optimizer:
        return WideMomentum(self.model.parameters())

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(self.model(inputs.bfloat16()).float(), targets)

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        for index, parameter in enumerate(self.model.parameters()):
            self.optimizer.state[parameter] = state["optimizer"]["state"][index]


@fault(
    "opt-state-cast",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("optimizer/*/momentum",),),
    fix='self.optimizer.state[parameter] = state["optimizer"]["state"][index]  # after load_state_dict',
    threads=("pytorch/pytorch#43706", "facebookresearch/fairscale#50"),
)
class StateCast(Wide):
    """An optimizer keeps its momentum in fp32 beside parameters in bf16, and the file has it so.
    `Optimizer.load_state_dict` casts each floating-point state to the type of its parameter: of 24 bits 8 are left."""

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
