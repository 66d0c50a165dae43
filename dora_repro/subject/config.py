"""What a training run is: one frozen record of all its choices, checked when it is made."""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any, get_args

from dora_repro.contracts import Value
from dora_repro.errors import BadInput
from dora_repro.subject.sizes import SIZES

# What building a run imports, besides this package: an interpreter that waits for one can do it beforehand.
NEEDS = ("dora_repro.subject.training", "dora_repro.subject.clip")

PARTS = ("dora", "optimizer", "scheduler", "rng", "data", "progress")

CHOICES = {
    "size": tuple(SIZES),
    "data": ("digits", "synthetic", "things"),
    "optimizer": ("adamw", "sgd"),
    "scheduler": ("none", "cosine", "warmup"),
    "dropout_mode": ("live", "study"),
    "init": ("study", "paper"),
    "perturbation": ("none", "random-targets", "label-shuffle", "image-noise", "uniform-images"),
}

# The lowest number allowed, and the shares, which lie in [0, 1).
_AT_LEAST = {
    "rank": 1, "vision_dora": 0, "text_dora": 0, "prompt_tokens": 0,
    "epochs": 1, "steps_per_epoch": 1, "batch_size": 1, "workers": 0, "resume_step": 0, "seed": 0,
    "learning_rate": 0, "weight_decay": 0, "warmup_steps": 1, "early_stopping": 0,
    "perturbation_start": 1, "perturbation_length": 1, "noise": 0,
}  # fmt: skip  # a table
_SHARES = ("dropout", "momentum", "validation_share")


@dataclass(frozen=True)
class TrainingConfig:
    """All choices of a `TrainingRun`; the defaults are the study's where it fits a small model on a CPU.

    Epochs and steps count from 1 (`perturbation_start=2` is the second epoch; after step 5 five steps are done).

    Attributes:
        size: "tiny" (default), "vit-b-32" or "vit-l-14" (the study's); see `sizes.py`.
        weights: folder or hub name of real CLIP weights; None for random ones, drawn from `seed`.
        data: "digits" (default), "synthetic" (one fixed random batch, an epoch is one step), or "things".
        images: for "things": the folder of images.
        targets: for "things": the CSV of image name and 66 values.
        vision_dora: how many of the vision tower's last blocks get a DoRA layer; None for the size's number.
        text_dora: the same of the text tower.
        rank: of the DoRA layers; None for the size's.
        alpha: strength of the low-rank update; scaling is alpha / rank.
        dropout: probability of dropping an element of the low-rank update.
        dropout_mode: "live", or "study" (never drawn).
        init: "study" or "paper" (the layer starts as the weight it replaces); see `DoRALinear`.
        cache_prompts: compute the output of the frozen text blocks once; the bytes are the same without.
        prompt_tokens: length to which the prompts are padded; 0 for the longest prompt's.
        epochs: how many; the last step of the last one ends the training.
        steps_per_epoch: end each epoch after N batches; None for all of them.
        batch_size: None for the size's.
        validation_share: of the samples, held out by `random_split`; 0.2 as in the study.
        shuffle: draw a new order of samples each epoch.
        workers: of the DataLoader; 0 loads in the training process.
        persistent_workers: keep them from one epoch to the next.
        validate: measure the validation loss at the end of each epoch ("synthetic" has no validation samples).
        optimizer: "adamw" or "sgd".
        learning_rate: of the optimizer.
        weight_decay: of the optimizer.
        momentum: of "sgd".
        scheduler: "none", "cosine" (to zero over the whole training) or "warmup" (linear over `warmup_steps`); it is
            stepped after each optimizer step.
        warmup_steps: optimizer steps until "warmup" reaches the learning rate.
        early_stopping: stop after N epochs without a lower validation loss; 0 never stops.
        perturbation: see `perturbation.py`.
        perturbation_start: the first epoch that is perturbed.
        perturbation_length: how many epochs are.
        noise: standard deviation of "image-noise", in units of the normalised image.
        seed: of everything.
        device: where the model and its batches live: "cpu", "cuda", "cuda:1".
        checkpoint: what `save` writes: "complete" (default), "dora-only" (exactly the study's file), or parts
            joined by "+", from: dora, optimizer, scheduler, rng, data, progress.
        resume_step: optimizer steps done, for `load` of files that hold no progress. None for what the file's name
            says, as with the study: `epoch2_dora_params.pth`, `step20.pt`; else 0.

    Raises:
        BadInput: an unknown name (with the nearest known one), a number out of range, choices that exclude each other.
    """

    size: str = "tiny"
    weights: str | None = None
    data: str = "digits"
    images: str | None = None
    targets: str | None = None
    vision_dora: int | None = None
    text_dora: int | None = None
    rank: int | None = None
    alpha: float = 16.0
    dropout: float = 0.1
    dropout_mode: str = "live"
    init: str = "study"
    cache_prompts: bool = True
    prompt_tokens: int = 0
    epochs: int = 10
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    validation_share: float = 0.2
    shuffle: bool = True
    workers: int = 0
    persistent_workers: bool = False
    validate: bool = True
    optimizer: str = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    momentum: float = 0.0
    scheduler: str = "none"
    warmup_steps: int = 10
    early_stopping: int = 0
    perturbation: str = "none"
    perturbation_start: int = 1
    perturbation_length: int = 1
    noise: float = 0.1
    seed: int = 0
    device: str = "cpu"
    checkpoint: str = "complete"
    resume_step: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            _check_choice(name, getattr(self, name), allowed)
        for field in fields(self):
            value = getattr(self, field.name)
            _check_type(field.name, value, field.type)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                _check_number(field.name, value)
        self.parts  # noqa: B018  # raises where the choice of parts is none
        _check_together(self)

    @property
    def parts(self) -> tuple[str, ...]:
        """What `save` writes, in the order of PARTS; "dora-only" is ("dora",), as the study lays it out."""
        if self.checkpoint == "complete":
            return PARTS
        if self.checkpoint == "dora-only":
            return ("dora",)
        chosen = self.checkpoint.split("+")
        for name in chosen:
            _check_choice("checkpoint", name, ("complete", "dora-only", *PARTS))
        if {"complete", "dora-only"} & set(chosen) or len(set(chosen)) < len(chosen):
            raise BadInput(f"checkpoint={self.checkpoint!r}: join different parts with '+', from {', '.join(PARTS)}")
        return tuple(name for name in PARTS if name in chosen)


