"""Training runs as users write them: nothing inherited, nothing registered. What each saves makes it right or wrong.

They are as many kinds of training as possible, where `dora_repro/faults/plain.py` is one kind with many defects; seeds,
samples and reading a file are the same.
"""

import copy
import random
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from dora_repro.faults.plain import read as load
from dora_repro.faults.plain import rng_state, seed_everything, set_rng_state
from dora_repro.faults.plain import samples as made_data


class Plain:
    """An MLP with dropout, AdamW and a fixed batch by hand: saves all that it needs."""

    def __init__(self, seed: int = 0):
        seed_everything(seed)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.inputs, self.targets = made_data().tensors
        self.count = 0

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        self.count += 1
        return loss.item()

    def state(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": rng_state(),
            "count": self.count,
        }

    def save(self, path: str) -> None:
        torch.save(self.state(), path)

    def load(self, path: str) -> None:
        state = load(path)
        self.model.load_state_dict(state["model"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.count = state.get("count", 0)
        if "rng" in state:
            set_rng_state(state["rng"])


class Forgetful(Plain):
    """Saves all but the parts named."""

    def __init__(self, *forgotten: str):
        super().__init__()
        self.forgotten = forgotten

    def state(self) -> dict:
        return {name: part for name, part in super().state().items() if name not in self.forgotten}


class Loader(Plain):
    """A shuffling DataLoader with its own generator, one epoch after another, resumed in mid-epoch by skipping."""

    def __init__(self, seed: int = 0, scheduler: str = "cosine"):
        super().__init__(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.loader = DataLoader(made_data(), batch_size=8, shuffle=True, generator=self.generator)
        makers = {
            "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
            "onecycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-2, total_steps=40),
        }
        self.scheduler = makers[scheduler](self.optimizer)
        self.batches = None
        self.position = 0
        self.before_epoch = self.generator.get_state()

    def next_batch(self):
        if self.batches is None:
            self.before_epoch = self.generator.get_state()
            self.batches = iter(self.loader)
            self.position = 0
        try:
            batch = next(self.batches)
        except StopIteration:
            self.batches = None
            return self.next_batch()
        self.position += 1
        return batch

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.count += 1
        return loss.item()

    def state(self) -> dict:
        position = {"before_epoch": self.before_epoch, "position": self.position, "started": self.batches is not None}
        return {**super().state(), "scheduler": self.scheduler.state_dict(), "data": position}

    def load(self, path: str) -> None:
        super().load(path)
        state = load(path)
        if "scheduler" in state:
            self.scheduler.load_state_dict(state["scheduler"])
        if "data" in state:
            data = state["data"]
            self.generator.set_state(data["before_epoch"])
            self.before_epoch, self.position = data["before_epoch"], data["position"]
            if data["started"]:
                self.batches = iter(self.loader)
                for _ in range(self.position):
                    next(self.batches)
        set_rng_state(state["rng"])


class LoaderForgetful(Loader):
    """The same without what is named."""

    def __init__(self, *forgotten: str):
        super().__init__()
        self.forgotten = forgotten

    def state(self) -> dict:
        return {name: part for name, part in super().state().items() if name not in self.forgotten}


class ThrowingAway(LoaderForgetful):
    """Takes a batch of the loader, and trains on one of its own, which the number of the step tells."""

    def next_batch(self):
        super().next_batch()
        own = torch.Generator().manual_seed(self.count)
        return torch.randn(8, 8, generator=own), torch.randn(8, 3, generator=own)

    def load(self, path: str) -> None:
        super().load(path)
        if "data" in self.forgotten:
            self.generator.manual_seed(9)


class Ema(Plain):
    """Keeps an exponential moving average of the model, used for evaluation alone."""

    def __init__(self, save_ema: bool = True):
        super().__init__()
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.save_ema = save_ema

    def step(self) -> float:
        loss = super().step()
        with torch.no_grad():
            for average, parameter in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(parameter, 0.1)
        return loss

    def state(self) -> dict:
        return {**super().state(), **({"ema": self.ema.state_dict()} if self.save_ema else {})}

    def load(self, path: str) -> None:
        super().load(path)
        if "ema" in (state := load(path)):
            self.ema.load_state_dict(state["ema"])


class Accumulating(Plain):
    """Two micro-batches an optimizer step."""

    def step(self) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for half in (slice(0, 16), slice(16, 32)):
            loss = nn.functional.mse_loss(self.model(self.inputs[half]), self.targets[half]) / 2
            loss.backward()
            total += loss.item()
        self.optimizer.step()
        self.count += 1
        return total


class Lbfgs(Plain):
    """L-BFGS calls the model several times a step."""

    def __init__(self):
        super().__init__()
        self.model[2].p = 0.0
        self.optimizer = torch.optim.LBFGS(self.model.parameters(), lr=0.1, max_iter=4)

    def step(self) -> float:
        def closure():
            self.optimizer.zero_grad()
            loss = nn.functional.mse_loss(self.model(self.inputs), self.targets)
            loss.backward()
            return loss

        return self.optimizer.step(closure).item()


class BatchNormSgd(Plain):
    """A convolutional model with batch norm, momentum SGD and a plateau scheduler that looks at the loss."""

    def __init__(self, save_buffers: bool = True):
        super().__init__()
        self.model = nn.Sequential(
            nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=0, threshold=0.5)
        self.save_buffers = save_buffers

    def step(self) -> float:
        loss = super().step()
        self.scheduler.step(loss)
        return loss

    def state(self) -> dict:
        state = {**super().state(), "scheduler": self.scheduler.state_dict()}
        if not self.save_buffers:
            names = dict(self.model.named_parameters())
            state["model"] = {name: value for name, value in state["model"].items() if name in names}
        return state

    def load(self, path: str) -> None:
        state = load(path)
        self.model.load_state_dict(state["model"], strict=self.save_buffers)
        self.count = state["count"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        set_rng_state(state["rng"])


class PrivateGenerators(Plain):
    """Noise from generators of its own: torch's, numpy's and Python's, deep inside."""

    def __init__(self, save_them: bool = True):
        super().__init__()
        self.augment = {
            "torch": torch.Generator().manual_seed(3),
            "numpy": [np.random.default_rng(4), np.random.RandomState(5)],
            "python": random.Random(6),
        }
        self.save_them = save_them

    def step(self) -> float:
        clean = self.inputs
        noise = torch.randn(clean.shape, generator=self.augment["torch"])
        scale = self.augment["numpy"][0].random() + self.augment["numpy"][1].rand() + self.augment["python"].random()
        self.inputs = clean + 0.1 * scale * noise
        loss = super().step()
        self.inputs = clean
        return loss

    def state(self) -> dict:
        if not self.save_them:
            return super().state()
        one, two = self.augment["numpy"]
        states = (
            self.augment["torch"].get_state(),
            one.bit_generator.state,
            two.get_state(),
            self.augment["python"].getstate(),
        )
        return {**super().state(), "augment": states}

    def load(self, path: str) -> None:
        super().load(path)
        if "augment" in (state := load(path)):
            mine, one, two, python = state["augment"]
            self.augment["torch"].set_state(mine)
            self.augment["numpy"][0].bit_generator.state = one
            self.augment["numpy"][1].set_state(two)
            self.augment["python"].setstate(python)


class Tied(Plain):
    """A language model whose output layer is its embedding, with gradient scaling and bfloat16 autocast."""

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"embedding": nn.Embedding(12, 8), "head": nn.Linear(8, 12, bias=False)})
        self.model["head"].weight = self.model["embedding"].weight
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2, amsgrad=True)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2)
        self.tokens = torch.randint(0, 12, (4, 6), generator=torch.Generator().manual_seed(2))

    def step(self) -> float:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model["head"](self.model["embedding"](self.tokens))
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), self.tokens[:, 1:].flatten())
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def state(self) -> dict:
        return {**super().state(), "scaler": self.scaler.state_dict()}

    def load(self, path: str) -> None:
        super().load(path)
        self.scaler.load_state_dict(load(path)["scaler"])


