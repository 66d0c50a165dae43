"""Places within an epoch, or a window of gradients, that are lost or counted twice."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset

from dora_repro.faults.data import OrderedByEpoch
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, SAMPLES, Training, samples


@fault(
    "skip-every-epoch",
    verdict="DIFFERENT",
    step=5,
    phase="batch[2]",  # those that are skipped are handed out as well
    causes=(("skip",),),
    steps=8,
    fix="self.skip = 0  # once the resumed epoch has begun",
    threads=("allenai/open-instruct#681",),
)
class SkipEveryEpoch(Training):
    """The number of batches to skip is never cleared. The resumed epoch goes on where it should, and each one after it
    is shortened by as many."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = 0

    def next_batch(self) -> Sequence[torch.Tensor]:
        begins = self.batches is None
        batch = super().next_batch()
        while begins and self.position <= self.skip:
            batch = super().next_batch()
        return batch

    def load_data(self, state: dict) -> None:
        super().load_data(state)
        self.skip = state["data"]["position"]


@fault(
    "partial-as-complete",
    verdict="DIFFERENT",
    step=3,
    phase="batch",
    causes=(("data/batches",),),
    save_at=2,
    fix="super().load_data(state)  # position and all",
    threads=("Lightning-AI/pytorch-lightning#5325", "thinking-machines-lab/tinker-cookbook#448"),
)
class PartialAsComplete(Training):
    """A checkpoint from the middle of an epoch is taken for one of its end. The rest of the epoch is never trained."""

    def load_data(self, state: dict) -> None:
        self.generator.set_state(state["data"]["now"])


@fault(
    "second-resume",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("data/batches",),),
    fix='self.progress.update(state["progress"])  # into the object that is counted in',
    threads=("huggingface/datasets#8308", "KempnerInstitute/KempnerForge#57"),
)
class SecondResume(Training):
    """The first resume is right and the second is not. Loading puts another object where the position is saved from,
    and the loader goes on counting in the old one: every later checkpoint holds the position of the first resume. Here
    the job was preempted after step 2 and had been resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = self.counted = {"batches": 0}
        self.preempted = False

    def step(self) -> float:
        if self.steps == 2 and not self.preempted:
            self.preempted = True
            file: Any = io.BytesIO()
            self.save(file)
            file.seek(0)
            self.load(file)
        return super().step()

    def next_batch(self) -> Sequence[torch.Tensor]:
        batch = super().next_batch()
        self.counted["batches"] = self.position
        return batch

    def state(self) -> dict:
        state = super().state()
        return {**state, "data": {**state["data"], "position": self.progress["batches"]}}

    def load_data(self, state: dict) -> None:
        super().load_data(state)
        self.progress = {"batches": state["data"]["position"]}


class Rows(IterableDataset):
    """Samples in their order, from a row on."""

    def __init__(self) -> None:
        self.samples, self.start = samples(), 0

    def __iter__(self) -> Iterator:
        for row in range(self.start, 100 * SAMPLES):
            yield self.samples[row % SAMPLES]


@fault(
    "iter-before-load",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("data/batches", "ahead/*"),),
    fix="self.start_reading()  # after load(), or before the first step",
    threads=("PrimeIntellect-ai/prime-rl#3332",),
)
class IteratorBeforeLoad(Training):
    """Reading ahead begins when the run is built, and the position is loaded afterwards. The iterator is on its way
    from row 0 by then and never looks at the position again."""

    def __init__(self) -> None:
        super().__init__()
        self.start_reading()

    def make_loader(self) -> DataLoader:
        return DataLoader(Rows(), BATCH, generator=self.generator)

    def start_reading(self) -> None:
        self.batches = iter(self.loader)
        self.ahead = next(self.batches)

    def next_batch(self) -> Sequence[torch.Tensor]:
        batch, self.ahead = self.ahead, next(self.batches)  # type: ignore[arg-type]  # begun when built
        return batch

    def count_step(self, loss: torch.Tensor) -> float:
        self.steps += 1  # rows without end
        return loss.item()

    def load_data(self, state: dict) -> None:
        self.loader.dataset.start = state["steps"] * BATCH
        self.generator.set_state(state["data"]["now"])


@fault(
    "loader-edge",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("data/batches",),),
    save_at=4,
    fix="super().load_data(state)  # which begins the old epoch and uses it up",
    threads=("meta-pytorch/data#1437", "huggingface/datasets#7447", "huggingface/accelerate#3952"),
)
class LoaderEdge(Training):
    """A checkpoint of the very end of an epoch is loaded as the beginning of the next. A sampler that is asked once
    more at its end draws a permutation that it throws away; the resumed run never asks, and shuffles with that one."""

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is not None and self.position == len(self.loader):
            next(self.batches, None)  # as `for batch in loader` does
            self.batches = None
        return super().next_batch()

    def count_step(self, loss: torch.Tensor) -> float:
        self.steps += 1  # the end of an epoch is seen when its next batch is asked for
        return loss.item()

    def load_data(self, state: dict) -> None:
        if state["data"]["position"] == len(self.loader):
            self.generator.set_state(state["data"]["now"])
        else:
            super().load_data(state)


@fault(
    "order-from-global",
    verdict="DIFFERENT",
    step=3,
    phase="batch",
    causes=(("data/iterators", "position"), ("position", "batches/after/*")),
    steps=9,
    save_at=2,
    fix="super().load_data(state)  # and generator=self.generator for the loader",
)
class OrderFromGlobal(Training):
    """A loader without a generator draws its order from the global one. A resume in the middle of an epoch begins a new
    epoch: other batches, and two draws that the uninterrupted run made long before, so dropout is another as well."""

    def make_loader(self) -> Any:
        return DataLoader(samples(), batch_size=BATCH, shuffle=True)

    def load_data(self, state: dict) -> None:
        pass


class Ahead:
    """A loader that has the next batch ready before it hands one out."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        batches = iter(self.loader)
        now = next(batches)
        for after in batches:
            yield now
            now = after
        yield now


