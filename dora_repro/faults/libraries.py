"""Real libraries, used as their users do: metrics, a loader with a state, an optimizer with two sets of weights.

They are imported where a run is built, so that the gallery can be listed without them.
"""

from typing import Any

import torch

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import BATCH, ConstantRate, Training, samples


class Measured(ConstantRate):
    """The clean run with torchmetrics: the learning rate of an epoch follows from the mean loss of the one before."""

    persistent = True

    def __init__(self) -> None:
        from torchmetrics import MeanMetric

        super().__init__()
        self.mean: Any = MeanMetric()
        self.mean.persistent(self.persistent)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = super().loss(inputs, targets)
        self.mean.update(loss.detach())
        return loss

    def end_epoch(self) -> None:
        self.optimizer.param_groups[0]["lr"] = 1e-3 * self.mean.compute().item()
        self.mean.reset()

    def state(self) -> dict:
        return {**super().state(), "mean": self.mean.state_dict()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.mean.load_state_dict(state["mean"])


@fault(
    "torchmetrics-not-persistent",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("mean/mean_value", "mean/weight"),),
    fix="self.mean.persistent(True)  # before it is saved",
    threads=("Lightning-AI/torchmetrics#3323", "pytorch/ignite#741"),
    needs="torchmetrics",
)
class NotPersistent(Measured):
    """A metric is saved by its `state_dict` and loaded again, without a word. By default a metric's sums are not
    persistent, so the dict is empty: the mean of the epoch is that of its batches since the resume alone."""

    persistent = False


class WithState(Training):
    """The clean run with torchdata's StatefulDataLoader, which saves the order of an epoch and the place in it. Its
    sampler alone draws from the generator that shuffles."""

    def make_loader(self) -> Any:
        from torchdata.stateful_dataloader import StatefulDataLoader
        from torchdata.stateful_dataloader.sampler import RandomSampler

        dataset = samples()
        return StatefulDataLoader(dataset, BATCH, sampler=RandomSampler(dataset, generator=self.generator))

    def state(self) -> dict:
        return {**super().state(), "loader": self.loader.state_dict()}

    def load_data(self, state: dict) -> None:
        self.position = state["data"]["position"]
        self.loader.load_state_dict(state["loader"])
        self.batches = iter(self.loader)


@fault(
    "stateful-loader-late",
    verdict="DIFFERENT",
    step=4,
    phase="batch",
    causes=(("data/batches",),),
    fix='self.loader.load_state_dict(state["loader"])  # before iter(self.loader)',
    threads=("PrimeIntellect-ai/prime-rl#3332",),
    needs="torchdata",
)
class LoadedLate(WithState):
    """The loader's state is loaded after `iter(loader)` was called. A StatefulDataLoader begins its next iterator with
    what it loaded: the one in use goes on from the first batch, and the epoch after it lacks its beginning."""

    def load_data(self, state: dict) -> None:
        self.position = state["data"]["position"]
        self.batches = iter(self.loader)
        self.loader.load_state_dict(state["loader"])


@fault(
    "stateful-loader-one-generator",
    verdict="DIFFERENT",
    step=5,
    phase="batch",
    causes=(("generator",),),
    fix="StatefulDataLoader(dataset, BATCH, sampler=RandomSampler(dataset, generator=self.generator))",
    needs="torchdata",
)
class OneGenerator(WithState):
    """A StatefulDataLoader is given the generator that shuffles, and draws a seed for its workers from it, too, after
    the order. When its state is loaded, the order is drawn once more and the seed is not: the resumed epoch is right,
    and each one after it has another order."""

    def make_loader(self) -> Any:
        from torchdata.stateful_dataloader import StatefulDataLoader

        return StatefulDataLoader(samples(), BATCH, shuffle=True, generator=self.generator)


class ScheduleFree(ConstantRate):
    """The clean run with schedulefree's AdamW, which trains one set of weights and evaluates another."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        from schedulefree import AdamWScheduleFree

        optimizer = AdamWScheduleFree(self.model.parameters(), lr=0.1)
        optimizer.train()
        return optimizer


@fault(
    "schedulefree-eval-to-save",
    verdict="DIFFERENT",
    step=3,
    phase="save",
    causes=(("model/*",),),
    fix="torch.save(self.state(), path)  # in train mode; another file, of a copy, for use",
    threads=("facebookresearch/schedule_free#22", "facebookresearch/schedule_free#48"),
    needs="schedulefree",
)
class EvalToSave(ScheduleFree):
    """A schedule-free optimizer is put into eval mode to be saved, and back after it. Both times all weights are moved
    in place, there and back, and at a learning rate as great as here some come back rounded otherwise, of biases, too,
    on some processors: how often one saves is part of the training."""

    def save(self, path: str) -> None:
        self.optimizer.eval()  # type: ignore[attr-defined]  # of schedulefree
        super().save(path)
        self.optimizer.train()  # type: ignore[attr-defined]  # of schedulefree

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        self.optimizer.train()  # type: ignore[attr-defined]  # of schedulefree
