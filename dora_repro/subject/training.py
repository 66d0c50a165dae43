"""The study's training run: build, step, save, load.

`TrainingRun` is one training, advanced a step at a time. What its checkpoints hold is a choice of its config: the parts
are in `parts.py`, the files in `checkpoints.py`; what it is built from
is in `ingredients.py`. Nothing here knows how runs are compared.

Epochs and steps count from 1: `epoch` is the number of epochs done, so `epoch == 1` is "after the first";
`steps_done` likewise.
"""

import random
import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from dora_repro.checkpoint.layouts import step_in_name
from dora_repro.errors import BadInput
from dora_repro.printable import named
from dora_repro.subject import checkpoints
from dora_repro.subject.checkpoints import Loaded
from dora_repro.subject.config import PARTS, TrainingConfig
from dora_repro.subject.feeding import Feed
from dora_repro.subject.generators import GlobalGenerators
from dora_repro.subject.ingredients import (
    build_model,
    build_optimizer,
    build_scheduler,
    device_named,
    load_samples,
    split,
)
from dora_repro.subject.parts import OptimizerByName, Part, Progress, Schedule, TrainedParameters, trained_parameters
from dora_repro.subject.perturbation import Perturbation, Perturbed
from dora_repro.subject.sizes import SIZES
from dora_repro.wording import counted

OUTPUTS = 8  # images in the fixed batch of `outputs()`


