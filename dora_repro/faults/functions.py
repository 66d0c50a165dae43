"""What a training keeps in the local variables of its functions: generators, coroutines, one long function."""

import collections
import os
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ClassVar

import torch
from torch import nn

from dora_repro.contracts import Run
from dora_repro.driving.stepwise import Stepwise, stepwise
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import Training, read, rng_state, samples, seed_everything, set_rng_state

NEEDS = "greenlet"  # of functions that are stepped from outside


@fault(
    "loop-patience-lost",
    verdict="DIFFERENT",
    step=6,
    phase="epoch_end",
    causes=(("loop/left",),),
    steps=8,
    fix="self.left -= 1  # in place of the variable; save it and load it",
)
class PatienceInALoop(Training):
    """The loop is a generator, and how long it is still patient is one of its variables. No file can hold a suspended
    loop, so the resumed run begins another, patient anew, and trains on where it should have stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = self.train()

    def train(self) -> Generator[float, None, None]:
        left = 5
        while left:
            yield super().step()
            left -= 1

    def step(self) -> float:
        return next(self.loop)


@fault(
    "loop-fade-in-lost",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("loop/fade()/weight",),),
    fix="self.weight = min(1.0, self.weight + 0.1)  # in place of the variable; save it and load it",
)
class FadeInTicker(Training):
    """A coroutine awaits each step, and another one, inside it, fades a penalty in. Its weight is a variable of that
    inner one: the resumed run begins at the weight of the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = 0.0
        self.loop: Coroutine[None, None, None] | None = None

    async def train(self) -> None:
        await self.fade()

    async def fade(self) -> None:
        weight = 0.1
        while True:
            self.weight = weight
            await _Turn()
            weight += 0.1

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        penalty = sum((parameter.square().sum() for parameter in self.model.parameters()), torch.zeros(()))
        return super().loss(inputs, targets) + self.weight * penalty

    def step(self) -> float:
        self.loop = self.loop or self.train()
        self.loop.send(None)
        return super().step()


class _Turn:
    """Gives the turn back to whoever steps the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class InAFunction:
    """A training that is one function: building a run of it calls the function, up to its first step.

    Attributes:
        saves: what its checkpoints hold besides the model and the epoch.
    """

    saves: ClassVar[tuple[str, ...]] = ("optimizer", "best", "rng")

    def __new__(cls) -> Any:  # a run of the function
        return cls.training()()

    @classmethod
    def resume(cls, path: str) -> Run:
        return cls.training().resume(path)

    @classmethod
    def training(cls) -> Stepwise:
        config = {"out": "{out}", "epochs": 6, "saves": cls.saves, "resume_from": None}
        return stepwise(train_model, config, resumed={"resume_from": "{newest}"})


def train_model(config: dict[str, Any]) -> None:
    """Everything in local variables: early stopping, a rate that falls on a plateau, a checkpoint an epoch."""
    seed_everything(0)
    data = samples()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    best, waited, first_epoch = float("inf"), 0, 0
    if config["resume_from"] is not None:
        state = read(config["resume_from"])
        model.load_state_dict(state["model"])
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        if "best" in state:
            best, waited = state["best"]
        first_epoch = state["epoch"] + 1
        if "rng" in state:
            set_rng_state(state["rng"])
    for epoch in range(first_epoch, config["epochs"]):
        mean = train_epoch(model, optimizer, loader)
        if mean < best - 1.0:
            best, waited = mean, 0
        else:
            waited += 1
        if waited >= 2:
            for group in optimizer.param_groups:
                group["lr"] *= 0.5
            waited = 0
        parts = {"optimizer": optimizer.state_dict(), "best": (best, waited), "rng": rng_state()}
        held = {name: part for name, part in parts.items() if name in config["saves"]}
        file = {"model": model.state_dict(), "epoch": epoch, **held}
        torch.save(file, os.path.join(config["out"], f"epoch{epoch}.pt"))


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, loader: Any) -> float:
    total = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@fault(
    "function-plateau-lost",
    verdict="DIFFERENT",
    step=12,
    phase="schedule",
    causes=(("train_model/best", "train_model/waited"), ("train_model/waited",), ("train_model/best",)),
    steps=16,
    save_at=8,
    fix='"best": (best, waited),  # in the checkpoint of train_model()',
    needs=NEEDS,
)
class PlateauInAFunction(InAFunction):
    """A training in one function keeps the best loss, and how long it has waited for a better one, in two variables.
    Its checkpoint has neither: after resuming the rate falls an epoch late."""

    saves = ("optimizer", "rng")


@fault(
    "function-optimizer-lost",
    verdict="DIFFERENT",
    step=9,
    phase="update",
    causes=(("train_model/optimizer/*",),),
    steps=12,
    save_at=8,
    fix='"optimizer": optimizer.state_dict(),  # in the checkpoint of train_model()',
    needs=NEEDS,
)
class OptimizerInAFunction(InAFunction):
    """A training in one function saves its model and not its optimizer, which is a local variable like any other."""

    saves = ("best", "rng")


def growing(calls: int = 0) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[], int]]:
    """A function that scales its inputs by how often it was called, and one that says how often that was."""

    def scaled(inputs: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return inputs * (1 + 0.1 * calls)

    return scaled, lambda: calls


class Scaling(Training):
    """The clean run with a function that counts its calls in a variable around it, and can be made with another one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.called = growing()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(self.scale(inputs), targets)

    def state(self) -> dict:
        return {**super().state(), "calls": self.called()}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.scale, self.called = growing(state["calls"])


