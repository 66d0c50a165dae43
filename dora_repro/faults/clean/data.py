"""Runs that look suspicious and are right: data, random numbers and loops. Each must come out EXACT."""

import random
from collections.abc import Generator, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from dora_repro.faults.clean.files import LoadLater
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, PER_EPOCH, SAMPLES, Training, read, samples
from dora_repro.faults.position import ScaledBatches
from dora_repro.faults.random_numbers import Validated


@fault("clean-mid-epoch", verdict="EXACT", steps=9, save_at=2)
class MidEpoch(Training):
    """The save falls into the middle of an epoch, and a loader's iterator cannot be saved. The state of its generator
    from before the epoch can: the order begins anew, and the batches that were used are passed over."""


@fault("clean-skip-later", verdict="EXACT", steps=9, save_at=2)
class SkipLater(LoadLater):
    """The same, with the file read when the first step begins, as trainers do it: that step takes three batches from
    the loader. It trains on the last, and nothing is left of the two that it passes over."""


@fault("clean-validated-once", verdict="EXACT")
class ValidatedOnce(Validated):
    """The file has the generators' state from before a validation that draws, and loading validates: after that the
    generators are where they were when it was saved."""


class Noisy(Dataset):
    """Samples with noise that is drawn when they are read, by whoever reads them."""

    def __init__(self) -> None:
        self.inputs, self.targets = samples().tensors

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index] + 0.1 * torch.randn(8), self.targets[index]


@fault("clean-workers", verdict="EXACT", steps=8, save_at=2)
class Workers(Training):
    """Two processes read ahead and add noise from generators of their own, which no checkpoint can reach. They are
    seeded by a number that the loader draws when the epoch begins, and the epoch is begun anew from the same state.
    """

    def make_loader(self) -> DataLoader:
        return DataLoader(Noisy(), batch_size=BATCH, shuffle=True, generator=self.generator, num_workers=2)


class EpochOrder(Sampler):
    """An order that is a function of the epoch's number alone."""

    epoch = 0

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def __len__(self) -> int:
        return SAMPLES


@fault("clean-persistent-workers", verdict="EXACT", steps=10, save_at=6)
class PersistentWorkers(Training):
    """Workers that live on get their seed once, and a resumed run has to start them once more. Here nothing hangs on
    it: the order comes from the epoch's number, and the loader's generator is set after the workers were started."""

    def make_loader(self) -> DataLoader:
        self.order = EpochOrder()
        how: dict[str, Any] = {"num_workers": 2, "persistent_workers": True, "generator": self.generator}
        return DataLoader(samples(), batch_size=BATCH, sampler=self.order, **how)

    def end_epoch(self) -> None:
        self.order.epoch += 1

    def load_data(self, state: dict) -> None:
        self.order.epoch = state["steps"] // PER_EPOCH
        super().load_data(state)
        self.generator.set_state(state["data"]["now"])


class Accumulating(Training):
    """Each step is one backward; every second one updates. Gradients are set to zero when a window begins."""

    def step(self) -> float:
        inputs, targets = self.next_batch()
        if self.steps % 2 == 0:
            self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()
        self.steps += 1
        if self.steps % 2 == 0:
            self.optimizer.step()
            self.after_update()
        if self.position == len(self.loader):
            self.batches, self.position = None, 0
        return loss.item()


@fault("clean-accumulation-boundary", verdict="EXACT", save_at=4)
class AccumulationBoundary(Accumulating):
    """Gradients are gathered over two batches and are not in the file. It is written between two windows: the gradients
    that the uninterrupted run still holds there are set to zero before anything is added to them."""


