"""Training runs drawn at random: models, optimizers, schedules, samplers, averages, counters, generators, attributes.

Each saves all that it has, so that its resume is exact; `Flipped` changes one bit after it has loaded.
"""

import copy
import random
from collections import Counter, OrderedDict, deque

import numpy as np
import torch
from torch import nn

from dora_repro.faults.plain import read, rng_state, seed_everything, set_rng_state
from dora_repro.state.digest import digest
from dora_repro.state.restoring import world
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

WIDTH, BATCH, SAMPLES = 4, 3, 12
_SCHEDULES = torch.optim.lr_scheduler


class Marked(torch.Tensor):
    """A subclass without anything of its own."""


def _layers(draw: random.Random) -> list[nn.Module]:
    made: list[nn.Module] = []
    for _ in range(draw.randint(1, 3)):
        made.append(nn.Linear(WIDTH, WIDTH, bias=draw.random() < 0.7))
        more = [nn.Tanh, lambda: nn.Dropout(0.3), lambda: nn.BatchNorm1d(WIDTH), lambda: nn.LayerNorm(WIDTH)]
        made += [draw.choice(more)() for _ in range(draw.randint(0, 2))]
    return made


class Model(nn.Module):
    """Some layers; buffers of three kinds, and attributes of tensors that the forward pass reads."""

    def __init__(self, draw: random.Random):
        super().__init__()
        self.layers = nn.Sequential(*_layers(draw))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(WIDTH), persistent=False)
        self.shift = nn.Buffer(torch.zeros(WIDTH), persistent=draw.random() < 0.5)
        self.marked = draw.random() < 0.5
        if self.marked:
            self.layers[0].weight.scale = 1.0
            self.mean.history = [0.0]
        self.frozen = nn.Parameter(torch.ones(WIDTH), requires_grad=False)
        if draw.random() < 0.5:
            self.frozen.noted = torch.zeros(2).as_subclass(Marked)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.layers(inputs) * self.frozen - self.shift
        if self.training:
            with torch.no_grad():
                self.seen += 1
                self.mean.lerp_(outputs.mean(0), 0.1)
                self.shift.copy_(self.mean * 0.5)
        if self.marked:
            outputs = outputs * self.layers[0].weight.scale
            self.layers[0].weight.scale *= 0.99
            self.mean.history.append(float(self.mean[0]))
        return outputs


def _optimizer(draw: random.Random, model: nn.Module) -> torch.optim.Optimizer:
    makers = [
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=draw.random() < 0.5),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
        lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, centered=True),
        lambda parameters: torch.optim.Adagrad(parameters, lr=0.05),
    ]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if draw.random() < 0.5 and len(parameters) > 1:
        return draw.choice(makers)([{"params": parameters[:1], "lr": 0.02}, {"params": parameters[1:]}])
    return draw.choice(makers)(parameters)


def _schedule(draw: random.Random, optimizer: torch.optim.Optimizer):
    makers = [
        lambda: None,
        lambda: _SCHEDULES.StepLR(optimizer, 2, 0.5),
        lambda: _SCHEDULES.CosineAnnealingLR(optimizer, 10),
        lambda: _SCHEDULES.ExponentialLR(optimizer, 0.9),
        lambda: _SCHEDULES.CosineAnnealingWarmRestarts(optimizer, 3),
    ]
    return draw.choice(makers)()


class Order:
    """Samples in an order of its own: shuffled by one of three kinds of generators, epoch after epoch."""

    def __init__(self, draw: random.Random):
        seed = draw.randint(0, 99)
        makers = [
            lambda: random.Random(seed),
            lambda: np.random.default_rng(seed),
            lambda: torch.Generator().manual_seed(seed),
        ]
        self.generator = draw.choice(makers)()
        self.position, self.epoch, self.order = 0, 0, self.shuffled()

    def shuffled(self) -> list[int]:
        if isinstance(self.generator, torch.Generator):
            return torch.randperm(SAMPLES, generator=self.generator).tolist()
        if isinstance(self.generator, random.Random):
            return self.generator.sample(range(SAMPLES), SAMPLES)
        return self.generator.permutation(SAMPLES).tolist()

    def next(self) -> list[int]:
        if self.position + BATCH > SAMPLES:
            self.position, self.epoch, self.order = 0, self.epoch + 1, self.shuffled()
        self.position += BATCH
        return self.order[self.position - BATCH : self.position]


def _books(draw: random.Random) -> dict[str, object]:
    """Containers that a run keeps for itself."""
    every = {
        "losses": [],
        "last": deque(maxlen=3),
        "by_step": {},
        "labels": Counter(),
        "cache": OrderedDict(),
        "nested": {"levels": [{"count": 0}, [torch.zeros(2), np.zeros(2)]], "pair": (1, 2.5)},
        "members": set(),
        "array": np.zeros(3, np.float32),
        "text": "",
        "best": float("inf"),
    }
    return {name: every[name] for name in draw.sample(sorted(every), draw.randint(2, len(every)))}