class Counters(Plain):
    """Early stopping by plain Python counters, and a loss history."""

    def __init__(self, save_counters: bool = True, patience: int = 100):
        super().__init__()
        self.stopper = {"best": float("inf"), "waited": 0}
        self.history = []
        self.patience = patience
        self.save_counters = save_counters

    def step(self) -> float:
        if self.stopper["waited"] >= self.patience:
            raise StopIteration
        loss = super().step()
        self.history.append(loss)
        better = loss < self.stopper["best"] - 0.2
        self.stopper["waited"] = 0 if better else self.stopper["waited"] + 1
        self.stopper["best"] = loss if better else self.stopper["best"]
        return loss

    def state(self) -> dict:
        return {**super().state(), **({"stopper": self.stopper} if self.save_counters else {})}

    def load(self, path: str) -> None:
        super().load(path)
        self.stopper = load(path).get("stopper", self.stopper)


class Generating(Plain):
    """The whole loop inside a Python generator; a learning rate set by hand; two modules, neither named `model`."""

    def __init__(self):
        seed_everything(0)
        self.net = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 1)
        self.opt = torch.optim.RMSprop([*self.net.parameters(), *self.head.parameters()], lr=1e-2, momentum=0.5)
        self.done = 0
        self.sequence = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(7))
        self.loop = self.train()

    def train(self):
        while True:
            self.opt.param_groups[0]["lr"] = 1e-2 / (1 + self.done)
            self.opt.zero_grad()
            hidden, _ = self.net(self.sequence)
            loss = self.head(hidden).pow(2).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
            self.opt.step()
            self.done += 1
            yield loss

    def step(self) -> float:
        return next(self.loop).item()

    def save(self, path: str) -> None:
        torch.save(
            {
                "net": self.net.state_dict(),
                "head": self.head.state_dict(),
                "opt": self.opt.state_dict(),
                "done": self.done,
            },
            path,
        )

    def load(self, path: str) -> None:
        state = load(path)
        self.net.load_state_dict(state["net"])
        self.head.load_state_dict(state["head"])
        self.opt.load_state_dict(state["opt"])
        self.done = state["done"]


