"""Generators that are lost, re-seeded, or put back at the wrong time."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, PER_EPOCH, Training, read, rng_state, samples, set_rng_state


@fault(
    "rng-missing",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    fix='torch.set_rng_state(state["rng"]["torch"])',
    threads=("huggingface/transformers#11582", "vllm-project/speculators#1027"),
)
class Missing(Training):
    """The random states are not loaded. The resumed run begins with those of a run that was just built, and its dropout
    repeats the masks of the first steps."""

    def load_rng(self, state: dict) -> None:
        pass


@fault(
    "rng-swallowed",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    fix="self.put_rng(torch.load(path, weights_only=False))  # and let an error be one",
    threads=("redai-studio/Relax#317",),
)
class Swallowed(Training):
    """Loading the random states fails, and the error is turned into a warning. `torch.load` refuses numpy's state by
    default, the broad `except` goes on, and the training with it."""

    def save(self, path: str) -> None:
        super().save(path)
        torch.save(self.rng_state(), f"{path}.rng")

    def load(self, path: str) -> None:
        super().load(path)
        self.load_rng_of(f"{path}.rng")

    def load_rng(self, state: dict) -> None:
        pass  # they lie in a file of their own

    def load_rng_of(self, path: str) -> None:
        try:
            super().load_rng({"rng": torch.load(path)})
        except Exception as error:
            self.log = f"could not restore the random states ({type(error).__name__}), going on"


@fault(
    "rng-device",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cuda:0",),),
    fix='torch.cuda.set_rng_state_all(state["rng"]["cuda"])',
    threads=(
        "Lightning-AI/pytorch-lightning#14384",
        "huggingface/transformers#23045",
        "huggingface/lerobot#4014",
    ),
    needs="cuda",
)
class Device(Training):
    """The CPU's generators are saved, the device's are not. Dropout on a GPU draws from the GPU's own generator."""

    def make_model(self) -> nn.Module:
        return super().make_model().cuda()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs.cuda(), targets.cuda())


@fault(
    "rng-rank0",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    fix='torch.save(self.rng_state(), f"{path}.rng{rank}")  # a file for each rank',
    threads=("radixark/miles#3187", "NVIDIA/Megatron-LM#6858"),
    needs="processes",
)
class RankZero(Training):
    """The random states of rank 0 are given to all ranks. Each had its own, and from now on all draw the same masks."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        super().__init__()
        torch.manual_seed(self.seed + self.rank)

    def save(self, path: str) -> None:
        if self.rank == 0:
            super().save(path)


@fault(
    "rng-map-location",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("run/exception",),),
    fix='torch.load(path, map_location="cpu")',
    threads=("lanl/hippynn#12",),
    needs="cuda",
)
class MapLocation(Training):
    """The whole checkpoint is loaded onto the GPU, random states included. `set_rng_state` takes a tensor of bytes on
    the CPU and refuses any other."""

    def load(self, path: str) -> None:
        state = torch.load(path, map_location="cuda", weights_only=False)
        torch.set_rng_state(state["rng"]["torch"])


@fault(
    "rng-private",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("noise",),),
    fix='"noise": self.noise.get_state(),',
    threads=("unit8co/darts#2463", "ai2cm/ace#690"),
)
class Private(Training):
    """A component has a generator of its own, which is in no checkpoint. The global states are all restored, and the
    noise on the inputs begins again with its first values."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = torch.Generator().manual_seed(7)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs + 0.1 * torch.randn(inputs.shape, generator=self.noise), targets)


class Validated(Training):
    """Validates after each update, which draws (a loader's iterator has a seed), and keeps the generators' state from
    before that for its file. A resumed run therefore has to validate once before it goes on."""

    validations = 1  # when the file is loaded

    def __init__(self) -> None:
        super().__init__()
        self.before_validation = rng_state()

    def validate(self) -> None:
        for _ in DataLoader(samples(), BATCH):
            pass

    def after_update(self) -> None:
        super().after_update()
        self.before_validation = rng_state()
        self.validate()

    def rng_state(self) -> dict:
        return self.before_validation

    def load(self, path: str) -> None:
        super().load(path)
        self.before_validation = read(path)["rng"]
        set_rng_state(self.before_validation)
        for _ in range(self.validations):
            self.validate()


