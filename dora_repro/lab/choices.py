"""Which run the lab builds: the study's training with its choices, or a fault of the gallery."""

import functools
from dataclasses import dataclass
from typing import TypedDict, Unpack

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.faults import gallery
from dora_repro.faults.trying import missing
from dora_repro.subject.config import CHOICES, PARTS, TrainingConfig

STUDY = "study"


class Others(TypedDict, total=False):
    """All choices but the checkpoint's content, as options of `Choices.of`."""

    run: str
    optimizer: str
    scheduler: str
    dropout: bool
    workers: int
    perturbation: str
    perturbation_start: int
    perturbation_length: int
    epochs: int
    steps_per_epoch: int
    seed: int


@dataclass(frozen=True)
class Choices:
    """What can be chosen before a lab begins, and changed afterwards.

    Attributes:
        run: `study`, or the name of a fault of the gallery. All other choices apply to the study's training only.
        parts: what its checkpoints hold, from dora, optimizer, scheduler, rng, data, progress.
        optimizer: adamw or sgd.
        scheduler: none, cosine or warmup.
        dropout: whether dropout is drawn; it never is in the study's code.
        workers: number of worker processes of its loader.
        perturbation: what is perturbed during a window of epochs.
        perturbation_start: first epoch of the window.
        perturbation_length: number of epochs of the window.
        epochs: number of epochs to train.
        steps_per_epoch: number of optimizer steps in each.
        seed: seed of all generators.

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

    def __post_init__(self) -> None:
        if self.run == STUDY:
            self.config  # noqa: B018  # raises where a choice does not exist
        elif why := missing(gallery.find(self.run).needs):
            raise BadInput(f"run={self.run!r} {why}: choose another")

    @classmethod
    def of(cls, checkpoint: str = "dora-only", **choices: Unpack[Others]) -> "Choices":
        """Choices with the checkpoint's content in one word.

        Args:
            checkpoint: `complete`, `dora-only`, or parts joined by +.
            **choices: all other choices.
        """
        return cls(parts=TrainingConfig(checkpoint=checkpoint).parts, **choices)

    @property
    def config(self) -> TrainingConfig:
        """Configuration of the study's training."""
        whole = set(self.parts) == set(PARTS)
        checkpoint = "complete" if whole else "dora-only" if self.parts == ("dora",) else "+".join(self.parts)
        if not self.parts:
            raise BadInput("parts=(): a checkpoint cannot be empty: choose at least one part")
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
    def factory(self) -> Factory:
        """Builds the run."""
        if self.run != STUDY:
            return gallery.find(self.run).factory
        from dora_repro.subject.training import TrainingRun

        return functools.partial(TrainingRun, self.config)

    @property
    def steps(self) -> int:
        """Number of steps that the run has."""
        return self.epochs * self.steps_per_epoch if self.run == STUDY else gallery.find(self.run).steps


def runs() -> list[str]:
    """The choices for `run`: the study's, and every fault and clean run whose needs are met here."""
    return [STUDY, *(name for name, fault in gallery.every().items() if not missing(fault.needs))]


OPTIONS = {name: CHOICES[name] for name in ("optimizer", "scheduler", "perturbation")}