class TrainingRun:
    """One training run, built as a script does: seed everything, model, data, split, loaders, optimizer.

    Attributes:
        config: all choices.
        model: what is trained.
        optimizer: steps the model's trainable parameters.
        scheduler: steps the optimizer's learning rate; None where it is constant.
        feed: the training loader and its place.
        validation_loader: a DataLoader over the held-out samples, or None.
        epoch: epochs done.
        steps_done: optimizer steps done.
        best_validation_loss: the lowest so far; early stopping compares with it.
        epochs_without_improvement: since then.
        finished: whether training is over.
        losses: of each step.
        validation_losses: of each epoch.
    """

    def __init__(self, config: TrainingConfig | None = None):
        """Build everything.

        Args:
            config: all choices; the defaults where it is None.

        Raises:
            BadInput: what is asked for is not there or does not fit together.
        """
        self.config = config = config or TrainingConfig()
        size = SIZES[config.size]
        batch_size = config.batch_size or size.batch
        seed_everything(config.seed)
        self.device = device_named(config.device)
        self.model = build_model(config).to(self.device)
        self.samples = load_samples(config, self.model.image, batch_size)
        training, validation = split(self.samples, config)
        perturbation = Perturbation(
            config.perturbation,
            config.perturbation_start,
            config.perturbation_length,
            config.noise,
            config.seed,
        )
        self.feed = Feed(
            Perturbed(self.samples, training, perturbation),
            batch_size,
            shuffle=config.shuffle,
            limit=config.steps_per_epoch,
            workers=config.workers,
            persistent=config.persistent_workers,
            seed=config.seed,
        )
        self.validation_generator = torch.Generator().manual_seed(config.seed)
        self.validation_loader: DataLoader[tuple[Tensor, Tensor]] | None = None
        if validation:
            held_out = Subset(self.samples, validation)
            self.validation_loader = DataLoader(held_out, batch_size, generator=self.validation_generator)
        self.optimizer = build_optimizer(self.model, config)
        self.scheduler = build_scheduler(self.optimizer, config, config.epochs * len(self.feed))
        self.epoch = 0
        self.steps_done = 0
        self.best_validation_loss = float("inf")
        self.epochs_without_improvement = 0
        self.finished = False
        self.losses: list[float] = []
        self.validation_losses: list[float] = []

    @property
    def loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The training loader."""
        return self.feed.loader

    @property
    def step_in_epoch(self) -> int:
        """Steps done in the running epoch."""
        return self.feed.taken

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.feed)

    def step(self) -> float:
        """One optimizer step on the next batch; at an epoch's last batch also validation and early stopping.

        Returns:
            the mean squared error before the update.

        Raises:
            StopIteration: training is over: all epochs are done, or it was stopped early.
        """
        if self.finished:
            raise StopIteration(f"training is over after {counted(self.steps_done, 'step')}")
        images, targets = self.feed.next()  # (n, 3, side, side), (n, 66)
        images, targets = images.to(self.device), targets.to(self.device)
        self.optimizer.zero_grad()
        loss = functional.mse_loss(self.model(images), targets)
        loss.backward()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps_done += 1
        self.losses.append(loss.item())
        if self.feed.taken == len(self.feed):
            self._end_epoch()
        return self.losses[-1]

    def _end_epoch(self) -> None:
        self.epoch += 1
        self.feed.end_epoch()
        if self.validation_loader is not None:
            loss = self.validation_loss()
            self.validation_losses.append(loss)
            if loss < self.best_validation_loss:
                self.best_validation_loss, self.epochs_without_improvement = loss, 0
            else:
                self.epochs_without_improvement += 1
        stopped = 0 < self.config.early_stopping <= self.epochs_without_improvement
        self.finished = stopped or self.epoch >= self.config.epochs

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean squared error over the held-out samples, never perturbed; changes no state, draws nothing."""
        if self.validation_loader is None:
            raise BadInput(
                "there are no validation samples: validate=True, validation_share above 0, data other than 'synthetic'"
            )
        drawn_from = self.validation_generator.get_state()  # iter() draws a base seed that nobody uses
        total, count = 0.0, 0
        with _evaluating(self.model):
            text = self.model.text_features()  # (66, projection)
            for images, targets in self.validation_loader:
                scores = self.model.score(images.to(self.device), text)  # (n, 66)
                total += functional.mse_loss(scores, targets.to(self.device), reduction="sum").item()
                count += targets.numel()
        self.validation_generator.set_state(drawn_from)
        return total / count

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Scores of the first samples, unperturbed, in eval mode; changes no state.  # (n, 66)"""
        images = torch.stack([self.samples.image(index) for index in range(min(OUTPUTS, len(self.samples)))])
        with _evaluating(self.model):
            return self.model(images.to(self.device)).cpu()

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, atomically: the parts that `config.checkpoint` names, or the study's file.

        Raises:
            BadInput: the file cannot be written.
        """
        if self.config.checkpoint == "dora-only":
            checkpoints.save_dora_only(path, TrainedParameters(trained_parameters(self.model)).state_dict())
        else:
            checkpoints.save(path, self._parts(), self.config.parts)

    def save_study(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the study's `epoch{N}_dora_params.pth` and `epoch{N}_random_states.pth` into a folder; their paths.

        Raises:
            BadInput: the files cannot be written.
        """
        dora = {name: parameter.detach() for name, parameter in trained_parameters(self.model).items()}
        return checkpoints.save_study(folder, self.epoch, dora)

    def load(self, path: str | Path) -> Loaded:
        """Restore the parts that a checkpoint holds; where it is partial, the rest stays as it was built.

        The global generators come last, since making a loader or a model may draw from them. Without progress,
        training goes on after `config.resume_step`, or the epoch or step that the file's name begins with. Without
        data the loader stands at the right place in the epoch, but in the order of a loader newly built: as in the
        study, the order of samples begins anew.

        Raises:
            BadInput: the file cannot be read, or does not fit this run; then nothing was changed.
        """
        parts = self._parts()
        held = checkpoints.read(path, parts)
        dora = held.get("dora")
        missing = () if dora is None else tuple(name for name in trained_parameters(self.model) if name not in dora)
        if missing:
            warnings.warn(
                f"{named(path)} lacks {counted(len(missing), 'DoRA parameter')}, left unchanged: {', '.join(missing)}",
                stacklevel=2,
            )
        for name, part in parts.items():
            if name in held:
                part.load_state_dict(held[name])
            elif name == "progress":
                self._go_to_step_of(path)
            elif name == "data":
                self.feed.go_to(self.epoch + 1, self.steps_done - self.epoch * len(self.feed))
        restored = tuple(part for part in PARTS if part in held)
        return Loaded(restored, tuple(part for part in PARTS if part not in held), missing)

    def _parts(self) -> dict[str, Part]:
        """What a checkpoint may hold, in the order in which it is restored."""
        # Asked for twice: pickle writes a name once where both parts share the string, and files would change.
        return {
            "dora": TrainedParameters(trained_parameters(self.model)),
            "optimizer": OptimizerByName(self.optimizer, trained_parameters(self.model)),
            "scheduler": Schedule(self.scheduler, self.config.scheduler),
            "progress": Progress(self, len(self.feed)),
            "data": self.feed,
            "rng": GlobalGenerators(),
        }

    def _go_to_step_of(self, path: str | Path) -> None:
        """Count on from the step that the configuration gives, or else the file's name."""
        given = self.config.resume_step
        self.steps_done = step_in_name(path, len(self.feed)) if given is None else given
        self.epoch = self.steps_done // len(self.feed)
        self.finished = self.epoch >= self.config.epochs


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and ask cuDNN for deterministic kernels, as the study does."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


class _evaluating:
    """Within this block the model is in eval mode; after it every module is in the mode it was in."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for module, training in self.modes:
            module.training = training