@fault(
    "reads-ahead",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("data/iterators", "position"), ("position", "batches/after/*")),
    steps=9,
    fix="super().load_data(state)  # through the wrapper",
)
class ReadsAhead(OrderFromGlobal):
    """The same behind a wrapper that reads one batch ahead, as prefetchers and prepared loaders do. What it holds in
    its hand is in no state_dict, and the step that differs first is not the one whose batch was read."""

    def make_loader(self) -> Any:
        return Ahead(super().make_loader())


class Scale(nn.Module):
    """A transform, which as all of torchvision's is a module."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs - 0.5) / 2


class ScaledBatches:
    """A loader whose batches are scaled when they are taken."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.scale = loader, Scale()

    def __iter__(self) -> Iterator[Sequence[torch.Tensor]]:
        for inputs, targets in self.loader:
            yield self.scale(inputs), targets

    def __len__(self) -> int:
        return len(self.loader)


@fault(
    "skip-one-too-many",
    verdict="DIFFERENT",
    step=3,
    phase="batch",
    causes=(("data/batches",),),
    steps=9,
    save_at=2,
    fix='self.skip = state["data"]["position"]  # and not one more',
)
class SkipOneTooMany(Training):
    """The first step after resuming begins the epoch's order anew and passes over one batch more than was used, as
    `next()` is called to look what kind of batch the loader gives. One batch is never trained in this epoch, and no
    error says so."""

    skip = 0

    def make_loader(self) -> Any:
        return ScaledBatches(super().make_loader())

    def load_data(self, state: dict) -> None:
        self.generator.set_state(state["data"]["before_epoch"])
        self.skip = state["data"]["position"] + 1

    def next_batch(self) -> Sequence[torch.Tensor]:
        while self.skip:
            super().next_batch()
            self.skip -= 1
        return super().next_batch()


@fault(
    "accum-count-lost",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("gathered",),),
    fix='self.gathered = state["gathered"]',
)
class AccumulationCountLost(Training):
    """Gradients are gathered over two batches. The half-done window is in the file, gradients and all, but for the
    count of batches in it: the resumed run waits for two more, and its windows are shifted by one for good."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = 0

    def step(self) -> float:
        inputs, targets = self.next_batch()
        loss = self.loss(inputs, targets) / 2
        loss.backward()
        self.gathered += 1
        if self.gathered == 2:
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.gathered = 0
            self.after_update()
        return self.count_step(loss)

    def state(self) -> dict:
        return {**super().state(), "gradients": [parameter.grad for parameter in self.model.parameters()]}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for parameter, gradient in zip(self.model.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient


class InnerSampler(OrderedByEpoch):
    """The order of an epoch is made from its number by a sampler inside the one that makes batches of it."""

    def make_loader(self) -> DataLoader:
        dataset = samples()
        order: DistributedSampler = DistributedSampler(dataset, num_replicas=1, rank=0, seed=self.seed)
        return DataLoader(dataset, batch_sampler=BatchSampler(order, BATCH, drop_last=False), generator=self.generator)

    def set_epoch(self) -> None:
        self.loader.batch_sampler.sampler.set_epoch(self.epoch)

    def next_batch(self) -> Sequence[torch.Tensor]:
        if self.batches is None:
            self.set_epoch()
        return Training.next_batch(self)


@fault(
    "order-epoch-not-set",
    verdict="DIFFERENT",
    step=7,
    phase="batch",
    causes=(("data/batches",),),
    steps=10,
    save_at=6,
    fix="self.set_epoch()  # before super().load_data(state)",
)
class EpochNotSet(InnerSampler):
    """An epoch's number is told to the sampler where an epoch begins, and a resumed one begins in `load`. There it is
    forgotten: the rest of the epoch has the order of the very first."""
