"""The study's own eight: what its lab found by hand in weeks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import random_split

from dora_repro.faults.gallery import fault
from dora_repro.subject.checkpoints import Loaded
from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.feeding import EpochBatches, Feed
from dora_repro.subject.training import TrainingRun, seed_everything

MOMENTS = ("optimizer/*/exp_avg", "optimizer/*/exp_avg_sq", "optimizer/*/step")


SMALL = TrainingConfig(steps_per_epoch=3, batch_size=8, validate=False)


class Study(TrainingRun):
    """The study's training on the smallest model and on digits, three batches an epoch."""

    choices = SMALL

    def __init__(self) -> None:
        super().__init__(self.choices)


class GlobalOrder(Study):
    """As in the study's loop, the order of samples is drawn from torch's global generator, like dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.feed.sampler.generator = None  # type: ignore[assignment]  # the defect


@fault(
    "study-dora-only",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=((*MOMENTS, "rng/torch.cpu", "feed/sampler_generator"),),
    fix='checkpoint="complete"',
)
class DoraOnly(Study):
    """The file holds the DoRA parameters and nothing else. They come back bit for bit, which looks like a proof; but
    AdamW's moments, the generators and the order of the data are lost, and the next step is another."""

    choices = replace(SMALL, checkpoint="dora-only")


@fault(
    "study-reseed",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("rng/torch.cpu", "feed/sampler_generator"),),
    fix='checkpoint="dora+optimizer+rng+data+progress"',
)
class Reseed(Study):
    """Seeding everything before the resumed model is built makes two starts alike, not a resume: the generators stand
    where the whole run began, so the order of the data and the dropout masks of the first epoch come once more."""

    choices = replace(SMALL, checkpoint="dora+optimizer+progress")


@fault(
    "study-split-after-rng",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("rng/torch.cpu",),),
    fix="self.split()  # before super().load(path)",
)
class SplitAfterRng(GlobalOrder):
    """The random states are restored, and then the data are split into training and validation: `random_split` draws a
    permutation. The right state was one draw away, and every later shuffle and mask is another."""

    def split(self) -> None:
        random_split(self.samples, [1500, len(self.samples) - 1500])

    def load(self, path: str | Path) -> Loaded:
        loaded = super().load(path)
        self.split()
        return loaded


@fault(
    "study-optimizer-missing",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix='checkpoint="complete"',
)
class OptimizerMissing(Study):
    """Parameters, random states and data order are restored, AdamW's moments are not. The first resumed batch and loss
    are right to the last bit; the update is not. The study saw 0 % of difference after 2 epochs and 1 % after 9."""

    choices = replace(SMALL, checkpoint="dora+rng+data+progress")


@fault(
    "study-early-stopping",
    verdict="DIFFERENT",
    step=7,
    phase="epoch_end",
    causes=(("best_validation_loss", "epochs_without_improvement"),),
    steps=8,
    save_at=4,
    fix='checkpoint="complete"  # which holds the progress',
)
class EarlyStopping(Study):
    """Early stopping's best loss and its counter are not saved. To the resumed run any loss is the best so far, so it
    trains on where the uninterrupted one had stopped: a longer run is another result, though every step was the same.
    """

    choices = replace(
        SMALL,
        checkpoint="dora+optimizer+rng+data",
        early_stopping=2,
        steps_per_epoch=2,
        validate=True,
        validation_share=0.01,
    )

    def validation_loss(self) -> float:
        return super().validation_loss() + self.epoch  # it rises from the first epoch on


@fault(
    "study-image-noise",
    verdict="DIFFERENT",
    step=3,
    phase="forward",
    causes=(("rng/torch.cpu",),),
    steps=5,
    save_at=2,
    fix="torch.Generator().manual_seed(self.config.seed)  # one of the noise's own",
)
class ImageNoise(Study):
    """The noise on the images is made repeatable by seeding torch's global generator when an epoch is entered. Entered
    again by a resume in its middle, it rewinds everybody's random numbers: dropout repeats masks that were used."""

    choices = replace(SMALL, perturbation="image-noise", perturbation_length=10)

    def __init__(self) -> None:
        super().__init__()
        self.enter_epoch()

    def enter_epoch(self) -> None:
        dataset: Any = self.feed.loader.dataset
        if dataset.perturbation.active(self.feed.epoch):
            torch.manual_seed(self.config.seed)

    def _end_epoch(self) -> None:
        super()._end_epoch()
        self.enter_epoch()

    def load(self, path: str | Path) -> Loaded:
        loaded = super().load(path)
        self.enter_epoch()
        return loaded


class DrawnWhenRead(EpochBatches):
    """torch's RandomSampler draws the order when it is read, after the loader has drawn its workers' base seed."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        self.draw(self.epoch)
        yield from super().__iter__()


class PlainFeed(Feed):
    """A loader with one generator and workers that live on, as scripts have it."""

    def __init__(self, dataset: Any, batch_size: int, limit: int) -> None:
        super().__init__(dataset, batch_size, shuffle=True, limit=limit, workers=0, persistent=False, seed=0)
        self.sampler = DrawnWhenRead(
            len(dataset), batch_size, shuffle=True, limit=limit, generator=self.sampler_generator
        )
        self.loader = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=self.sampler,
            num_workers=1,
            persistent_workers=True,
            generator=self.sampler_generator,
        )

    def _begin(self) -> None:
        self.sampler.epoch = self.epoch
        self._iterator: Any = iter(self.loader)


@fault(
    "study-persistent-workers",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("data/batches",),),
    fix="persistent_workers=False  # or a generator for the order alone: DataLoader(..., sampler=...)",
)
class PersistentWorkers(Study):
    """The loader's generator is saved at the end of an epoch. Workers that live on had their base seed once for all
    epochs; a resumed run starts its own and draws one more, from the generator that shuffles: the next order differs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.feed = PlainFeed(self.feed.loader.dataset, 8, limit=3)


@fault(
    "study-rng-replayed",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("rng/torch.cpu",),),
    fix='checkpoint="dora+optimizer+rng+progress"',
)
class RngReplayed(GlobalOrder):
    """The random state was not saved; it is made up by seeding and drawing a permutation for each epoch done. Building
    the model, the loader and dropout draw from the same generator: a state cannot be guessed, only kept."""

    choices = replace(SMALL, checkpoint="dora+optimizer+progress")

    def load(self, path: str | Path) -> Loaded:
        loaded = super().load(path)
        seed_everything(self.config.seed)
        dataset: Any = self.feed.loader.dataset
        for _ in range(self.epoch):
            torch.randperm(len(dataset))
        return loaded
