"""The run that the faults are planted in: a training script as people write them, which saves and loads all it needs.

An MLP with dropout on 32 made-up samples; a shuffling loader with a generator of its own, four batches an epoch; AdamW
and a cosine schedule. Each fault is a subclass that does one thing wrong. It is small: a step takes a millisecond.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, BATCH = 32, 8
PER_EPOCH = SAMPLES // BATCH  # steps


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def samples(count: int = SAMPLES) -> TensorDataset:
    """Made-up inputs (count, 8) and targets (count, 3), the same each time."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 8, generator=generator)
    return TensorDataset(inputs, inputs[:, :2] @ torch.randn(2, 3, generator=generator))


def read(path: str) -> dict:
    """A checkpoint of one's own, with numpy's and Python's generator states in it."""
    return torch.load(path, weights_only=False)


def rng_state() -> dict:
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}


def set_rng_state(state: dict) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


class Training:
    """Saves and loads everything. Subclasses override one of the methods below."""

    seed = 0
    dropout = 0.2

    def __init__(self) -> None:
        seed_everything(self.seed)
        self.model: Any = self.make_model()  # Any: specimens reach into the layers of theirs
        self.optimizer = self.make_optimizer()
        self.scheduler = self.make_scheduler()
        self.generator = torch.Generator().manual_seed(self.seed)
        self.loader: Any = self.make_loader()  # Any: some wrap it, some reach into its data set
        self.batches: Iterator[Sequence[torch.Tensor]] | None = None  # the epoch's iterator; None between epochs
        self.before_epoch = self.generator.get_state()  # where the order of the present epoch begins
        self.position = 0  # batches of it that were used
        self.steps = 0

    # --- what it is made of

    def make_model(self) -> Any:  # a module of any kind
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(16, 3))

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=1e-2)

    def make_scheduler(self) -> Any:  # one of torch, one of a library, or None
        return torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=20)

    def make_loader(self) -> DataLoader:
        return DataLoader(samples(), batch_size=BATCH, shuffle=True, generator=self.generator)

    # --- a step

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.before_epoch = self.generator.get_state()
            self.batches, self.position = iter(self.loader), 0
        batch = next(self.batches)
        self.position += 1
        return batch

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(self.model(inputs), targets)

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()
        self.optimizer.step()
        self.after_update()
        return self.count_step(loss)

    def count_step(self, loss: torch.Tensor) -> float:
        """What a step ends with: it is counted, and after the last batch so is the epoch."""
        self.steps += 1
        if self.position == len(self.loader):
            self.batches, self.position = None, 0
            self.end_epoch()
        return loss.item()

    def after_update(self) -> None:
        if self.scheduler is not None:
            self.scheduler.step()

    def end_epoch(self) -> None:
        """For those that validate, step a schedule or count at the end of an epoch."""

    # --- saving and loading

    def state(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "rng": self.rng_state(),
            "data": {"before_epoch": self.before_epoch, "now": self.generator.get_state(), "position": self.position},
            "steps": self.steps,
        }

    def rng_state(self) -> dict:
        return rng_state()

    def save(self, path: str) -> None:
        torch.save(self.state(), path)

    def load(self, path: str) -> None:
        state = read(path)
        self.load_model(state)
        self.load_optimizer(state)
        self.load_data(state)
        self.steps = state["steps"]
        self.load_rng(state)

    def load_model(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    def load_data(self, state: dict) -> None:
        """Begin the epoch's order anew, and use up the batches that were used."""
        data = state["data"]
        self.position = data["position"]
        self.before_epoch = data["before_epoch"]
        if not self.position:
            self.generator.set_state(data["now"])
            return
        self.generator.set_state(self.before_epoch)
        self.batches = iter(self.loader)
        for _ in range(self.position):
            next(self.batches)

    def load_rng(self, state: dict) -> None:
        set_rng_state(state["rng"])


class ConstantRate(Training):
    """The same at a constant learning rate: whatever is lost of the optimizer shows in the update itself."""

    def make_scheduler(self) -> Any:
        return None
