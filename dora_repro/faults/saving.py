"""Files that hold something else than the run held."""

import copy
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dora_repro.faults.averages import WEIGHTS
from dora_repro.faults.gallery import fault
from dora_repro.faults.optimizer import MOMENTS
from dora_repro.faults.plain import ConstantRate, Training, read, samples


@fault(
    "save-before-optstep",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/*.weight", "model/*.bias", *MOMENTS),),
    fix="self.optimizer.register_step_post_hook(self.note)",
    threads=("ViperEkura/AstrAI#27",),
)
class BeforeOptimizerStep(ConstantRate):
    """What is saved is taken before the optimizer's step and labelled with the number after it: weights and moments are
    one update behind the data and the counter. One step of the run is lost with each resume."""

    def __init__(self) -> None:
        super().__init__()
        self.optimizer.register_step_pre_hook(self.note)

    def note(self, *about: object) -> None:
        self.noted = copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def state(self) -> dict:
        return {**super().state(), **self.noted}


@fault(
    "snapshot-alias",
    verdict="LATENT",
    causes=(("best/*",),),
    steps=7,
    save_at=5,
    fix="self.best = copy.deepcopy(self.model.state_dict())",
    threads=("WenjieDu/PyPOTS#667", "pytorch/tutorials#188"),
)
class SnapshotAlias(Training):
    """The best weights are kept as `model.state_dict()`, which is no copy: it goes on training, and the best model is
    the last. A resumed run does have a copy, of whatever the best was at the save: the two end with other best weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.best, self.best_loss = None, float("inf")

    @torch.no_grad()
    def end_epoch(self) -> None:
        inputs, targets = samples().tensors
        self.model.eval()
        loss = nn.functional.mse_loss(self.model(inputs), targets).item()
        self.model.train()
        if loss < self.best_loss:
            self.best_loss, self.best = loss, self.model.state_dict()

    def state(self) -> dict:
        return {**super().state(), "best": self.best, "best_loss": self.best_loss}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.best, self.best_loss = state["best"], state["best_loss"]


@fault(
    "non-atomic",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(MOMENTS,),
    fix="write both into a new folder, then rename it",
    threads=("Lightning-AI/pytorch-lightning#688", "petuum/adaptdl#81"),
)
class MixedAge(ConstantRate):
    """Model and optimizer are written one after the other into the files of the save before, and the job was killed in
    between: new weights lie beside old moments. Each file is whole by itself, so the load succeeds."""

    def after_update(self) -> None:
        if self.steps == 1:  # after two steps: the save before this one
            self.older = copy.deepcopy(self.optimizer.state_dict())

    def state(self) -> dict:
        return {**super().state(), "optimizer": self.older}


@fault(
    "non-atomic-torn",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("run/exception",),),
    fix='torch.save(state, f"{path}.tmp"); os.replace(f"{path}.tmp", path)',
    threads=("Lightning-AI/pytorch-lightning#688",),
)
class Torn(Training):
    """The job was killed while it wrote over its only checkpoint: half a file is left, and neither the old state nor
    the new can be read. Write beside it, then rename."""

    def save(self, path: str) -> None:
        super().save(path)
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])


@fault(
    "weights-only",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("run/exception",),),
    fix="torch.load(path, weights_only=False)  # or keep numpy's state as tensors and numbers",
    threads=("nanoporetech/remora#226", "meta-pytorch/torchtune#1142"),
)
class WeightsOnly(Training):
    """The checkpoint holds numpy's generator state, and torch.load has refused everything but tensors and plain values
    by default since 2.6. What was saved without complaint cannot be loaded: a save is tested by loading it."""

    def load(self, path: str) -> None:
        state = torch.load(path)
        self.load_model(state)
        self.load_optimizer(state)
        self.load_data(state)
        self.steps = state["steps"]
        self.load_rng(state)


class Numbered(ConstantRate):
    """The clean run that writes a file at each step into a folder of its own, and resumes from the newest one."""

    dropout = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="checkpoints-")
        weakref.finalize(self, shutil.rmtree, self.folder)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=1e-2)

    def next_batch(self) -> Sequence[torch.Tensor]:
        return samples().tensors  # all of them, at each step

    def count_step(self, loss: torch.Tensor) -> float:
        loss_of_step = super().count_step(loss)
        torch.save(self.state(), os.path.join(self.folder, f"step{self.steps}.pt"))
        return loss_of_step

    def save(self, path: str) -> None:
        shutil.copytree(self.folder, path)

    def load(self, path: str) -> None:
        super().load(os.path.join(path, self.newest(os.listdir(path))))

    def newest(self, names: list[str]) -> str:
        return max(names, key=lambda name: int(re.findall(r"\d+", name)[0]))


@fault(
    "newest-by-name",
    verdict="DIFFERENT",
    step=10,
    phase="load",
    causes=(WEIGHTS,),
    steps=12,
    save_at=10,
    fix='max(names, key=lambda name: int(re.findall(r"\\d+", name)[0]))',
    threads=("Lightning-AI/litgpt#661", "DLR-RM/rl-baselines3-zoo#141", "iantbutler01/ditty#2"),
)
class NewestByName(Numbered):
    """The newest of several files is taken to be the last by name. As text, step9.pt comes after step10.pt: from the
    tenth on, each resume goes back to the ninth, and nothing that it reads is damaged or missing."""

    def newest(self, names: list[str]) -> str:
        return sorted(names)[-1]


class InATuple(Training):
    """The clean run whose file is a tuple: what is what is known by its place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.penalty = 0.01

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets) + self.penalty * self.model[0].weight.square().sum()

    def after_update(self) -> None:
        super().after_update()
        self.penalty *= 1.5

    def save(self, path: str) -> None:
        torch.save((*self.state().values(), self.penalty), path)

    def load(self, path: str) -> None:
        file: Any = read(path)
        state = dict(zip(("model", "optimizer", "scheduler", "rng", "data", "steps"), file, strict=False))
        self.penalty = file[6] if len(file) > 6 else self.penalty  # files of before have six parts
        self.load_model(state)
        self.load_optimizer(state)
        self.load_data(state)
        self.steps = state["steps"]
        self.load_rng(state)


@fault(
    "tuple-one-short",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("penalty",),),
    fix="torch.save((*self.state().values(), self.penalty), path)",
)
class TupleOneShort(InATuple):
    """The checkpoint is a tuple. A weight that grows with each step was added to the training and to `load`, which
    still takes the shorter files of before; and it was not added to `save`. Files without names cannot say what they
    lack."""

    def save(self, path: str) -> None:
        torch.save(tuple(self.state().values()), path)
