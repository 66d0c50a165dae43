"""Objects that are made, remade or filled while a run trains, and that loading does not make."""

import enum
import functools
import itertools
import threading
from typing import Any

import torch
from torch.nn.utils import prune

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import PER_EPOCH, ConstantRate, Training


@functools.lru_cache
def cached_weight(step: int) -> float:
    return 0.1 * step


@fault(
    "cache-counts", verdict="DIFFERENT", step=4, phase="forward", causes=((),), fix="cached_weight(step)  # for each"
)
class CacheCounts(Training):
    """A helper is cached, and how much it has in its cache scales the inputs. The cache lies in C, where nothing can
    read it or put it back, and it grows with all that a process does: whatever is tried to explain the difference must
    be tried in a process that has done nothing before."""

    def __init__(self) -> None:
        cached_weight.cache_clear()
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        cached_weight(self.steps)
        return super().loss(inputs * (1 + 0.1 * cached_weight.cache_info().currsize), targets)


@functools.cache
def remembered(place: int) -> float:
    return 1 + float(torch.rand(()))


@fault("cache-draws", verdict="DIFFERENT", step=5, phase="forward", causes=((),), fix='self.scales = state["scales"]')
class CacheDraws(Training):
    """A scale is drawn for each place in the epoch, and a cached function remembers it. What it remembers lies in C: no
    file has it, and nothing can look into it or put it back. The answer can only say that there is such a cache."""

    def __init__(self) -> None:
        remembered.cache_clear()
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs * remembered(self.position), targets)


SCALES = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
turns = zip(itertools.count(), itertools.cycle(SCALES), strict=False)


@fault(
    "iterators-in-a-zip",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals.turns/*",),),
    fix="for _ in range(self.steps): next(turns)",
)
class IteratorsInAZip(Training):
    """A scale comes from an iterator of a module, made of two others. It stands at its beginning in a new process."""

    def __init__(self) -> None:
        global turns
        turns = zip(itertools.count(), itertools.cycle(SCALES), strict=False)
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        number, scale = next(turns)
        return super().loss(inputs * scale * (1 + 0.1 * number), targets)


def class_that_counts() -> Any:
    """A class whose methods share a variable of this function."""
    count = 0

    class Counting:
        def next(self) -> int:
            nonlocal count
            count += 1
            return count

    return Counting


@fault(
    "shared-by-methods",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals.*/count",),),
    fix="self.count = state['count']  # an attribute in place of the variable",
)
class SharedByMethods(Training):
    """A class is made in a function, and its methods count in a variable of that function. No object has it, and no
    attribute: it hangs on the code of the class alone."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = class_that_counts()()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs * (1 + 0.1 * self.counting.next()), targets)


class Whitening:
    """Inputs less the mean of all that it has seen."""

    def __init__(self) -> None:
        self.mean, self.seen = torch.zeros(8), 0

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.mean += (inputs.mean(0) - self.mean) / self.seen
        return inputs - self.mean


@fault(
    "made-in-a-step",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("whitening", "whitening/*"),),
    fix='self.whitening = Whitening(); vars(self.whitening).update(state["whitening"])',
)
class MadeInAStep(Training):
    """What whitens the inputs is made when the first batch comes, and is not saved. After resuming there is no object
    to load anything into; the next batch makes a new one."""

    def __init__(self) -> None:
        super().__init__()
        self.whitening: Whitening | None = None

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.whitening is None:
            self.whitening = Whitening()
        return super().loss(self.whitening(inputs), targets)


@fault(
    "made-in-optimizer-state",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("optimizer/*/whitening/*",),),
    fix='self.optimizer.load_state_dict(state["optimizer"])  # with what is in its state, of whatever class',
)
class MadeInOptimizerState(Training):
    """A projector of gradients is made in the optimizer's state, as memory-saving optimizers do. The state is rebuilt
    from tensors and numbers alone when it is loaded, and the projector is not among them."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        weight = self.model[0].weight
        if not self.steps:  # the optimizer begins with an empty state
            return super().loss(inputs, targets)
        kept = self.optimizer.state[weight].setdefault("whitening", Whitening())
        return super().loss(inputs, targets) + (kept(weight.detach()).mean(0) * weight.mean(0)).sum()

    def load_optimizer(self, state: dict) -> None:
        for held in state["optimizer"]["state"].values():
            held.pop("whitening", None)
        super().load_optimizer(state)


class Guarded(Whitening):
    """The same, for several threads: nothing can copy its lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@fault(
    "made-with-a-lock",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=((),),
    fix='self.whitening = Guarded(); self.whitening.seen = state["seen"]; self.whitening.mean = state["mean"]',
)
class MadeWithALock(MadeInAStep):
    """The same object with a lock in it, which no file and no process but its own can have. It is lost, and cannot be
    put back to see whether that is why: it can only be named."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.whitening is None:
            self.whitening = Guarded()
        return super().loss(inputs, targets)


class Environment:
    """Counts what it is asked for, by an object that its user may hold as well."""

    def __init__(self) -> None:
        self.space = Whitening()


@fault(
    "remade-beside-another-name",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("environment/space/*",),),
    fix='vars(self.environment.space).update(state["space"])',
)
class RemadeBesideAnotherName(Training):
    """load() makes the environment anew, and what it had counted is lost. The run holds a part of the first one by a
    name of its own, which no step uses: that the two are now apart has no effect."""

    def __init__(self) -> None:
        super().__init__()
        self.environment = Environment()
        self.space = self.environment.space

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(self.environment.space(inputs), targets)

    def load(self, path: str) -> None:
        super().load(path)
        self.environment = Environment()


class Stream(enum.Enum):
    """Where inputs come from."""

    TRAIN = "train"
    VALIDATION = "validation"