@fault("clean-accumulation-window", verdict="EXACT")
class AccumulationWindow(Accumulating):
    """The save falls between the two backward passes of a window, with half a gradient in memory. The gradients are in
    the file, and put back."""

    def state(self) -> dict:
        return {**super().state(), "gradients": [parameter.grad for parameter in self.model.parameters()]}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for parameter, gradient in zip(self.model.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient


@fault("clean-numpy-generator", verdict="EXACT")
class NumpyGenerator(Training):
    """Noise comes from a numpy Generator of the run's own, which `np.random.get_state` knows nothing of. The state of
    its bit generator is a plain dictionary, and is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = np.random.default_rng(5)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        noise = self.noise.standard_normal(tuple(inputs.shape), dtype=np.float32)
        return super().loss(inputs + 0.1 * torch.from_numpy(noise), targets)

    def rng_state(self) -> dict:
        return {**super().rng_state(), "noise": self.noise.bit_generator.state}

    def load_rng(self, state: dict) -> None:
        super().load_rng(state)
        self.noise.bit_generator.state = state["rng"]["noise"]


@fault("clean-python-shuffle", verdict="EXACT", steps=9)
class PythonShuffle(Training):
    """No loader: one list of indices, shuffled again in place by Python's `random` at each epoch. Every order depends
    on all before it, so the generator alone would not do; the list is saved with it."""

    def __init__(self) -> None:
        super().__init__()
        self.samples, self.order = samples(), list(range(SAMPLES))

    def next_batch(self) -> Sequence[torch.Tensor]:
        if not self.position:
            random.shuffle(self.order)
        chosen = self.order[self.position * BATCH : (self.position + 1) * BATCH]
        self.position += 1
        return self.samples[chosen]

    def state(self) -> dict:
        return {**super().state(), "order": self.order}

    def load_data(self, state: dict) -> None:
        self.position, self.order = state["data"]["position"], state["order"]


@fault("clean-metric-average", verdict="EXACT", steps=9)
class MetricAverage(Training):
    """The mean loss of an epoch is computed from a sum that is not saved, so the log of the interrupted epoch is wrong.
    Nothing trains on it, and it is set to zero when the next epoch begins."""

    total = 0.0

    def step(self) -> float:
        if not self.position:
            self.total = 0.0
        loss = super().step()
        self.total += loss
        return loss


@fault("clean-yield", verdict="EXACT", steps=7, save_at=4)
class Yielding(Training):
    """The loop is a Python generator, and a suspended frame cannot be saved. It is one epoch long, closed with its last
    batch and made anew: between two epochs there is nothing in it, and the save falls there."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = self.epoch()

    def epoch(self) -> Generator[float, None, None]:
        for inputs, targets in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(inputs, targets)
            loss.backward()
            self.optimizer.step()
            self.after_update()
            self.steps += 1
            yield loss.item()

    def step(self) -> float:
        loss = next(self.loop)
        if self.steps % PER_EPOCH == 0:
            self.loop.close()
            self.loop = self.epoch()
        return loss


@fault("clean-reseeded", verdict="EXACT", steps=9, save_at=6)
class Reseeded(Training):
    """No generator is saved at all. Each step seeds them with its number, and each epoch's order is seeded with the
    epoch's: whatever is drawn is a function of these, and the number is in the file."""

    def next_batch(self) -> Sequence[torch.Tensor]:
        self.generator.manual_seed(self.steps // PER_EPOCH)  # read when the epoch's order is drawn
        return super().next_batch()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(self.steps)
        return super().loss(inputs, targets)

    def state(self) -> dict:
        state = super().state()
        return {name: state[name] for name in ("model", "optimizer", "scheduler", "steps")}

    def load(self, path: str) -> None:
        state = read(path)
        self.load_model(state)
        self.load_optimizer(state)
        self.steps = state["steps"]
        for _ in range(self.steps % PER_EPOCH):
            self.next_batch()


@fault("clean-fetched-ahead", verdict="EXACT", steps=9, save_at=2)
class FetchedAhead(Training):
    """Batches are fetched three at a time. The resumed run has an empty buffer and fetches in another step than the
    uninterrupted one did; each step trains on the same batch in both."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead: list[Sequence[torch.Tensor]] = []

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.before_epoch = self.generator.get_state()
            self.batches, self.position = iter(self.loader), 0
        if not self.ahead:
            self.ahead = list(islice(self.batches, 3))
        self.position += 1
        return self.ahead.pop(0)


class Scaled(nn.Module):
    """A transform, which as all of torchvision's is a module."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs - 0.5) / 2


class Transformed(Dataset):
    """Samples that go through the transform when they are read."""

    def __init__(self) -> None:
        self.inputs, self.targets = samples().tensors
        self.transform = Scaled()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.inputs[index]), self.targets[index]


@fault("clean-transform-module", verdict="EXACT", steps=9, save_at=2)
class TransformedByModule(SkipLater):
    """The transform of the data set is a module, called for each sample. The first step after resuming passes over two
    batches, whose samples go through it as well."""

    def make_loader(self) -> DataLoader:
        return DataLoader(Transformed(), batch_size=BATCH, shuffle=True, generator=self.generator)


@fault("clean-skip-scaled", verdict="EXACT", steps=9, save_at=2)
class SkipScaled(SkipLater):
    """Batches are passed over through a generator that scales them, by a module. In the first step after resuming that
    module is called three times, and what it makes of two batches is thrown away: the model is given what it would
    have been."""

    def make_loader(self) -> Any:
        return ScaledBatches(super().make_loader())


@fault("clean-cycled-loaders", verdict="EXACT", steps=10, save_at=6)
class CycledLoaders(Training):
    """Two tasks take turns in a step, each with a loader that `itertools.cycle` repeats. After its first round a cycle
    gives what it has kept; a resumed run asks its loaders anew, passes over what was used, and gets the same."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = nn.ModuleList(nn.Linear(3, 1) for _ in range(2))
        self.optimizer.add_param_group({"params": list(self.tasks.parameters())})
        loaders = [DataLoader(samples(), batch_size=BATCH, generator=torch.Generator()) for _ in self.tasks]
        self.streams = [cycle(loader) for loader in loaders]
        self.used = 0

    def step(self) -> float:
        losses = []
        for task, stream in zip(self.tasks, self.streams, strict=True):
            inputs, targets = next(stream)
            losses.append(nn.functional.mse_loss(task(self.model(inputs)), targets[:, :1]))
        self.used += 1
        self.optimizer.zero_grad()
        loss = torch.stack(losses).sum()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> dict:
        return {**super().state(), "tasks": self.tasks.state_dict(), "used": self.used}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.tasks.load_state_dict(state["tasks"])
        self.used = state["used"]
        for stream in self.streams:
            for _ in range(self.used % PER_EPOCH):
                next(stream)