def _check_choice(name: str, value: Value, allowed: tuple[str, ...]) -> None:
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of them"
    raise BadInput(f"{name}={value!r} is not known; there is {', '.join(map(repr, allowed))}: {hint}")


def _check_type(name: str, value: Value, annotation: Any) -> None:  # Any: a type, or a union of two
    kinds: tuple[type, ...] = get_args(annotation) or (annotation,)
    number = float in kinds and isinstance(value, int) and not isinstance(value, bool)
    if not number and type(value) not in kinds:
        wanted = " or ".join("None" if one is type(None) else one.__name__ for one in kinds)
        raise BadInput(f"{name}={value!r} is a {type(value).__name__}; give {wanted}")


def _check_number(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise BadInput(f"{name}={value}: give a finite number")
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        raise BadInput(f"{name}={value} is impossible: give {_AT_LEAST[name]} or more")
    if name in _SHARES and not 0 <= value < 1:
        raise BadInput(f"{name}={value} is impossible: give a share from 0 up to, not including, 1")
    if name == "seed" and value >= 2**32:
        raise BadInput(f"seed={value} is too large: numpy's generator takes seeds below {2**32}")


def _check_together(config: TrainingConfig) -> None:
    if config.data == "things" and (config.images is None or config.targets is None):
        raise BadInput("data='things' needs images=FOLDER and targets=CSV")
    if config.data != "things" and (config.images or config.targets):
        raise BadInput(f"images and targets are for data='things'; data={config.data!r} brings its own")
    if config.persistent_workers and config.workers == 0:
        raise BadInput("persistent_workers=True needs workers=1 or more")
    if config.momentum and config.optimizer != "sgd":
        raise BadInput(
            f"momentum={config.momentum} is for optimizer='sgd'; {config.optimizer!r} has moments of its own"
        )
    validated = config.validate and config.data != "synthetic" and config.validation_share > 0
    if config.early_stopping and not validated:
        raise BadInput(
            "early_stopping needs a validation loss: "
            "validate=True, validation_share above 0, data other than 'synthetic'"
        )
    if config.vision_dora == 0 and config.text_dora == 0:
        raise BadInput("vision_dora=0 and text_dora=0 leave nothing to train: give one of them 1 or more")
