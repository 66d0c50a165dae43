"""Which run the lab builds: the study's training with its choices, or a fault of the gallery."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from dora_repro.errors import BadInput
from dora_repro.faults import gallery
from dora_repro.faults.trying import missing
from dora_repro.subject.config import CHOICES, PARTS, TrainingConfig

STUDY = "study"


@dataclass(frozen=True)
class Choices:
    """What can be chosen before, or changed while, a story is told.

    Attributes:
        run: `study`, or the name of a fault of the gallery; what follows is of the study's training alone.
        parts: what its checkpoints hold, of dora, optimizer, scheduler, rng, data, progress.
        optimizer: adamw or sgd; scheduler: none, cosine or warmup.
        dropout: whether it is drawn, or never, as in the study's code.
        workers: processes of its loader.
        perturbation: of the window of epochs that begins with `perturbation_start` and has `perturbation_length`.
        epochs, steps_per_epoch: how long it trains.
        seed: of everything.

    Raises:
        BadInput: there is no such run, part or option.
    """

    run: str = STUDY
    parts: tuple[str, ...] = ("dora",)
    optimizer: str = "adamw"
    scheduler: str = "none"
    dropout: bool = True
    workers: int = 0
    perturbation: str = "none"
    perturbation_start: int = 2
    perturbation_length: int = 1
    epochs: int = 3
    steps_per_epoch: int = 4
    seed: int = 0

    def __post_init__(self):
        if self.run == STUDY:
            self.config  # noqa: B018  # raises where a choice is none
        elif why := missing(gallery.find(self.run).needs):
            raise BadInput(f"run={self.run!r} {why}: choose another")

    @classmethod
    def of(cls, checkpoint: str = "dora-only", **choices: object) -> "Choices":
        """With the checkpoint's content in the kit's words: `complete`, `dora-only`, or parts joined by +."""
        return cls(parts=TrainingConfig(checkpoint=checkpoint).parts, **choices)

    @property
    def config(self) -> TrainingConfig:
        """Of the study's training."""
        whole = set(self.parts) == set(PARTS)
        checkpoint = "complete" if whole else "dora-only" if self.parts == ("dora",) else "+".join(self.parts)
        if not self.parts:
            raise BadInput("parts=(): a checkpoint holds something: choose at least one part")
        return TrainingConfig(
            checkpoint=checkpoint,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            dropout_mode="live" if self.dropout else "study",
            workers=self.workers,
            perturbation=self.perturbation,
            perturbation_start=self.perturbation_start,
            perturbation_length=self.perturbation_length,
            epochs=self.epochs,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.seed,
        )

    @property
    def factory(self) -> Callable[[], object]:
        """Builds the run."""
        if self.run != STUDY:
            return gallery.find(self.run).factory
        from dora_repro.subject.training import TrainingRun

        return functools.partial(TrainingRun, self.config)

    @property
    def steps(self) -> int:
        """How many the run has."""
        return self.epochs * self.steps_per_epoch if self.run == STUDY else gallery.find(self.run).steps


def runs() -> list[str]:
    """What `run` may be here: the study's, and every fault and clean run that needs nothing else."""
    return [STUDY, *(name for name, fault in gallery.every().items() if not missing(fault.needs))]


OPTIONS = {name: CHOICES[name] for name in ("optimizer", "scheduler", "perturbation")}