class Generated:
    """A run that a seed tells all about."""

    def __init__(self, seed: int):
        draw = random.Random(seed)
        seed_everything(seed)
        self.model = Model(draw)
        self.optimizer = _optimizer(draw, self.model)
        self.schedule = _schedule(draw, self.optimizer)
        self.data = torch.randn(SAMPLES, WIDTH)
        self.order = Order(draw)
        self.noise = draw.choice([None, np.random.default_rng(seed), random.Random(seed), np.random.RandomState(seed)])
        self.average = draw.choice(
            [None, copy.deepcopy(self.model), [p.detach().clone() for p in self.model.parameters()]]
        )
        self.books = _books(draw)
        self.done = 0

    def step(self) -> float:
        inputs = self.data[self.order.next()]
        if self.noise is not None:
            drawn = self.noise.random() if isinstance(self.noise, (random.Random, np.random.Generator)) else None
            inputs = inputs + 0.01 * (self.noise.random_sample() if drawn is None else drawn)
        self.optimizer.zero_grad()
        loss = self.model(inputs).pow(2).mean() + 0.1 * torch.rand(())
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        self.done += 1
        self._average()
        self._note(loss.item())
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        if self.average is not None:
            kept = self.average.parameters() if isinstance(self.average, nn.Module) else self.average
            for mine, theirs in zip(kept, self.model.parameters(), strict=True):
                mine.mul_(0.9).add_(theirs.detach(), alpha=0.1)

    def _note(self, loss: float) -> None:
        books = self.books
        for name in ("losses", "last"):
            if name in books:
                books[name].append(loss)
        if "by_step" in books:
            books["by_step"][self.done] = loss
        if "labels" in books:
            books["labels"][self.order.order[0] % 3] += 1
        if "cache" in books:
            books["cache"][self.done % 4] = torch.full((2,), loss)
            books["cache"].move_to_end(self.done % 4)
        if "nested" in books:
            books["nested"]["levels"][0]["count"] += 1
            books["nested"]["levels"][1][0] += loss
            books["nested"]["levels"][1][1][0] = loss
        if "members" in books:
            books["members"].add(self.order.order[0])
        if "array" in books:
            books["array"] += np.float32(loss)
        if "text" in books:
            books["text"] += f"{self.done} {loss}\n"
        if "best" in books:
            books["best"] = min(books["best"], loss)

    def save(self, path: str) -> None:
        model = self.model
        marks = {name: vars(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        kept = {name: vars(self)[name] for name in ("order", "noise", "average", "books", "done")}
        state = {
            "model": model.state_dict(),
            "buffers": dict(model.named_buffers()),
            "marks": {name: dict(mark) for name, mark in marks.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "gradients": [parameter.grad for parameter in model.parameters()],
            "rng": rng_state(),
            **kept,
        }
        torch.save(state, path)

    def load(self, path: str) -> None:
        state = read(path)
        self.model.load_state_dict(state["model"])
        for name, buffer in self.model.named_buffers():
            buffer.copy_(state["buffers"][name])
        for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
            vars(tensor).update(state["marks"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        for parameter, gradient in zip(self.model.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient
        for name in ("order", "noise", "average", "books", "done"):
            setattr(self, name, state[name])
        set_rng_state(state["rng"])


class Flipped(Generated):
    """Changes one bit of one leaf after it has loaded; `flipped` says of which one."""

    flipped = ""

    def __init__(self, seed: int, choice: int):
        super().__init__(seed)
        self.choice = choice

    def load(self, path: str) -> None:
        super().load(path)
        type(self).flipped = flip(self, random.Random(self.choice))


def flip(run: object, draw: random.Random) -> str:
    """Change a bit of a leaf that can be set, and return its path."""
    leaves = {**walk(run_roots(run)).leaves, **{path: leaf for path, leaf in world().items() if path[:4] == "rng/"}}
    paths = [path for path, leaf in leaves.items() if leaf.put is not None and leaf.role != "alias"]
    for path in draw.sample(paths, len(paths)):
        before = digest(leaves[path].value)
        try:
            leaves[path].put(changed(copy.deepcopy(leaves[path].value), draw))
        except Exception:  # no value of this place: the state of a generator that there is none of
            continue
        there = {**walk(run_roots(run)).leaves, **world()}.get(path)
        if there is not None and digest(there.value) != before:
            return path
    raise AssertionError("no leaf could be changed")


def changed(value, draw: random.Random):
    """A value in which one bit is another, or one letter.

    Raises:
        ValueError: it has none.
    """
    if isinstance(value, torch.Tensor):
        return torch.from_numpy(changed(value.detach().numpy().copy(), draw))
    if isinstance(value, np.ndarray) and value.size:
        flat = np.atleast_1d(value).reshape(-1)
        at = draw.randrange(flat.size)
        if flat.dtype == bool:
            flat[at] = not flat[at]
        else:
            one = flat[at : at + 1].copy().view(np.uint8)
            one[draw.randrange(one.size)] ^= 1 << draw.randrange(8)
            flat[at : at + 1] = one.view(flat.dtype)
        return flat.reshape(value.shape)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1 << draw.randrange(max(1, value.bit_length()))
    if isinstance(value, float):
        return float(changed(np.array(value), draw))
    if isinstance(value, (str, bytes)) and value:
        at = draw.randrange(len(value))
        middle = chr(ord(value[at]) ^ 1) if isinstance(value, str) else bytes([value[at] ^ 1 << draw.randrange(8)])
        return value[:at] + middle + value[at + 1 :]
    if isinstance(value, (list, tuple)) and value:
        items = list(value)
        at = draw.randrange(len(items))
        items[at] = changed(items[at], draw)
        return type(value)(items)
    if isinstance(value, dict) and value:
        key = draw.choice(sorted(value, key=repr))
        return {**value, key: changed(value[key], draw)}
    if isinstance(value, (set, frozenset)) and value:
        items = sorted(value, key=repr)
        return type(value)([*items[1:], changed(items[0], draw)])
    raise ValueError("no bit to change")
