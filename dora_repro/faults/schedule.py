"""Learning rates and gradient scales that come back wrong."""

import copy
import json
from collections import Counter

import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from dora_repro.faults.clean.files import LoadLater, LoadPutAside, MadeInFirstStep
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import PER_EPOCH, Training

RATE_AND_COUNTER = ("optimizer/group.0/lr", "scheduler/last_epoch")


@fault(
    "sched-missing",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("scheduler/last_epoch",),),
    fix='self.scheduler.load_state_dict(state["scheduler"])',
    threads=("lightly-ai/lightly-train#301",),
)
class Missing(Training):
    """The schedule is not loaded and begins anew. The optimizer brings the learning rate of the moment, so the first
    resumed update is still right; from the next on the rate follows the start of the curve."""

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


@fault(
    "sched-missing-later",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("scheduler/last_epoch",),),
    fix='self.scheduler.load_state_dict(state["scheduler"])',
)
class MissingLater(Missing, LoadLater):
    """`load` only remembers the path, and the file is read when the first step begins, without the schedule. Right
    after loading everything is wrong; the first thing that stays so is the rate after the first resumed update."""


@fault(
    "sched-missing-put-aside",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("scheduler/last_epoch",),),
    fix='self.scheduler.load_state_dict(state["scheduler"])',
)
class MissingPutAside(LoadPutAside):
    """`load` keeps what it read, and the first step applies the optimizer's part of it; the schedule's is forgotten.
    What was put aside is no loss: taken away, that step could not begin."""

    parts = ("optimizer",)


