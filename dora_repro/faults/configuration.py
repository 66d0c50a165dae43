"""What a resumed job is told otherwise than the first one, or makes of being told that it is resumed."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, ConstantRate, Training, samples


class Marked(ConstantRate):
    """The clean run with a configuration, in which loading notes what was resumed from."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"clip": 10.0, "resume_from": None}
        super().__init__()
        self.optimizer.register_step_pre_hook(self.clip)

    def clip(self, *about: object) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config["clip"])

    def load(self, path: str) -> None:
        self.config["resume_from"] = path
        super().load(path)


@fault(
    "resume-mark-read",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("config/resume_from",),),
    fix='nn.utils.clip_grad_norm_(self.model.parameters(), self.config["clip"])  # resumed or not',
)
class MarkRead(Marked):
    """A run that was resumed notes that in its configuration, and clips gradients more strictly from then on, lest its
    loss should jump. Nothing is lost; the resumed run is told what it is, and trains another way because of it."""

    def clip(self, *about: object) -> None:
        bound = self.config["clip"] if self.config["resume_from"] is None else 0.1
        nn.utils.clip_grad_norm_(self.model.parameters(), bound)


@fault(
    "batch-size-changed",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("loader/batch_sampler/batch_size",), ("loader/batch_size", "loader/batch_sampler/batch_size")),
    save_at=4,
    fix="self.make_loader(BATCH)  # and where memory is short, accumulate gradients over two halves",
)
class BatchSizeChanged(Training):
    """The job is resumed on a smaller machine, with half the batch size. Weights, moments and the order of the samples
    are all restored, and are put to another training: twice the steps, each of half the samples."""

    def make_loader(self, batch: int = BATCH) -> DataLoader:
        return DataLoader(samples(), batch_size=batch, shuffle=True, generator=self.generator)

    def load_data(self, state: dict) -> None:
        self.loader = self.make_loader(BATCH // 2)
        super().load_data(state)


class Configured(ConstantRate):
    """Built from a configuration, which the resumed run is given once more."""

    told: ClassVar[Mapping[str, float]] = {"decay": 0.5}  # otherwise, when it is resumed

    def __init__(self, **told: float) -> None:
        self.config = {"decay": 0.1, "rate": 1e-2, **told}
        super().__init__()

    @classmethod
    def resume(cls, path: str) -> "Configured":
        run = cls(**cls.told)
        run.load(path)
        return run

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.config["rate"])

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets) + self.config["decay"] * self.model[0].weight.square().mean()


@fault(
    "config-changed",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("config/decay",),),
    fix="run = cls()  # with the configuration that it was trained with",
)
class ConfigChanged(Configured):
    """The run is resumed with another penalty of large weights than it was trained with. Nothing is lost, and loading
    is right: it is another run."""