@fault(
    "rng-validated-twice",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    fix="validations = 1  # as many as were done between the saved state and the save",
)
class ValidatedTwice(Validated):
    """The file has the generators' state from before a validation, and a validation draws. Loading does the one that
    was done since, and another one to see that all is well: the generator is ahead by what that one drew."""

    validations = 2


class WithWorkers(Training):
    """Loads with a worker that lives on."""

    def loader_of(self, dataset: Dataset, **options: Any) -> DataLoader:
        return DataLoader(dataset, BATCH, num_workers=1, persistent_workers=True, generator=self.generator, **options)


class Augmented(Dataset):
    """Samples with noise from numpy's global generator, as augmentations draw it."""

    def __len__(self) -> int:
        return PER_EPOCH * BATCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = samples()[index]
        return inputs + 0.1 * np.random.randn(), targets


def seed_by_id(worker: int) -> None:
    np.random.seed(worker)


@fault(
    "worker-const-seed",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("data/batches",),),
    save_at=4,
    fix="np.random.seed(torch.initial_seed() % 2**32)  # and with workers that live on, derived from the epoch",
    threads=("fangchangma/sparse-to-dense.pytorch#19", "pytorch/pytorch#5059"),
)
class WorkerConstantSeed(WithWorkers):
    """Each worker seeds numpy with its number. Whenever workers are started, the augmentations are those of the first
    epoch again: an uninterrupted run, whose workers live on, sees others."""

    def make_loader(self) -> DataLoader:
        return self.loader_of(Augmented(), worker_init_fn=seed_by_id)


class ByEpoch(Dataset):
    """Samples whose augmentation grows with the epoch, which the loop sets."""

    epoch = 0

    def __len__(self) -> int:
        return PER_EPOCH * BATCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = samples()[index]
        return inputs * (1 + 0.1 * self.epoch), targets


@fault(
    "worker-stale-epoch",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("data/batches",),),
    save_at=4,
    fix="self.epoch = torch.tensor(0).share_memory_()  # in the dataset: a value that workers see change",
    threads=("NVIDIA-NeMo/Megatron-Bridge#5762", "starVLA/starVLA#471"),
)
class WorkerStaleEpoch(WithWorkers):
    """The loop tells the dataset its epoch, and workers that live on have a copy from when they were started. An
    uninterrupted run trains all epochs with the augmentation of its first; a resumed run has new workers, and another.
    """

    def make_loader(self) -> DataLoader:
        return self.loader_of(ByEpoch())

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.loader.dataset.epoch = self.steps // PER_EPOCH
        return super().next_batch()


class FusedDropout(nn.Dropout):
    """As a compiler makes it: one seed from the global generator, and the mask from a stream of the kernel's own."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        seed = int(torch.randint(2**31, ()))
        kept = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(seed)) >= self.p
        return inputs * kept / (1 - self.p)


@fault(
    "compile-rng",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/2",),),
    fix="torch._inductor.config.fallback_random = True  # or compile in both runs",
    threads=("pytorch/pytorch#141645",),
)
class CompiledAfterLoading(Training):
    """The model is compiled after resuming and was not before. A compiled dropout takes its mask from another stream of
    random numbers, from the very same state: no value was lost, the layer is another one, and the masks differ. (A
    layer stands in for torch's compiler here.)"""

    def load(self, path: str) -> None:
        super().load(path)
        self.model[2] = FusedDropout(self.dropout)


_noise = np.random.default_rng(0)


def blurred(inputs: torch.Tensor) -> torch.Tensor:
    return inputs + 0.1 * torch.from_numpy(_noise.normal(size=tuple(inputs.shape))).float()


@fault(
    "module-generator",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals._noise",),),
    fix='_noise.bit_generator.state = state["noise"]',
)
class ModuleGenerator(Training):
    """A function that augments draws from a generator at the top of the script. Python's, numpy's and torch's global
    generators are all saved; this one is nobody's."""

    def __init__(self) -> None:
        global _noise
        _noise = np.random.default_rng(0)
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(blurred(inputs), targets)
