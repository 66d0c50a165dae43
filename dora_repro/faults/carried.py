"""What one long function carries from a step into the call that begins the next one."""

import os
import random

import torch
from torch import nn

from dora_repro.driving.stepwise import Stepwise, stepwise
from dora_repro.faults.functions import NEEDS, ByHand
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import read, rng_state, samples, seed_everything, set_rng_state


class Recurrent(nn.Module):
    """One layer of a recurrent network, and what it says of the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor, hidden: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, hidden = self.layer(inputs[None], hidden)
        return self.head(outputs[0]), hidden


def train_recurrent(out: str, saves: str, steps: int = 8) -> None:
    """Truncated backpropagation through time: the hidden state of a step begins the next one. Rows are drawn in the
    very call of the model. A checkpoint after each step has the hidden state and the generator, if `saves` names them.
    """
    seed_everything(0)
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = samples().tensors
    order = random.Random(3)
    hidden, first = None, 0
    path = os.path.join(out, "checkpoint.pt")
    if os.path.exists(path):
        state = read(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        set_rng_state(state["rng"])
        first, hidden = state["step"], state.get("hidden")
        if "order" in state:
            order.setstate(state["order"])
    for step in range(first, steps):
        outputs, hidden = model(torch.stack(order.sample(list(inputs), 6)), hidden)
        hidden = hidden.detach()
        optimizer.zero_grad()
        nn.functional.mse_loss(outputs, targets[:6]).backward()
        optimizer.step()
        held = {"hidden": hidden, "order": order.getstate()}
        now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng_state(), "step": step + 1}
        torch.save({**now, **{name: held[name] for name in held if name in saves}}, path)


class Carrying(ByHand):
    """The training of `train_recurrent`, which saves what it carries on."""

    saves = "hidden, order"

    @classmethod
    def training(cls) -> Stepwise:
        return stepwise(train_recurrent, "{out}", cls.saves)


@fault(
    "function-hidden-lost",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("train_recurrent/hidden",),),
    fix='torch.save({**now, "hidden": hidden}, path)',
    needs=NEEDS,
)
class HiddenStateLost(Carrying):
    """A recurrent network is trained by truncated backpropagation through time, in one function: each step begins with
    the hidden state of the one before. No checkpoint has it, and the resumed run begins with none."""

    saves = "order"


@fault(
    "function-call-lost",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("train_recurrent/order", "train_recurrent/model()/inputs"),),
    fix='torch.save({**now, "order": order.getstate()}, path)',
    needs=NEEDS,
)
class BatchInACallLost(Carrying):
    """A training in one function draws its rows in the very call of the model, so no variable ever holds a batch. The
    generator that they are drawn with is in no checkpoint."""

    saves = "hidden"