class HandMade:
    """No optimizer, no loader, no module: two tensors and a rule. Names its objects itself."""

    def __init__(self):
        seed_everything(0)
        self.w = torch.randn(3, requires_grad=True)
        self.velocity = torch.zeros(3)

    def components(self):
        return {"w": self.w, "velocity": self.velocity}

    def step(self) -> float:
        loss = (self.w - torch.arange(3.0)).pow(2).sum() + 0.01 * torch.rand(()) * self.w.sum()
        loss.backward()
        with torch.no_grad():
            self.velocity.mul_(0.9).add_(self.w.grad)
            self.w -= 0.05 * self.velocity
            self.w.grad = None
        return loss.item()

    def save(self, path: str) -> None:
        torch.save({"w": self.w.detach(), "velocity": self.velocity, "rng": torch.get_rng_state()}, path)

    def load(self, path: str) -> None:
        state = load(path)
        with torch.no_grad():
            self.w.copy_(state["w"])
            self.velocity.copy_(state["velocity"])
        torch.set_rng_state(state["rng"])


class Raising(Plain):
    """Raises where it is told to."""

    def __init__(self, where: str, at: int = 0):
        super().__init__()
        self.where, self.at = where, at
        self.resumed = False
        if where == "build":
            raise RuntimeError("planted in build")

    def step(self) -> float:
        if self.where == "step" and self.count == self.at and self.resumed:
            raise RuntimeError("planted in step")
        if self.where == "reference" and self.count == self.at:
            raise RuntimeError("planted in the reference")
        return super().step()

    def load(self, path: str) -> None:
        if self.where == "load":
            raise RuntimeError("planted in load")
        super().load(path)
        self.resumed = True


