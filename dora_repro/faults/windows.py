"""A training in one function that accumulates gradients, and is saved inside a window; checked batch by batch."""

import os
from collections.abc import Container
from typing import ClassVar

import torch
from torch import nn

from dora_repro.driving.stepwise import Stepwise, stepwise
from dora_repro.faults.functions import NEEDS, InAFunction
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import read, samples, seed_everything


def train_in_windows(out: str, saves: Container[str], batches: int = 12) -> None:
    """Four batches make an update; a checkpoint after every fifth batch, with the gradients so far if `saves` names
    them."""
    seed_everything(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = samples().tensors
    first = 0
    path = os.path.join(out, "checkpoint.pt")
    if os.path.exists(path):
        state = read(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["batch"]
        if "gradients" in state:
            for parameter, gradient in zip(model.parameters(), state["gradients"], strict=True):
                parameter.grad = gradient
    for batch in range(first, batches):
        chosen = torch.arange(8) + 8 * (batch % (len(inputs) // 8))
        loss = nn.functional.mse_loss(model(inputs[chosen]), targets[chosen]) / 4
        loss.backward()
        if batch % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        if batch % 5 == 4:
            now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "batch": batch + 1}
            if "gradients" in saves:
                now["gradients"] = [parameter.grad for parameter in model.parameters()]
            torch.save(now, path)


class InWindows(InAFunction):
    """The training of `train_in_windows`, which keeps the gradients so far."""

    saves: ClassVar[tuple[str, ...]] = ("gradients",)

    @classmethod
    def training(cls) -> Stepwise:
        return stepwise(train_in_windows, "{out}", cls.saves, at="batch")


@fault(
    "function-window-lost",
    verdict="DIFFERENT",
    step=6,
    phase="backward",
    causes=(("train_in_windows/model/*/grad",),),
    steps=10,
    save_at=5,
    fix='now["gradients"] = [parameter.grad for parameter in model.parameters()]',
    needs=NEEDS,
)
class WindowOfAFunctionLost(InWindows):
    """A training in one function writes its checkpoints by batches, and makes an update of every fourth. What the first
    batch of a window had added is in no checkpoint: the next update is made of three quarters of its gradient."""

    saves = ()
