"""The order in which samples come, and a loader that can be set down anywhere in it and taken up again.

`Feed` wraps a real `torch.utils.data.DataLoader`. What torch's loader draws, and when: its sampler a
permutation an epoch, and the loader itself a 64-bit base seed for its workers at each `iter()` (with
persistent workers only at the first), from `generator=` or else from the global generator, even without
workers or shuffling. Here sampler and loader have a generator each, so nothing else draws from them and they
draw from nothing else.

What a checkpoint needs for an exact resume is the state of both now, the order of the running epoch and the position
in it, and the state from which living workers have their base seed: `state_dict` has them all.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from dora_repro.errors import BadInput
from dora_repro.private_names.of_torch import live_iterator
from dora_repro.subject.fitting import StateDict, require_kind
from dora_repro.subject.perturbation import Perturbed


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of keys (epoch, sample) for one epoch, in an order that is drawn by `draw`, before it is read.

    torch's RandomSampler draws while it is read, and once more at its end; with workers that read ahead, what
    it has drawn after k batches depends on how far they read. Here the order is a tensor that can be looked
    at and put back, and `__iter__`, which torch's loader calls twice when it starts workers, draws nothing.

    Attributes:
        order: samples in the order of the running epoch  # (samples,), int64; empty before the first `draw`
        epoch: the running epoch, from 1.
        skip: batches to leave out at the start of the next `iter()`.
    """

    def __init__(self, samples: int, batch_size: int, *, shuffle: bool, limit: int | None, generator: torch.Generator):
        self.samples = samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.limit = limit
        self.generator = generator
        self.order = torch.empty(0, dtype=torch.int64)
        self.epoch = 1
        self.skip = 0

    def __len__(self) -> int:
        whole = -(-self.samples // self.batch_size)
        return whole if self.limit is None else min(self.limit, whole)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys = [(self.epoch, sample) for sample in self.order.tolist()]
        starts = range(self.skip * self.batch_size, len(self) * self.batch_size, self.batch_size)
        return iter([keys[start : start + self.batch_size] for start in starts])

    def draw(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        self.epoch = epoch
        if self.shuffle:
            self.order = torch.randperm(self.samples, generator=self.generator)  # (samples,)
        else:
            self.order = torch.arange(self.samples)


class Feed:
    """A loader over epochs, and its position in them; the part `data` of a checkpoint.

    Attributes:
        loader: the DataLoader.
        epoch: the running epoch, from 1.
        taken: batches it has given.
        seed_state: the loader's generator before the draw of its workers' base seed.
        workers_drawn: whether persistent workers have that base seed, here or in the run that was saved.
    """

    def __init__(
        self,
        dataset: Perturbed,
        batch_size: int,
        *,
        shuffle: bool,
        limit: int | None,
        workers: int,
        persistent: bool,
        seed: int,
    ):
        self.sampler_generator = torch.Generator().manual_seed(seed)
        self.loader_generator = torch.Generator().manual_seed(seed)
        self.sampler = EpochBatches(
            len(dataset), batch_size, shuffle=shuffle, limit=limit, generator=self.sampler_generator
        )
        self.loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            dataset,
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=persistent,
            generator=self.loader_generator,
        )
        self.epoch = 1
        self.taken = 0
        self.seed_state = self.loader_generator.get_state()
        self.workers_drawn = False
        self._iterator: Iterator[tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sampler)

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (n, 3, side, side) and targets (n, 66)."""
        if self._iterator is None:
            self.sampler.draw(self.epoch)
            self._iterator = self._iterate()
        batch = next(self._iterator)
        self.taken += 1
        return batch

    def end_epoch(self) -> None:
        """Go on to the next epoch; its order is drawn when its first batch is asked for."""
        self._iterator = None
        self.epoch += 1
        self.taken = 0

    def _iterate(self) -> Iterator[tuple[Tensor, Tensor]]:
        """An iterator over what is left of the running epoch, whose order is drawn."""
        persistent = self.loader.persistent_workers
        self.sampler.skip = self.taken
        if persistent and self.workers_drawn and live_iterator(self.loader) is None:
            # In the run that was saved, workers live on; here they are made again, from the same base seed.
            now = self.loader_generator.get_state()
            self.loader_generator.set_state(self.seed_state)
            iterator = iter(self.loader)
            self.loader_generator.set_state(now)
        else:
            if not (persistent and self.workers_drawn):
                self.seed_state = self.loader_generator.get_state()
            iterator = iter(self.loader)
            self.workers_drawn = persistent
        self.sampler.skip = 0
        return iterator

    def go_to(self, epoch: int, taken: int) -> None:
        """Stand after `taken` batches of an epoch whose order the sampler's generator is about to draw."""
        self._iterator = None
        self.epoch, self.taken = epoch, taken
        if taken:
            self.sampler.draw(epoch)
            self._iterator = self._iterate()

    def state_dict(self) -> StateDict:
        """All that the coming batches depend on, as tensors and numbers."""
        return {
            "epoch": self.epoch,
            "taken": self.taken,
            "order": self.sampler.order.clone(),
            "order_epoch": self.sampler.epoch,
            "sampler_generator": self.sampler_generator.get_state(),
            "loader_generator": self.loader_generator.get_state(),
            "seed_state": self.seed_state.clone(),
            "workers_drawn": self.workers_drawn,
        }

    def load_state_dict(self, state: StateDict | None) -> None:
        """Stand where a feed over the same samples stood; in the middle of an epoch, begin it there."""
        if state is None:
            raise TypeError("None where the position of a loader belongs")
        self._iterator = None
        self.epoch, self.taken = state["epoch"], state["taken"]
        self.sampler.order, self.sampler.epoch = state["order"].clone(), state["order_epoch"]
        self.seed_state = state["seed_state"].clone()
        self.workers_drawn = state["workers_drawn"] and self.loader.persistent_workers
        if self.taken:
            self.loader_generator.set_state(self.seed_state)
            self._iterator = self._iterate()
        self.sampler_generator.set_state(state["sampler_generator"])
        self.loader_generator.set_state(state["loader_generator"])

    def check(self, state: StateDict | None, path: str) -> None:
        """Refuse a state that `load_state_dict` cannot take here; changes nothing.

        Args:
            state: as it was read from a file.
            path: of the file, for the message.

        Raises:
            BadInput: it does not fit, and why.
        """
        if state is None:
            raise TypeError("None where the position of a loader belongs")
        if why := self._misfit(state):
            raise BadInput(f"{path}: the loader's place does not fit this run: {why}; use the same data and batch size")

    def _misfit(self, state: StateDict) -> str | None:
        own = self.state_dict()
        kinds = {name: value for name, value in own.items() if name != "order"}
        require_kind({name: state[name] for name in kinds}, kinds, "data")
        require_kind(state["order"], own["order"].new_empty(len(state["order"])), "data/order")
        if min(state["epoch"], state["order_epoch"]) < 1:
            return f"it is in epoch {min(state['epoch'], state['order_epoch'])}, and they count from 1"
        if not 0 <= state["taken"] < max(1, len(self)):
            return f"it stands after batch {state['taken']} of an epoch, and an epoch has {len(self)} here"
        order = state["order"]
        if len(order) not in (0, self.sampler.samples) or (state["taken"] and not len(order)):
            return f"its order is of {len(order)} samples, and here are {self.sampler.samples}"
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            return "its order of samples is no permutation"
        for name in ("sampler_generator", "loader_generator", "seed_state"):
            torch.Generator().set_state(state[name])
        return None
