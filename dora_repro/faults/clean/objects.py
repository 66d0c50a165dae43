"""Runs that look suspicious and are right: what they hold, and objects made again. Each must come out EXACT."""

import dataclasses
import math
import os
import queue
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.nn.utils import prune
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.faults import objects
from dora_repro.faults.averages import Averaging, Window
from dora_repro.faults.buffers import validate
from dora_repro.faults.gallery import fault
from dora_repro.faults.loop import Scaled
from dora_repro.faults.objects import (
    SEEN,
    CacheCounts,
    CacheDraws,
    IteratorsInAZip,
    KeptInADefault,
    MadeInAStep,
    MadeUnderAMember,
    Pruned,
    RemadeBesideAnotherName,
    SharedByMethods,
    Stream,
    Whitening,
    cached_weight,
    remembered,
)
from dora_repro.faults.optimizer import Unordered
from dora_repro.faults.plain import PER_EPOCH, Training, read


@fault("clean-ema", verdict="EXACT")
class AverageSaved(Averaging):
    """A second copy of all weights and a plain count of its updates, which no state dict of the model has. Both are in
    the file, and loaded."""


@fault("clean-helper-count", verdict="EXACT")
class HelperCount(Scaled):
    """A helper's module counts its calls and scales the inputs by them. The run saves that count, and sets it when it
    is loaded: a variable of another module is as good a place as any."""


@fault("clean-set-of-parameters", verdict="EXACT")
class SetOfParameters(Unordered):
    """Plain SGD is given a set of parameters, and steps them in another order in each process. Each is stepped by its
    own gradient, and there are no moments to go astray."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.unordered(), lr=1e-2)


@fault("clean-growing-list", verdict="EXACT")
class GrowingList(Window):
    """A list that begins empty and gets a tensor at each step: after the first it is no list of plain values any more.
    It is saved and loaded as it is."""


@fault("clean-averaged-model", verdict="EXACT")
class AveragedModel(Training):
    """`AveragedModel` keeps a deep copy of the model and averages into it after each step. How many it has averaged is
    a buffer, so its own state dict is enough."""

    def __init__(self) -> None:
        super().__init__()
        self.averaged = torch.optim.swa_utils.AveragedModel(self.model)

    def after_update(self) -> None:
        super().after_update()
        self.averaged.update_parameters(self.model)

    def state(self) -> dict:
        return {**super().state(), "averaged": self.averaged.state_dict()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.averaged.load_state_dict(state["averaged"])


@fault("clean-early-stopping", verdict="EXACT", steps=24, save_at=6)
class EarlyStopping(Training):
    """The run stops by itself before its last step, and so must the resumed one, at the same step. Best loss and
    patience are in the file; the first epoch after resuming is no fresh start for them."""

    best, waited, over = math.inf, 0, False

    def step(self) -> float:
        if self.over:
            raise StopIteration
        return super().step()

    def end_epoch(self) -> None:
        loss = validate(self.model)
        loss += abs(self.steps - 2 * PER_EPOCH)  # least at the end of the second epoch
        self.best, self.waited = (loss, 0) if loss < self.best else (self.best, self.waited + 1)
        self.over = self.waited == 2

    def state(self) -> dict:
        return {**super().state(), "best": self.best, "waited": self.waited, "over": self.over}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.best, self.waited, self.over = state["best"], state["waited"], state["over"]


@fault("clean-history", verdict="EXACT")
class History(Training):
    """A list of all losses that is not saved, so the resumed run has only those since. It keeps books: what it held is
    still in it, both runs append the same, and nothing reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def step(self) -> float:
        self.losses.append(super().step())
        return self.losses[-1]


@fault("clean-locks", verdict="EXACT")
class Locks(Training):
    """Locks, a queue and a pool of threads hang on the run, and nothing of them can be saved. They are plumbing: the
    thread is waited for within the step, and the queue is empty between steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.done = threading.RLock(), threading.Event()
        self.norms: queue.Queue[torch.Tensor] = queue.Queue()

    def after_update(self) -> None:
        super().after_update()
        with self.lock, ThreadPoolExecutor(1) as pool:
            self.pool = pool
            pool.submit(self.norms.put, torch.nn.utils.get_total_norm(list(self.model.parameters()))).result()
        self.norm = self.norms.get().item()
        self.done.set()

    def state(self) -> dict:
        return {**super().state(), "norm": self.norm}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.norm = state["norm"]


@fault("clean-lambdas", verdict="EXACT")
class Lambdas(Training):
    """A schedule made of a lambda, a hook that is one, and an open log file. None of them can be pickled, and none
    needs to be: the code makes them again, and where the file was written to is not what is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = lambda gradient: gradient.clamp(-1.0, 1.0)
        self.model[0].weight.register_hook(self.clip)
        self.log = open(os.devnull, "w", encoding="utf-8")  # open as long as the run
        weakref.finalize(self, self.log.close)

    def make_scheduler(self) -> LRScheduler:
        return torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)

    def after_update(self) -> None:
        super().after_update()
        self.log.write(f"{self.steps}\n")