@fault(
    "sched-missing-made-late",
    verdict="DIFFERENT",
    step=4,
    phase="schedule",
    causes=(("scheduler/last_epoch",),),
    fix='self.scheduler.load_state_dict(self.kept["scheduler"])  # where it is made',
)
class MissingMadeLate(MadeInFirstStep):
    """The optimizer and its schedule are made in the first step. The optimizer is then given what was kept for it, and
    the schedule is not: it begins anew. Right after loading both are missing, and one of them is lost."""

    def give(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


@fault(
    "sched-saved-early",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(RATE_AND_COUNTER,),
    fix="super().after_update()  # before the callback",
    threads=(
        "Lightning-AI/pytorch-lightning#7637",
        "Lightning-AI/pytorch-lightning#4655",
        "Lightning-AI/pytorch-lightning#1772",
    ),
)
class SavedEarly(Training):
    """The callback that saves runs after the update and before the schedule's step, so the file is one step behind in
    the learning rate alone. Each resume repeats one value of the schedule."""

    def after_update(self) -> None:
        self.noted = copy.deepcopy({"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()})
        super().after_update()

    def state(self) -> dict:
        return {**super().state(), **self.noted}


@fault(
    "sched-needs-opt-lr",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.0/lr",),),
    fix='self.optimizer.load_state_dict(state["optimizer"])',
    threads=("pytorch/pytorch#29697",),
)
class NeedsOptimizer(Training):
    """Plain SGD has no state, so the optimizer is thought not worth loading. But the schedule multiplies the rate that
    stands in the optimizer's group: its drop after step 2 lies behind it, and the new optimizer never had it."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=1e-1)

    def make_scheduler(self) -> LRScheduler:
        return MultiStepLR(self.optimizer, milestones=[2], gamma=0.1)

    def load_optimizer(self, state: dict) -> None:
        self.scheduler.load_state_dict(state["scheduler"])


def warmup(step: int) -> float:
    return min(1.0, (step + 1) / 10)


@fault(
    "sched-last-epoch",
    verdict="DIFFERENT",
    step=5,
    phase="load",
    causes=(RATE_AND_COUNTER,),
    steps=8,
    save_at=5,
    fix='self.scheduler = LambdaLR(self.optimizer, warmup, last_epoch=state["steps"] - 1)',
    threads=("vllm-project/speculators#900", "pytorch/pytorch#171515", "pytorch/pytorch#60265"),
)
class LastEpoch(Training):
    """A schedule that is stepped at every update is rebuilt on resume with `last_epoch` set to the epoch, as the name
    of the argument suggests. Warmup falls back to nearly its start; `last_epoch` means the number of `step()` calls."""

    def make_scheduler(self) -> LRScheduler:
        return LambdaLR(self.optimizer, warmup)

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler = LambdaLR(self.optimizer, warmup, last_epoch=state["steps"] // PER_EPOCH - 1)


@fault(
    "sched-double",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(RATE_AND_COUNTER,),
    fix="super().load_optimizer(state)  # and no step",
    threads=("THUDM/slime#1547",),
)
class Double(Training):
    """The schedule is loaded, and then stepped forward by the number of steps done, as one does where it is not saved.
    It stands at twice its position: restore it, or replay it, but not both."""

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        for _ in range(state["steps"]):
            self.scheduler.step()


class Stepped(Training):
    """The clean run, whose schedule falls once, after step 5; the schedule's state goes through JSON."""

    def make_scheduler(self) -> LRScheduler:
        return MultiStepLR(self.optimizer, milestones=[5], gamma=0.1)

    def state(self) -> dict:
        return {**super().state(), "scheduler": json.dumps(self.scheduler.state_dict())}

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        schedule = json.loads(state["scheduler"])
        schedule["milestones"] = Counter({int(step): times for step, times in schedule["milestones"].items()})
        self.scheduler.load_state_dict(schedule)


@fault(
    "sched-milestones-as-text",
    verdict="DIFFERENT",
    step=5,
    phase="schedule",
    causes=(("scheduler/milestones",),),
    fix='schedule["milestones"] = Counter({int(step): times for step, times in schedule["milestones"].items()})',
)
class MilestonesAsText(Stepped):
    """The schedule's state is written as JSON, whose keys are text. The milestones come back as a dict with the very
    numbers in it, under "5" where the schedule looks for 5: it never falls, and nothing complains."""

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(json.loads(state["scheduler"]))


class WarmupThen(LRScheduler):
    """A warmup of some steps, after which another schedule takes over; it keeps that one as an attribute."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int, after_scheduler: LRScheduler) -> None:
        self.steps, self.after_scheduler = steps, after_scheduler
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        return [rate * (self.last_epoch + 1) / self.steps for rate in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch + 1 < self.steps:
            super().step()
        else:
            self.after_scheduler.step()


@fault(
    "sched-foreign-opt",
    verdict="DIFFERENT",
    step=3,  # the copy's options and parameters are in the run as soon as it is loaded
    phase="load",
    causes=(("scheduler/after_scheduler/optimizer",),),
    fix="self.scheduler.after_scheduler.optimizer = self.optimizer",
    threads=("ildoonet/pytorch-gradual-warmup-lr#27",),
)
class ForeignOptimizer(Training):
    """`LRScheduler.state_dict` leaves out the schedule's optimizer, but not that of a schedule which it holds: this one
    is pickled with an optimizer of its own. After a resume it lowers the rate of that copy, and the real one stands."""

    def make_scheduler(self) -> LRScheduler:
        return WarmupThen(self.optimizer, 2, CosineAnnealingLR(self.optimizer, T_max=20))


@fault(
    "plateau-counters",
    verdict="DIFFERENT",
    step=5,
    phase="schedule",
    causes=(("scheduler/num_bad_epochs",),),
    fix='self.scheduler.load_state_dict(state["scheduler"])',
    threads=(
        "huggingface/pytorch-image-models#2756",
        "huggingface/pytorch-image-models#871",
        "facebookresearch/fairseq#4071",
    ),
)
class PlateauCounters(Training):
    """ReduceLROnPlateau comes back with its best value and its epoch, and without the count of bad ones. The patience
    begins anew with each resume: the learning rate drops late, or in a job that is often restarted never."""

    def make_scheduler(self) -> LRScheduler:
        return ReduceLROnPlateau(self.optimizer, factor=0.1, patience=3)

    def after_update(self) -> None:
        self.scheduler.step(float(self.steps))  # a validation loss that only rises

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.best = state["scheduler"]["best"]
        self.scheduler.last_epoch = state["scheduler"]["last_epoch"]


@fault(
    "scaler-missing",
    verdict="LATENT",
    causes=(("scaler/scale", "scaler/growth_tracker"),),
    fix='"scaler": self.scaler.state_dict()',
    threads=("huggingface/transformers#11663", "ultralytics/ultralytics#22189", "facebookresearch/metaseq#3"),
)
class ScalerMissing(Training):
    """The gradient scaler is not saved: its scale begins at the start value, and its count of steps towards the next
    growth at zero. Powers of two change no bit of a gradient until one overflows or vanishes, so these steps are the
    same; later, steps are skipped in one run and not in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=2)

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.after_update()
        self.steps += 1
        if self.position == len(self.loader):
            self.batches, self.position = None, 0
        return loss.item()


@fault(
    "sched-sequential-rebuilt",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("optimizer/group.0/lr", "scheduler/_schedulers/1/last_epoch"),),
    fix='self.scheduler.load_state_dict(state["scheduler"])',
    threads=("pytorch/pytorch#162591", "pytorch/pytorch#171515"),
)
class SequentialRebuilt(Training):
    """A warm-up and a cosine in turn are rebuilt on resume with `last_epoch` set to the number of steps. SequentialLR
    counts from there, but sets the rate by the first of its schedules and begins the other anew: it cannot be wound
    forward, only loaded."""

    def make_scheduler(self, last_epoch: int = -1) -> LRScheduler:
        parts = [LinearLR(self.optimizer, 0.1, total_iters=2), CosineAnnealingLR(self.optimizer, T_max=8)]
        return SequentialLR(self.optimizer, parts, milestones=[2], last_epoch=last_epoch)

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler = self.make_scheduler(state["steps"] - 1)


class ScaledByHand(Training):
    """The clean run that scales its loss by hand, by a power of two that grows with time, and divides the gradients by
    it before the update; the scale is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.good = 2.0**4, 0

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        (loss * self.scale).backward()
        for parameter in self.model.parameters():
            parameter.grad /= self.scale
        self.clip()
        self.optimizer.step()
        self.after_update()
        self.good += 1
        if self.good % 2 == 0:
            self.scale *= 2
        return self.count_step(loss)

    def clip(self) -> None:
        """What comes between unscaling and the update: nothing."""

    def state(self) -> dict:
        return {**super().state(), "scale": (self.scale, self.good)}

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        self.scale, self.good = state["scale"]


@fault("scale-by-hand-missing", verdict="LATENT", causes=(("scale", "good"), ("scale",)), fix='"scale": self.scale')
class ScaleByHandMissing(ScaledByHand):
    """The scale of a loss that is scaled by hand is not saved. What backward is called on is another number, and the
    updates are the same: gradients are divided by the scale again, which loses no bit as long as none overflows."""

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer({**state, "scale": (self.scale, self.good)})


@fault("scale-by-hand-clipped", verdict="LATENT", causes=(("scale", "good"), ("scale",)), fix='"scale": self.scale')
class ScaleByHandClipped(ScaleByHandMissing):
    """So it is where gradients are clipped once the scale is undone: what is clipped is the same."""

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.01)