@fault(
    "closure-count-lost",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("scale/calls",), ("called/calls",)),
    fix='self.scale, self.called = growing(state["calls"])',
)
class ClosureCountLost(Scaling):
    """A function that scales the inputs counts its calls in a variable of the function that made it. No attribute has
    that name, and a function cannot be saved: the resumed run makes a new one, which counts from the start."""

    def load_model(self, state: dict) -> None:
        Training.load_model(self, state)


def train_by_hand(out: str, saves: str, steps: int = 8) -> None:
    """Batches cut from a tensor by hand; a checkpoint after each step, which says where the next batch begins if
    `saves` names it."""
    seed_everything(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = samples().tensors
    position = first = 0
    path = os.path.join(out, "checkpoint.pt")
    if os.path.exists(path):
        state = read(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, position = state["step"], state.get("position", 0)
    for step in range(first, steps):
        batch, wanted = inputs[position : position + 8], targets[position : position + 8]
        position = (position + 8) % len(inputs)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), wanted).backward()
        optimizer.step()
        now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
        torch.save({**now, "position": position} if "position" in saves else now, path)


class ByHand:
    """The training of `train_by_hand`, which saves the place in its data."""

    function: Callable[[str, str], None] = staticmethod(train_by_hand)
    saves = "position"

    def __new__(cls) -> Any:  # a run of the function
        return cls.training()()

    @classmethod
    def resume(cls, path: str) -> Run:
        return cls.training().resume(path)

    @classmethod
    def training(cls) -> Stepwise:
        return stepwise(cls.function, "{out}", cls.saves)


@fault(
    "function-position-lost",
    verdict="DIFFERENT",
    step=4,
    phase="forward",
    causes=(("train_by_hand/position", "train_by_hand/batch", "train_by_hand/wanted"),),
    fix='torch.save({**now, "position": position}, path)',
    needs=NEEDS,
)
class PositionOfAFunctionLost(ByHand):
    """A training in one function cuts its batches from a tensor, and the place of the next one is a local variable that
    no checkpoint has: the resumed run begins with the first batch again."""

    saves = ""


def train_from_memory(out: str, saves: str, steps: int = 8) -> None:
    """What was seen goes into a memory of bounded size, and batches are drawn from it; its entries are of a class that
    the function makes. A checkpoint after each step holds the memory as plain tuples, if `saves` names it."""
    seed_everything(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    Seen = collections.namedtuple("Seen", "inputs target")  # another class in each call
    memory: collections.deque[Any] = collections.deque(maxlen=20)
    data, first = samples(), 0
    path = os.path.join(out, "checkpoint.pt")
    if os.path.exists(path):
        state = read(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        set_rng_state(state["rng"])
        first = state["step"]
        memory.extend(Seen(*each) for each in state.get("memory", ()))
    for step in range(first, steps):
        memory.extend(Seen(*data[index]) for index in range(4 * step, 4 * step + 4))
        drawn = random.sample(memory, 4)
        batch, wanted = torch.stack([each.inputs for each in drawn]), torch.stack([each.target for each in drawn])
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), wanted).backward()
        optimizer.step()
        now = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng_state(), "step": step + 1}
        torch.save({**now, "memory": [tuple(each) for each in memory]} if "memory" in saves else now, path)


class FromMemory(ByHand):
    """The training of `train_from_memory`, which saves its memory."""

    function = staticmethod(train_from_memory)
    saves = "memory"


@fault(
    "function-memory-lost",
    verdict="DIFFERENT",
    step=5,
    phase="forward",
    causes=(("train_from_memory/memory/*", "train_from_memory/batch", "train_from_memory/wanted"),),
    save_at=4,
    fix='torch.save({**now, "memory": [tuple(each) for each in memory]}, path)',
    needs=NEEDS,
)
class MemoryOfAFunctionLost(FromMemory):
    """A training in one function draws its batches from a memory of what it has seen, whose entries are of a class that
    the function makes. No checkpoint has them: the resumed run draws from what it has seen since."""

    saves = ""