@fault(
    "made-under-a-member",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("whitenings/Stream.TRAIN/*",),),
    fix='self.whitenings[Stream.TRAIN] = state["whitening"]',
)
class MadeUnderAMember(Training):
    """What whitens the inputs of each stream is made when its first batch comes, in a dict whose keys are members of an
    enum. To put it back takes that member and not its name: under a text that reads the same nothing would find it."""

    def __init__(self) -> None:
        super().__init__()
        self.whitenings: dict[Stream, Whitening] = {}

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if Stream.TRAIN not in self.whitenings:
            self.whitenings[Stream.TRAIN] = Whitening()
        return super().loss(self.whitenings[Stream.TRAIN](inputs), targets)


class Pruned(Training):
    """The clean run, half of whose first weight is pruned after the second step; its file has no word of that."""

    def after_update(self) -> None:
        super().after_update()
        if self.steps == 1:
            prune.l1_unstructured(self.model[0], "weight", amount=0.5)


@fault(
    "pruning-not-remade",
    verdict="DIFFERENT",
    step=3,
    phase="load",
    causes=(("model/0*", "optimizer/group.0/params"),),
    fix='prune.custom_from_mask(self.model[0], "weight", mask)  # before load_state_dict',
)
class PruningNotRemade(Pruned):
    """Pruning gives a layer another parameter, a mask and a hook that multiplies the two. Only the product is saved, as
    a weight of a model that is not pruned, and training goes on with all of its weights."""

    def state(self) -> dict:
        weights = self.model.state_dict()
        if "0.weight_mask" in weights:
            weights["0.weight"] = weights.pop("0.weight_orig") * weights.pop("0.weight_mask")
        return {**super().state(), "model": weights}


class Engine:
    """What a trainer makes of a model when training begins."""

    optimizer: torch.optim.Optimizer | None = None


class OptimizerInStep(ConstantRate):
    """The clean run whose optimizer is made in the first step, inside an object that the run holds; what was saved of
    it is loaded then."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.to_load: dict | None = None

    def make_optimizer(self) -> Any:
        return None  # not yet

    def step(self) -> float:
        if self.engine.optimizer is None:
            self.engine.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
            if self.to_load is not None:
                self.engine.optimizer.load_state_dict(self.to_load)
                self.to_load = None
        optimizer = self.engine.optimizer
        inputs, targets = self.next_batch()
        optimizer.zero_grad()
        loss = self.loss(inputs, targets)
        loss.backward()
        optimizer.step()
        return self.count_step(loss)

    def state(self) -> dict:
        made = self.engine.optimizer
        return {
            "model": self.model.state_dict(),
            "optimizer": made.state_dict() if made is not None else None,
            "rng": self.rng_state(),
            "data": {"before_epoch": self.before_epoch, "now": self.generator.get_state(), "position": self.position},
            "steps": self.steps,
        }

    def load_optimizer(self, state: dict) -> None:
        self.to_load = state["optimizer"]


@fault(
    "opt-made-in-step",
    verdict="DIFFERENT",
    step=4,
    phase="update",
    causes=(("engine/optimizer/*",),),
    fix='self.to_load = state["optimizer"]  # and load it as soon as there is an optimizer',
)
class OptimizerMadeInStep(OptimizerInStep):
    """A trainer makes its optimizer when training begins. When the file is loaded there is none yet, so its part of the
    file is passed over; the first resumed step makes one, whose moments are zero."""

    def load_optimizer(self, state: dict) -> None:
        if self.engine.optimizer is not None:
            self.engine.optimizer.load_state_dict(state["optimizer"])


class Thawing(ConstantRate):
    """The clean run that thaws its first layer after an epoch and gives it to the optimizer then, as fine-tuning does;
    a run that is resumed later does so before it loads."""

    def make_model(self) -> Any:
        model = super().make_model()
        model[0].requires_grad_(False)
        return model

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model[3].parameters(), lr=1e-2)

    def end_epoch(self) -> None:
        if self.steps == PER_EPOCH:
            self.thaw()

    def thaw(self) -> None:
        self.model[0].requires_grad_(True)
        self.optimizer.add_param_group({"params": list(self.model[0].parameters()), "lr": 1e-3})

    def load_optimizer(self, state: dict) -> None:
        if len(state["optimizer"]["param_groups"]) > 1:
            self.thaw()
        super().load_optimizer(state)


@fault(
    "opt-group-added",
    verdict="DIFFERENT",
    step=5,
    phase="load",
    causes=(("run/exception",),),
    steps=8,
    save_at=5,
    fix='if len(state["optimizer"]["param_groups"]) > 1: self.thaw()  # before load_state_dict()',
    threads=("Lightning-AI/pytorch-lightning#6891", "CaptainEven/MCMOT#92"),
)
class GroupAdded(Thawing):
    """Fine-tuning thaws a layer after an epoch and adds it to the optimizer as a group of its own. A resumed run is
    built as at the start, with one group, and the file has two: no checkpoint from after the first epoch loads."""

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])

SEEN: list[float] = []


def smoothed(value: float, seen: list[float] = SEEN) -> float:
    """The mean of a value and those of the calls before."""
    seen.append(value)
    return sum(seen) / len(seen)


@fault(
    "kept-in-a-default",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("globals.smoothed/seen=",),),
    fix="smoothed.__defaults__[0][:] = state['seen']  # better: on an object that is saved",
)
class KeptInADefault(Training):
    """A default argument that is a list lives as long as its function: what a helper appends to it is there at the next
    call. No object of the run refers to it, and a new process begins with an empty one."""

    def __init__(self) -> None:
        (smoothed.__defaults__ or ([],))[0].clear()  # of another run in the same process
        super().__init__()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(inputs, targets) * (1 + smoothed(self.steps))
