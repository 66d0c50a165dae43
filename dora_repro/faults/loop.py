"""What a training loop keeps for itself."""

import copy
from typing import Any

import torch
from torch import nn

from dora_repro.faults import scaling
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate, Training, samples


@fault(
    "accum-grads-lost",
    verdict="DIFFERENT",
    step=4,
    phase="backward",
    causes=(("model/*/grad",),),
    fix="if self.steps % 2: return  # save at the end of a window alone, or save the gradients",
    threads=("huggingface/transformers#22143", "Nerogar/OneTrainer#1465"),
)
class AccumulatedGradientsLost(Training):
    """Gradients are accumulated over two batches, and the run was saved between them. What the first batch had added is
    in no `state_dict`, so the next update is made of half its gradient."""

    def step(self) -> float:
        inputs, targets = self.next_batch()
        loss = self.loss(inputs, targets) / 2
        loss.backward()
        if self.steps % 2 == 1:
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.after_update()
        return self.count_step(loss)


@fault(
    "earlystop-best-reset",
    verdict="DIFFERENT",
    step=6,
    phase="epoch_end",
    causes=(("stopper/best", "stopper/waited"),),
    steps=8,
    fix='"stopper": dict(self.stopper),',
    threads=(
        "Lightning-AI/pytorch-lightning#1463",
        "huggingface/transformers#28544",
        "facebookresearch/ConvNeXt#94",
    ),
)
class EarlyStoppingReset(Training):
    """Early stopping forgets its best loss and how long it has waited. The first loss after resuming is the best so
    far, and the run trains on where it should have stopped."""

    patience, better_by = 4, 10.0  # so much better is no loss of this run after its first

    def __init__(self) -> None:
        super().__init__()
        self.stopper = {"best": float("inf"), "waited": 0}

    def step(self) -> float:
        if self.stopper["waited"] == self.patience:
            raise StopIteration
        loss = super().step()
        if loss < self.stopper["best"] - self.better_by:
            self.stopper = {"best": loss, "waited": 0}
        else:
            self.stopper["waited"] += 1
        return loss


@fault(
    "mode-left-eval",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("model/2/training",),),
    fix="self.model.train()  # after every evaluation",
    threads=("shubhamagarwal92/mmd#14",),
)
class ModeLeftEval(Training):
    """The resumed model is evaluated once, to see that it was loaded, and stays in that mode. Dropout is off from here
    on; the losses look better than before."""

    def load(self, path: str) -> None:
        super().load(path)
        self.model.eval()
        with torch.no_grad():
            self.loss(*samples().tensors)


@fault(
    "load-noop",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/*.weight", "model/*.bias", "optimizer/*/step", "optimizer/*/exp_avg", "optimizer/*/exp_avg_sq"),),
    fix="self.prepare()  # before load(), and an error where nothing was registered",
    threads=("X-GenGroup/Flow-Factory#174", "huggingface/accelerate#1563"),
)
class LoadNoop(ConstantRate):
    """What is loaded is what was registered, and that happens when training begins. Loading before it goes through an
    empty list: the generators and the data's place are restored, and nothing of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[Any] = []

    def prepare(self) -> None:
        self.registered = ["model", "optimizer"]

    def step(self) -> float:
        if not self.registered:
            self.prepare()
        return super().step()

    def load_model(self, state: dict) -> None:
        for name in self.registered:
            getattr(self, name).load_state_dict(state[name])

    def load_optimizer(self, state: dict) -> None:
        pass  # it is one of those that are registered


class Normalizer:
    """The running mean of all inputs seen."""

    def __init__(self) -> None:
        self.count, self.mean = 0, torch.zeros(8)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        self.count += len(inputs)
        self.mean = self.mean + (inputs.mean(0) - self.mean) * len(inputs) / self.count
        return inputs - self.mean


@fault(
    "aux-state",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("normalizer/count", "normalizer/mean"),),
    fix='"normalizer": vars(self.normalizer),',
    threads=("leggedrobotics/rsl_rl#17", "nicklashansen/tdmpc2#28", "Metta-AI/metta#2702"),
)
class AuxiliaryState(Training):
    """The statistics that inputs are normalised with belong to no module, and no checkpoint holds them. The loaded
    model sees inputs on another scale than it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.normalizer = Normalizer()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(self.normalizer(inputs), targets)


@fault(
    "metric-average",
    verdict="LATENT",
    causes=(("average/total", "average/count"),),
    fix='"average": dict(self.average),',
    threads=("huggingface/transformers#12942",),
)
class MetricAverage(Training):
    """The mean loss that is printed begins anew after resuming. The training is the same to the last bit: what looks
    like a different run is a different report."""

    def __init__(self) -> None:
        super().__init__()
        self.average = {"total": 0.0, "count": 0}

    def step(self) -> float:
        loss = super().step()
        self.average = {"total": self.average["total"] + loss, "count": self.average["count"] + 1}
        return loss


@fault(
    "best-reset",
    verdict="LATENT",
    causes=(("best", "best_weights/*"),),
    fix='self.best, self.best_weights = state["best"]',
    threads=("facebookresearch/ConvNeXt#94",),
)
class BestReset(Training):
    """The weights nearest to the first are kept as the best, and both are forgotten on resume: the first evaluation
    after it replaces a better one. Training is the same, and the model that is published is another."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = samples().tensors[0]
        self.first = self.outputs_now()
        self.best, self.best_weights = float("inf"), None

    @torch.no_grad()
    def outputs_now(self) -> torch.Tensor:
        self.model.eval()
        outputs = self.model(self.inputs)
        self.model.train()
        return outputs

    def after_update(self) -> None:
        super().after_update()
        apart = nn.functional.mse_loss(self.outputs_now(), self.first).item()
        if apart < self.best:
            self.best, self.best_weights = apart, copy.deepcopy(self.model.state_dict())


_calls = 0


@fault(
    "module-global",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals._calls",),),
    fix='global _calls; _calls = state["calls"]',
)
class ModuleGlobal(Training):
    """A count that the inputs are scaled by is a variable of the module. No object of the run holds it, so nothing that
    saves the run's objects saves it."""

    def __init__(self) -> None:
        global _calls
        _calls = 0
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        global _calls
        _calls += 1
        return super().loss(inputs * (1 + 0.1 * _calls), targets)


class Scaled(Training):
    """The clean run with inputs scaled by a helper, which counts its calls; the count is saved and loaded."""

    def __init__(self) -> None:
        scaling.begun()
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(scaling.scaled(inputs), targets)

    def state(self) -> dict:
        return {**super().state(), "calls": scaling.calls}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        scaling.calls = state["calls"]


@fault(
    "helper-count",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals.dora_repro.faults.scaling.calls",),),
    fix='scaling.calls = state["calls"]',
)
class HelperCount(Scaled):
    """The count is a variable of a helper's module, which the run only calls: `scaling.scaled(inputs)`. The run's own
    file holds no trace of it, and no checkpoint does."""

    def load_model(self, state: dict) -> None:
        Training.load_model(self, state)


@fault(
    "class-attribute",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("seen/calls",),),
    fix='self.seen.update(state["seen"])',
)
class ClassAttribute(Training):
    """The same count in a dictionary that hangs on the class. It outlives each run of a process and is in no
    checkpoint."""

    seen = {"calls": 0}  # noqa: RUF012  # shared by all runs of a process: that is the defect

    def __init__(self) -> None:
        self.seen["calls"] = 0
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.seen["calls"] += 1
        return super().loss(inputs * (1 + 0.1 * self.seen["calls"]), targets)
