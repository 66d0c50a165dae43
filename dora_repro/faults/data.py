"""Orders of samples that come back as others."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, WeightedRandomSampler

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, PER_EPOCH, SAMPLES, Training, samples


class OrderedByEpoch(Training):
    """The order of an epoch is made from its number by torch's DistributedSampler, here for one process."""

    def make_loader(self) -> DataLoader:
        dataset = samples()
        self.sampler: DistributedSampler = DistributedSampler(dataset, num_replicas=1, rank=0, seed=self.seed)
        return DataLoader(dataset, BATCH, sampler=self.sampler, generator=self.generator)

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.sampler.set_epoch(self.epoch)
        return super().next_batch()

    @property
    def epoch(self) -> int:
        return self.steps // PER_EPOCH


@fault(
    "order-epoch0",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("generator",),),
    save_at=4,
    fix='self.generator.set_state(state["data"]["now"])',
    threads=("TigreGotico/phoonnx#464", "huggingface/transformers#8878"),
)
class OrderOfEpochZero(Training):
    """The generator that shuffles is not restored. The resumed epoch has the order of the very first, and its samples
    are trained once more in it."""

    def load_data(self, state: dict) -> None:
        self.position = state["data"]["position"]


@fault(
    "order-rebuilt-sampler",
    verdict="DIFFERENT",
    step=7,
    phase="batch",
    causes=(("data/batches",),),
    steps=10,
    save_at=6,
    fix='self.sampler.set_epoch(state["steps"] // PER_EPOCH)  # before iter()',
    threads=("modelscope/ms-swift#10050",),
)
class RebuiltSampler(OrderedByEpoch):
    """To skip what was trained the loader is built anew, and the sampler's epoch is lost with the old one. The right
    number of batches is skipped, in the order of epoch 0: in the first epoch nobody sees it."""

    def load_data(self, state: dict) -> None:
        self.loader = self.make_loader()
        super().load_data(state)


class Stream:
    """Numbers of samples without end, shuffled by a buffer: one of it is picked, and the next takes its place."""

    def __init__(self, seed: int, size: int = 12) -> None:
        self.random, self.size = random.Random(seed), size
        self.buffer: list[int] = []
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            while len(self.buffer) < self.size:
                self.buffer.append(self._next())
            place = self.random.randrange(self.size)
            self.buffer[place], number = self._next(), self.buffer[place]
            yield number

    def _next(self) -> int:
        self.read += 1
        return (self.read - 1) % SAMPLES


class Streamed(IterableDataset):
    """The samples that a stream names."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.samples = stream, samples()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        return (self.samples[number] for number in self.stream)


@fault(
    "stream-buffer",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("stream/buffer", "stream/random"), ("data/batches",)),
    fix='"stream": (self.stream.read, self.stream.buffer, self.stream.random.getstate()),',
    threads=("huggingface/datasets#8408", "huggingface/datasets#7901"),
)
class StreamBuffer(Training):
    """Of a shuffled stream only the position is saved. What lay in its buffer is never trained, the buffer fills with
    what follows, and the generator that picks from it begins anew."""

    def __init__(self) -> None:
        self.stream = Stream(self.seed)
        super().__init__()

    def make_loader(self) -> DataLoader:
        return DataLoader(Streamed(self.stream), BATCH, generator=self.generator)

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.batches = iter(self.loader)
        return next(self.batches)

    def count_step(self, loss: torch.Tensor) -> float:
        self.steps += 1  # a stream has no epochs
        return loss.item()

    def state(self) -> dict:
        return {**super().state(), "read": self.stream.read}

    def load_data(self, state: dict) -> None:
        self.generator.set_state(state["data"]["now"])
        self.stream.read = state["read"]


@fault(
    "epoch-off-by-one",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("epochs",),),
    save_at=4,
    fix='self.epochs = state["epoch"] + 1',
    threads=(
        "catalyst-team/catalyst#764",
        "Lightning-AI/pytorch-lightning#850",
        "KaiyangZhou/deep-person-reid#64",
    ),
)
class EpochOffByOne(OrderedByEpoch):
    """The file holds the number of the epoch that is over, and the resumed run begins with it. That epoch is trained
    twice, in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0

    @property
    def epoch(self) -> int:
        return self.epochs

    def end_epoch(self) -> None:
        self.epochs += 1

    def state(self) -> dict:
        return {**super().state(), "epoch": self.epochs - 1}  # the one that was just trained

    def load_data(self, state: dict) -> None:
        super().load_data(state)
        self.epochs = state["epoch"]