class EndsEarly(Plain):
    """The resumed run believes that it is over after step 4, or the uninterrupted one does."""

    def __init__(self, resumed_only: bool = True):
        super().__init__()
        self.resumed_only, self.resumed = resumed_only, False

    def step(self) -> float:
        if self.count == 4 and self.resumed == self.resumed_only:
            raise StopIteration
        return super().step()

    def load(self, path: str) -> None:
        super().load(path)
        self.resumed = True


class Helper:
    def __init__(self):
        self.protocol = 2


class DamagingSave(Plain):
    """Its save changes the run: the mode, a generator, a parameter, or a counter or helper that is used, or is not."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what
        self.saved = 0
        self.model.helper = None

    def save(self, path: str) -> None:
        super().save(path)
        if "helper" in self.what:
            self.model.helper = Helper()
        if self.what == "mode":
            self.model.eval()
        elif self.what == "generator":
            torch.rand(1)
        elif self.what == "parameter":
            self.model[0].weight.data.mul_(0.5)
        elif self.what in ("used counter", "counter"):
            self.saved += 1

    def step(self) -> float:
        if self.what == "used counter":
            self.inputs = self.inputs + 0.01 * self.saved
        if self.what == "used helper" and self.model.helper is not None:
            self.inputs = self.inputs + 0.01
        return super().step()

    def load(self, path: str) -> None:
        super().load(path)
        if "helper" in self.what:
            self.model.helper = Helper()
        if self.what == "mode":
            self.model.eval()
        elif self.what == "generator":
            torch.rand(1)
        elif self.what == "parameter":
            self.model[0].weight.data.mul_(0.5)
        elif self.what in ("used counter", "counter"):
            self.saved += 1


class Nondeterministic(Plain):
    """Draws from the system's entropy from some step on."""

    def __init__(self, since: int = 0):
        super().__init__()
        self.since = since

    def step(self) -> float:
        if self.count >= self.since:
            self.inputs = self.inputs + torch.tensor(random.SystemRandom().random() * 1e-3)
        return super().step()

    def state(self) -> dict:
        return {**super().state(), "inputs": self.inputs}

    def load(self, path: str) -> None:
        super().load(path)
        self.inputs = load(path)["inputs"]


class Vacuous(Plain):
    """Trains nothing, in one of several ways."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        if how == "no parameter":
            self.model.requires_grad_(False)
            self.optimizer = None
        elif how == "no learning rate":
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
        elif how == "zero gradients":
            self.inputs, self.targets = torch.zeros_like(self.inputs), torch.zeros_like(self.targets)
            for parameter in self.model.parameters():
                nn.init.zeros_(parameter)

    def step(self) -> float:
        if self.how != "no parameter":
            return super().step()
        return float(torch.rand(()))

    def state(self) -> dict:
        return super().state() if self.optimizer else {"model": self.model.state_dict(), "rng": rng_state()}


class Timed(Plain):
    """Keeps the wall clock and its own address, which differ between any two runs; lists its checkpoints."""

    def __init__(self):
        super().__init__()
        self.started = time.time()
        self.name = hex(id(self))
        self.checkpoints = []

    def save(self, path: str) -> None:
        super().save(path)
        self.checkpoints.append(path)


class LateLoading(Plain):
    """`load()` only notes the path; the first step loads: different after loading, and healed before it matters."""

    def __init__(self):
        super().__init__()
        self.pending = None

    def load(self, path: str) -> None:
        self.pending = path

    def step(self) -> float:
        if self.pending:
            super().load(self.pending)
            self.pending = None
        return super().step()


class Resuming(Plain):
    """Built by a class method, which seeds again after loading when `wrong` is set."""

    wrong = False

    @classmethod
    def resume(cls, path: str) -> "Resuming":
        run = cls()
        run.load(path)
        if cls.wrong:
            seed_everything(0)
        return run


class WronglyResuming(Resuming):
    wrong = True


class Nothing(Plain):
    """Saves a file that its load does not read."""

    def load(self, path: str) -> None:
        self.count = load(path)["count"]


class Slow(Plain):
    def step(self) -> float:
        time.sleep(60)
        return super().step()
