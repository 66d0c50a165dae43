"""Types of containers, keys and values that come back as they were, by another way. Each must come out EXACT."""

import math

import torch

from dora_repro.faults.forms import InTurn
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import Training
from dora_repro.faults.schedule import Stepped


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


@fault("clean-keys-in-turn", verdict="EXACT")
class KeysInTurn(InTurn):
    """Limits take turns in an OrderedDict, which is saved as a list of pairs and made again of it, in its order."""

    def state(self) -> dict:
        return {**super().state(), "turns": list(self.turns.items())}


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