class Callback:
    """Counts, and knows the run that it belongs to."""

    def __init__(self, run: Training) -> None:
        self.run, self.called = run, 0


@fault("clean-self-references", verdict="EXACT")
class SelfReferences(Training):
    """The run holds itself, callbacks hold the run, and a list is its own item. Whoever walks along the attributes goes
    round in circles; each object is one state, whatever the number of ways to it."""

    def __init__(self) -> None:
        super().__init__()
        self.trainer = self
        self.callbacks: list[Any] = [Callback(self), Callback(self)]
        self.callbacks.append(self.callbacks)

    def after_update(self) -> None:
        super().after_update()
        self.callbacks[0].called += 1

    def state(self) -> dict:
        return {**super().state(), "called": self.callbacks[0].called}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.callbacks[0].called = state["called"]


@dataclasses.dataclass(slots=True)
class Progress:
    """Where a run is; without a `__dict__`."""

    samples: int = 0
    best: float = math.inf
    marks: list[int] = dataclasses.field(default_factory=list)


@fault("clean-slots", verdict="EXACT")
class Slots(Training):
    """The progress is kept in a dataclass with slots, which `vars` does not see and `__dict__` does not have. It is
    saved field by field."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()

    def step(self) -> float:
        loss = super().step()
        self.progress.samples += 8
        self.progress.best = min(self.progress.best, loss)
        self.progress.marks.append(self.progress.samples)
        return loss

    def state(self) -> dict:
        return {**super().state(), "progress": dataclasses.asdict(self.progress)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.progress = Progress(**state["progress"])


@fault("clean-made-in-a-step", verdict="EXACT")
class MadeAgain(MadeInAStep):
    """What whitens the inputs is made when the first batch comes; load() makes it too, and gives it what it had."""

    def state(self) -> dict:
        whitening = vars(self.whitening) if self.whitening is not None else None
        return {**super().state(), "whitening": whitening}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        if state["whitening"] is not None:
            self.whitening = Whitening()
            vars(self.whitening).update(state["whitening"])


@fault("clean-cache-counts", verdict="EXACT")
class CacheFilled(CacheCounts):
    """How much a cached helper has in its cache scales the inputs; load() fills the cache as it was."""

    def load(self, path: str) -> None:
        super().load(path)
        for step in range(self.steps):
            cached_weight(step)


@fault("clean-remade-beside-another-name", verdict="EXACT")
class RemadeByBothNames(RemadeBesideAnotherName):
    """load() makes the environment anew, gives its part what it had counted, and has the other name stand for it."""

    def state(self) -> dict:
        return {**super().state(), "space": vars(self.environment.space)}

    def load(self, path: str) -> None:
        super().load(path)
        self.space = self.environment.space
        vars(self.space).update(read(path)["space"])


@fault("clean-made-under-a-member", verdict="EXACT")
class RemadeUnderAMember(MadeUnderAMember):
    """What whitens each stream is saved by the stream's value, and made under the stream again."""

    def state(self) -> dict:
        return {**super().state(), "whitenings": {key.value: vars(kept) for key, kept in self.whitenings.items()}}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        for value, kept in state["whitenings"].items():
            whitening = self.whitenings[Stream(value)] = Whitening()
            vars(whitening).update(kept)


@fault("clean-pruned-again", verdict="EXACT")
class PrunedAgain(Pruned):
    """A pruned layer is pruned again before its state is loaded, by the mask in the file. By which method that mask was
    first made is history."""

    def load_model(self, state: dict) -> None:
        mask = state["model"].get("0.weight_mask")
        if mask is not None:
            prune.custom_from_mask(self.model[0], "weight", mask)
        super().load_model(state)


@fault("clean-kept-in-a-default", verdict="EXACT")
class RefilledDefault(KeptInADefault):
    """What a helper has in a default argument is saved, and filled in again in the same list."""

    def state(self) -> dict:
        return {**super().state(), "seen": list(SEEN)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        SEEN[:] = state["seen"]


@fault("clean-cache-draws", verdict="EXACT")
class CacheDrawnAtStart(CacheDraws):
    """Each scale is drawn when the run is built, from a fixed seed: a cached function remembers the same in each
    process."""

    def __init__(self) -> None:
        super().__init__()
        for place in range(PER_EPOCH + 1):
            remembered(place)


@fault("clean-iterators-in-a-zip", verdict="EXACT")
class IteratorsAdvanced(IteratorsInAZip):
    """A scale comes from an iterator of a module; load() takes from it what the steps took."""

    def load(self, path: str) -> None:
        super().load(path)
        for _ in range(self.steps):
            next(objects.turns)


@fault("clean-shared-by-methods", verdict="EXACT")
class CountedAgain(SharedByMethods):
    """Methods count in a variable of the function that made their class; load() counts as far as the steps did."""

    def load(self, path: str) -> None:
        super().load(path)
        for _ in range(self.steps):
            self.counting.next()
