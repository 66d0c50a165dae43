"""Generators of one's own, and global ones of numpy and Python: lost, forked, or put back too early."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, random_split

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, SAMPLES, Training, read, samples

# --- global generators ---------------------------------------------------------------------------------------------


@fault(
    "rng-missing-numpy",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/numpy",),),
    fix='np.random.set_state(state["rng"]["numpy"])',
    threads=("huggingface/transformers#11582",),
)
class NumpyMissing(Training):
    """Mixup takes its weights from numpy, and only the generators of torch and Python are put back. A run has one
    global generator a library, and one that a single augmentation uses is easily forgotten."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        share = np.random.beta(0.4, 0.4)
        return super().loss(_mixed(inputs, share), _mixed(targets, share))

    def load_rng(self, state: dict) -> None:
        torch.set_rng_state(state["rng"]["torch"])
        random.setstate(state["rng"]["python"])


def _mixed(values: torch.Tensor, share: float) -> torch.Tensor:
    return share * values + (1 - share) * values.flip(0)


@fault(
    "rng-missing-python",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/python",),),
    fix='random.setstate(state["rng"]["python"])',
    threads=("huggingface/transformers#11582",),
)
class PythonMissing(Training):
    """The brightness of a batch comes from Python's `random`, which is not put back. It is a generator like the others,
    though no tensor ever comes out of it."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs * random.uniform(0.8, 1.2), targets)

    def load_rng(self, state: dict) -> None:
        torch.set_rng_state(state["rng"]["torch"])
        np.random.set_state(state["rng"]["numpy"])


@fault(
    "rng-too-early",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    fix="self.load_rng(state) after self.load_data(state)",
)
class TooEarly(Training):
    """The loader shuffles with the global generator, which is put back before the loader is brought to its place; that
    draws from it, and leaves it elsewhere. Generators come last."""

    def make_loader(self) -> DataLoader:
        return DataLoader(samples(), batch_size=BATCH, shuffle=True)

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.epoch_began = torch.get_rng_state()
        return super().next_batch()

    def state(self) -> dict:
        return super().state() | {"epoch_began": self.epoch_began}

    def load_data(self, state: dict) -> None:
        self.load_rng(state)
        self.epoch_began = state["epoch_began"]
        torch.set_rng_state(self.epoch_began)
        super().load_data(state)

    def load(self, path: str) -> None:
        state = read(path)
        self.load_model(state)
        self.load_optimizer(state)
        self.load_data(state)
        self.steps = state["steps"]


@fault(
    "extra-split",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("rng/torch.cpu",),),
    save_at=4,
    fix="split before the generators are put back, or with a generator of its own",
)
class SplitAfterwards(Training):
    """The samples for the final test are split off anew after the generators were put back. `random_split` draws a
    permutation, and every shuffle after it is another one: nothing may draw between restoring and training."""

    dropout = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.split()

    def split(self) -> None:
        self.held_out, _ = random_split(samples(2 * SAMPLES), [SAMPLES, SAMPLES])

    def make_loader(self) -> DataLoader:
        return DataLoader(samples(), batch_size=BATCH, shuffle=True)

    def load(self, path: str) -> None:
        super().load(path)
        self.split()


# --- generators that a component keeps for itself ------------------------------------------------------------------


class OwnDropout(nn.Module):
    """Dropout with a generator of its own."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * (torch.rand(values.shape, generator=self.generator) >= self.share) / (1 - self.share)


class Mixup:
    """Mixes the samples of a batch by shares from a generator of its own."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share = self.generator.beta(0.4, 0.4)
        return _mixed(inputs, share), _mixed(targets, share)


@fault(
    "rng-private-numpy",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("mixup/generator",),),
    fix='self.mixup.generator.bit_generator.state = state["mixup"]',
    threads=("unit8co/darts#2463",),
)
class PrivateNumpy(Training):
    """Mixup has a numpy `Generator` made from a seed, and is made from that seed again on resume. `np.random.get_state`
    tells of the legacy global generator only; each `default_rng` must be saved by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.mixup = Mixup(self.seed)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(*self.mixup(inputs, targets))


class Jittered(Dataset):
    """The samples, each multiplied by a number from a generator of the data set's own."""

    def __init__(self, seed: int) -> None:
        self.samples = samples()
        self.random = random.Random(seed)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = self.samples[index]
        return inputs * self.random.uniform(0.8, 1.2), targets


@fault(
    "rng-private-python",
    verdict="DIFFERENT",
    step=7,
    phase="batch",
    causes=(("loader/dataset/random",),),
    steps=8,
    save_at=6,
    fix='self.loader.dataset.random.setstate(state["augmentation"])',
    threads=("unit8co/darts#2463",),
)
class PrivatePython(Training):
    """A data set augments with a `random.Random` of its own, unsaved. Using up the batches of the present
    epoch moves it
    on by as many samples, so a resume in the first epoch is right by chance, and one in any later epoch is not."""

    def make_loader(self) -> DataLoader:
        return DataLoader(Jittered(self.seed), batch_size=BATCH, shuffle=True, generator=self.generator)


@fault(
    "rng-forked",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("noises",),),
    fix='self.noises = state["noises"]',
    threads=("ai2cm/ace#690",),
)
class Forked(Training):
    """Noise is drawn inside `fork_rng` from a seed that counts its draws, to leave the global generator alone.
    The count
    is the state of that stream of numbers, and it starts anew."""

    def __init__(self) -> None:
        super().__init__()
        self.noises = 0

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(1000 + self.noises)
            noise = torch.randn(inputs.shape)
        self.noises += 1
        return super().loss(inputs + 0.1 * noise, targets)


# --- workers -------------------------------------------------------------------------------------------------------


class Noisy(Dataset):
    """The samples, with noise from numpy's global generator: in a worker, from that worker's."""

    def __init__(self) -> None:
        self.samples = samples()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = self.samples[index]
        return inputs + 0.1 * torch.from_numpy(np.random.randn(8)).float(), targets


def seed_by_id(worker: int) -> None:
    np.random.seed(worker)


def _persistent(dataset: Any, order: torch.Generator, **options: Any) -> DataLoader:
    """One worker that lives as long as the loader; what seeds it does not disturb the order."""
    sampler = RandomSampler(dataset, generator=order)
    return DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=1, persistent_workers=True, generator=torch.Generator(), **options
    )


@fault(
    "reseed-count-lost",
    verdict="DIFFERENT",
    step=5,
    phase="forward",
    causes=(("epochs",),),
    save_at=4,
    fix='self.epochs = state["epochs"]',
)
class ReseedCountLost(Training):
    """Each epoch seeds torch with its number, so no generator need be saved. The number must be: it begins at zero
    again, and the second epoch gets the dropout masks of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            torch.manual_seed(1000 + self.epochs)
        return super().next_batch()

    def end_epoch(self) -> None:
        self.epochs += 1
