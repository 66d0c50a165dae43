"""What one long function carries from one step into the next: in the call that begins it, in the iterator of a loop."""

import os
import random
from collections import deque
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler

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

    function = staticmethod(train_recurrent)
    saves = "hidden, order"


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


class Order(Sampler[int]):
    """An order for each epoch, which is drawn from the epoch's number."""

    def __init__(self, length: int) -> None:
        self.length, self.epoch = length, 0

    def __iter__(self) -> Iterator[int]:
        drawn = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.epoch))
        self.epoch += 1
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.length


class Ahead:
    """Batches of a loader, one fetched before the last is used."""

    def __init__(self, loader: DataLoader[tuple[torch.Tensor, ...]]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        batches = iter(self.loader)
        waiting = deque([next(batches)])
        for batch in batches:
            waiting.append(batch)
            yield waiting.popleft()
        yield waiting.popleft()


def train_ahead(out: str, saves: str, epochs: int = 3) -> None:
    """Epochs of 4 steps, a checkpoint after each; it has the order of the next one if `saves` names that."""
    seed_everything(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    order = Order(16)
    loader = DataLoader(samples(16), batch_size=4, sampler=order)
    first = 0
    path = os.path.join(out, "checkpoint.pt")
    if os.path.exists(path):
        state = read(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        set_rng_state(state["rng"])
        first, order.epoch = state["epoch"], state.get("order", 0)
    for epoch in range(first, epochs):
        for inputs, targets in Ahead(loader):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng_state(), "epoch": epoch + 1}
        torch.save({**now, "order": order.epoch} if "order" in saves else now, path)


class LookingAhead(ByHand):
    """The training of `train_ahead`, which saves the order."""

    function = staticmethod(train_ahead)
    saves = "order"


@fault(
    "function-ahead-lost",
    verdict="DIFFERENT",
    steps=8,
    save_at=4,
    step=5,
    phase="batch",
    causes=(("data/batches",),),
    fix='torch.save({**now, "order": order.epoch}, path)',
    needs=NEEDS,
)
class OrderAheadLost(LookingAhead):
    """A training in one function takes its batches from an object that fetches one ahead: what it has fetched lies in
    a generator that only the `for` loop holds. The sampler's epoch is lost, so the resumed run begins with the first
    order again, and has a wrong batch in hand and another one waiting when it comes to its first step."""

    saves = ""
