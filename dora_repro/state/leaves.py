"""Leaves: the smallest pieces of a run's state, live as a walk gives them (`Leaf`), or copied (`SavedLeaf`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dora_repro.contracts import Value
from dora_repro.state.assign import Setter
from dora_repro.state.digest import digest

# Roles of what a step works with; `memory` and `data` are what a run keeps besides.
WORKED_WITH = frozenset({"parameter", "buffer", "moment", "option", "generator", "gradient", "structure", "flag"})

# Roles of what a run keeps as plain values; options are among what a step works with.
KEPT = frozenset({"memory", "data", "option"})
LOG = "log"  # the role of what a library keeps for its logs, or for the names of its files


@dataclass(slots=True)
class Leaf:
    """One smallest piece of state, where it lives: its value is the live tensor or value, not a copy.

    Attributes:
        path: readable and stable between processes, as `optimizer/visual.3.out_proj.m/exp_avg`.
        value: the live tensor, array or plain value; for a generator its state; for an alias the path it stands for.
        role: what part it plays: `parameter`, `gradient`, `buffer`, `moment` (optimizer state), `option` (of an
            optimizer's group), `generator`, `flag`, `data` (inside a dataset), `structure` (modes, constants and
            settings of modules, `requires_grad`), `alias`, `log` (for a library's logs alone), or `memory` (everything
            else).
        put: sets a new value, in place where that can be; None where it cannot be set (inside a frame, a set).
        hold: makes the holder hold another object in this place; None where the holder takes none.
    """

    path: str
    value: Any
    role: str = "memory"
    put: Setter = None
    hold: Setter = None

    @property
    def digest(self) -> bytes:
        return digest(self.value)


@dataclass(frozen=True, slots=True)
class SavedLeaf:
    """A leaf's copy.

    Attributes:
        path: as of the leaf.
        role: as of the leaf.
        digest: of its value.
        value: a copy; None where `kept` is false.
        kept: whether the value was stored, and not its digest alone.
    """

    path: str
    role: str
    digest: bytes
    value: Any
    kept: bool = True


@dataclass
class Leaves(Mapping[str, Leaf]):
    """The result of a walk.

    Attributes:
        leaves: by path, in the order of the walk.
        uncaptured: path -> type of what cannot be captured.
        objects: path -> container, to put missing leaves into.
        holds: path -> setter of a container in its holder.
        others: path -> what else may be tied: generators, groups and states of optimizers.
        kinds: path -> type of what a leaf's plain value stands for.
        keyed: path of a dict -> text of a key that is a tensor or module -> path of that object; `id PATH` for a key
            that is such an object's id.
        key_types: path of a dict -> text of each key that is no str -> its type.
        orders: path of a dict with more than one key -> its keys as text, in their order.
        modules: root modules by path.
        optimizers: by path.
        parameter_names: id of a parameter -> its path, as `model/visual.3.out_proj.m`.
    """

    leaves: dict[str, Leaf] = field(default_factory=dict)
    uncaptured: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Value] = field(default_factory=dict)
    holds: dict[str, Setter] = field(default_factory=dict)
    others: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    keyed: dict[str, dict[str, str]] = field(default_factory=dict)
    key_types: dict[str, dict[str, str]] = field(default_factory=dict)
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    parameter_names: dict[int, str] = field(default_factory=dict)

    def __getitem__(self, path: str) -> Leaf:
        return self.leaves[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)
