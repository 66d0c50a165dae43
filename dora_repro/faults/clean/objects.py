"""Runs that look suspicious and are right: files, objects and states of a kind. Each must come out EXACT."""

import copy
import dataclasses
import json
import math
import os
import queue
import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch.nn.utils import prune
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.faults.averages import Averaging, Window
from dora_repro.faults.buffers import validate
from dora_repro.faults.gallery import fault
from dora_repro.faults.loop import Scaled
from dora_repro.faults.objects import (
    SEEN,
    CacheCounts,
    KeptInADefault,
    MadeInAStep,
    MadeUnderAMember,
    Pruned,
    RemadeBesideAnotherName,
    Stream,
    Whitening,
    cached_weight,
)
from dora_repro.faults.optimizer import Unordered
from dora_repro.faults.plain import PER_EPOCH, Training, read
from dora_repro.faults.schedule import Stepped


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


@fault("clean-resume", verdict="EXACT")
class Resume(Training):
    """There is no `load` to be called on a run: a class method builds one from the file, as Lightning and others do. It
    seeds everything anew while building, and restores the generators after that."""

    @classmethod
    def resume(cls, path: str) -> "Resume":
        run = cls()
        Training.load(run, path)
        return run

    def load(self, path: str) -> None:
        raise RuntimeError("use Resume.resume(path)")


@fault("clean-load-later", verdict="EXACT", steps=7, save_at=4)
class LoadLater(Training):
    """`load` only remembers the path, and the file is read when the first step begins. Right after loading everything
    is wrong, and before anything is computed all of it is right."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: str | None = None

    def load(self, path: str) -> None:
        self.pending = path

    def step(self) -> float:
        if self.pending is not None:
            super().load(self.pending)
            self.pending = None
        return super().step()


@fault("clean-background-writer", verdict="EXACT")
class BackgroundWriter(Training):
    """A thread writes the checkpoint, while the state it writes is live. It is given a copy, and is joined before
    `save` returns: nothing can change under it, and nobody can read half a file."""

    def save(self, path: str) -> None:
        writer = threading.Thread(target=torch.save, args=(copy.deepcopy(self.state()), path))
        writer.start()
        writer.join()


@fault("clean-safetensors", verdict="EXACT")
class OtherFormat(Training):
    """Two files of other formats and no pickle: tensors in safetensors, the rest in JSON. JSON has no tuples and its
    floats are text; the text is exact, and what was a tuple is made one again."""

    def save(self, path: str) -> None:
        state = self.state()
        moments, data = state["optimizer"]["state"], state["data"]
        tensors = {f"model/{name}": tensor for name, tensor in state["model"].items()}
        tensors |= {f"moment/{i}/{name}": value for i, moment in moments.items() for name, value in moment.items()}
        tensors |= {"rng": state["rng"]["torch"], "before_epoch": data["before_epoch"], "now": data["now"]}
        safetensors.torch.save_file(tensors, f"{path}.safetensors")
        kind, keys, *rest = state["rng"]["numpy"]
        plain = {
            "groups": state["optimizer"]["param_groups"],
            "scheduler": state["scheduler"],
            "numpy": [kind, keys.tolist(), *rest],
            "python": state["rng"]["python"],
            "position": data["position"],
            "steps": state["steps"],
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plain, file)

    def load(self, path: str) -> None:
        tensors = safetensors.torch.load_file(f"{path}.safetensors")
        with open(path, encoding="utf-8") as file:
            plain = json.load(file)
        moments: dict[int, dict] = {}
        for key in tensors:
            if key.startswith("moment/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = tensors[key]
        groups = [{**group, "betas": tuple(group["betas"])} for group in plain["groups"]]
        self.model.load_state_dict(
            {key.removeprefix("model/"): value for key, value in tensors.items() if key.startswith("model/")}
        )
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scheduler.load_state_dict(plain["scheduler"])
        self.load_data({"data": {**tensors, "position": plain["position"]}})
        self.steps = plain["steps"]
        torch.set_rng_state(tensors["rng"])
        kind, keys, *rest = plain["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
        version, words, gauss = plain["python"]
        random.setstate((version, tuple(words), gauss))


@fault("clean-milestones-as-text", verdict="EXACT")
class MilestonesAsText(Stepped):
    """A schedule's state goes through JSON, whose keys are text. They are made numbers again, in a `Counter`: the
    milestones are what they were, to the type."""


class Settings(dict):
    """A dict of one's own class, which keeps the order in which it was filled."""


@fault("clean-order-of-keys", verdict="EXACT")
class OrderOfKeys(Training):
    """A dict of settings with keys of several types is written in one order and filled in another. Nothing reads the
    order; class, keys and values are as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings({"clip": 1.0, 3: "warm", None: "default", (1, 2): 0.5})

    def state(self) -> dict:
        return {**super().state(), "settings": dict(self.settings)}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.settings = Settings(reversed(state["settings"].items()))


@fault("clean-nan", verdict="EXACT")
class NotANumber(Training):
    """NaN in a tensor and in plain values: no loss has been the best yet. NaN is not equal to itself, and the same bits
    are the same state."""

    def __init__(self) -> None:
        super().__init__()
        self.best = math.nan
        self.best_of_each = torch.full((3,), math.nan)

    def state(self) -> dict:
        return {**super().state(), "best": self.best, "best_of_each": self.best_of_each}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.best, self.best_of_each = state["best"], state["best_of_each"]


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