@fault(
    "extra-evaluation",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("generator",),),
    save_at=4,
    fix="evaluate with a loader that does not shuffle",
)
class ExtraEvaluation(Training):
    """The loaded model is evaluated once on the training loader before the first resumed epoch. That draws an order
    from the generator that shuffles, and every epoch after it has another."""

    def load(self, path: str) -> None:
        super().load(path)
        self.model.eval()
        with torch.no_grad():
            for inputs, targets in self.loader:
                self.loss(inputs, targets)
        self.model.train()


@fault(
    "order-in-place",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("order",),),
    save_at=4,
    fix='self.order[:] = state["order"]',
)
class InPlace(Training):
    """A list of indices is shuffled in place at each epoch. The generator is restored and the list is not: the right
    permutation is applied to the wrong order."""

    def make_loader(self) -> DataLoader:
        self.order = list(range(SAMPLES))
        return DataLoader(samples(), BATCH, sampler=self.order, generator=self.generator)

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            random.shuffle(self.order)
        return super().next_batch()


@fault(
    "aux-replay",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("replay/*",),),
    fix='self.replay = state["replay"]',
    threads=("nicklashansen/tdmpc2#28",),
)
class Replay(Training):
    """A buffer of earlier batches is trained again beside each new one, and begins empty on resume."""

    def __init__(self) -> None:
        super().__init__()
        self.replay: list[tuple[torch.Tensor, torch.Tensor]] = []

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.replay.append((inputs, targets))
        old = super().loss(*self.replay[0])
        return super().loss(inputs, targets) + old


class Centred(nn.Module):
    """A transform, which as all of torchvision's is a module."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - inputs.mean()


def centred(items: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = (torch.stack(values) for values in zip(*items, strict=True))
    return Centred()(inputs), targets


@fault(
    "order-of-transformed",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("data/batches",), ("data/batches", "generator")),
    fix="super().load_data(state)  # which begins the old epoch and uses it up",
)
class OrderOfTransformed(Training):
    """Samples go through a module while a batch is made. The order is begun anew after resuming; what the module
    returns is other data, and no other training."""

    def make_loader(self) -> DataLoader:
        return DataLoader(samples(), BATCH, shuffle=True, generator=self.generator, collate_fn=centred)

    def load_data(self, state: dict) -> None:
        self.position = state["data"]["position"]


@fault(
    "mining-weights-lost",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("loader/sampler/weights",),),
    save_at=4,
    fix='self.loader.sampler.weights = state["weights"]',
)
class MiningWeightsLost(Training):
    """Samples of a great loss are drawn more often: after each epoch the sampler gets new weights. They are computed
    and not configured, so they are state; the resumed run draws all samples alike, from the right generator."""

    def make_loader(self) -> DataLoader:
        weights: Any = torch.ones(SAMPLES)  # the stubs of torch want a list, its code makes a tensor of it
        sampler = WeightedRandomSampler(weights, SAMPLES, generator=self.generator)
        return DataLoader(samples(), BATCH, sampler=sampler, generator=self.generator)

    @torch.no_grad()
    def end_epoch(self) -> None:
        inputs, targets = samples().tensors
        errors = (self.model.eval()(inputs) - targets).square().mean(dim=1)
        self.model.train()
        self.loader.sampler.weights = errors.double()
