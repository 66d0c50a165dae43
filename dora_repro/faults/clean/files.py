"""Files of another form than most, written and read in another way than most, with all that a run needs. Each must
come out EXACT."""

import copy
import json
import random
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors.torch
import torch

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import Training, read
from dora_repro.faults.saving import InATuple, Numbered


@fault("clean-tuple-file", verdict="EXACT")
class TupleFile(InATuple):
    """The checkpoint is a tuple, whose parts have places and no names. All of them are there."""


@fault("clean-newest-by-number", verdict="EXACT", steps=12, save_at=10)
class NewestByNumber(Numbered):
    """The run writes files into a folder of its own, whose name is another in each process, and resumes from the newest
    by number: step10.pt, though step9.pt comes after it by name."""


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


@fault("clean-load-put-aside", verdict="EXACT", steps=7, save_at=4)
class LoadPutAside(Training):
    """`load` keeps what it read, and the first step takes it apart and applies each part. What the run holds until then
    is nothing that it should not have."""

    parts: tuple[str, ...] = ("optimizer", "scheduler")

    def load(self, path: str) -> None:
        state = read(path)
        self.load_model(state)
        self.load_data(state)
        self.load_rng(state)
        self.steps = state["steps"]
        self.put_aside = state

    def step(self) -> float:
        state = vars(self).pop("put_aside", None)
        if state is not None:
            for name in self.parts:
                getattr(self, name).load_state_dict(state.pop(name))
        return super().step()


@fault("clean-made-in-first-step", verdict="EXACT", steps=7, save_at=4)
class MadeInFirstStep(Training):
    """The optimizer and its schedule are made when the first step has its batch, and only then given what `load` has
    kept for them. Right after loading neither of them is there, and nothing is lost."""

    optimizer: Any
    kept: dict | None = None

    def make_optimizer(self) -> Any:
        return None

    def make_scheduler(self) -> Any:
        return None

    def next_batch(self) -> Sequence[torch.Tensor]:
        batch = super().next_batch()
        if self.optimizer is None:
            self.optimizer = super().make_optimizer()
            self.scheduler = super().make_scheduler()
            if self.kept is not None:
                self.give(self.kept)
                self.kept = None
        return batch

    def give(self, state: dict) -> None:
        """Load what was just made."""
        self.scheduler.load_state_dict(state["scheduler"])
        self.optimizer.load_state_dict(state["optimizer"])

    def load_optimizer(self, state: dict) -> None:
        self.kept = state


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
