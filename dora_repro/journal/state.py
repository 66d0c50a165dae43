"""All state of a training at one moment, as digests: taken, written, read, and held against another's."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dora_repro.contracts import Json, Value
from dora_repro.journal.lines import to_text
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.leaves import Leaf, Leaves
from dora_repro.state.paths import ancestors
from dora_repro.state.walk import walk

FORMAT = "dora_repro/journal/1"

# What a resumed training works with, in the order in which it is told.
COUNTED = ("parameter", "buffer", "moment", "option", "schedule", "scaler", "generator")
_OTHER = "other"
_UNKNOWN = {"update": (), "end": ("generator",), "save": ("option", "schedule", "scaler", "generator")}
_LARGE = 1 << 28  # bytes of an array that is read at each checkpoint; a larger one is data
_SCALERS = (torch.amp.GradScaler,)


@dataclass(frozen=True)
class StateDigests:
    """Digests of all state at one moment.

    Attributes:
        update: number of updates that were done.
        backwards: number of backward passes since then.
        leaves: path -> (kind, digest); the kinds are those of `COUNTED`, or `other`.
        moment: `update` before the update that followed; `end` when the process ended, so that what its loader would
            have drawn next is not known; `save` when a checkpoint had been written, and whatever came before the next
            update is not known.
    """

    update: int
    backwards: int
    leaves: Mapping[str, tuple[str, str]]
    moment: str = "update"

    @classmethod
    def take(
        cls, roots: Mapping[str, Value], update: int, backwards: int = 0, moment: str = "update"
    ) -> "StateDigests":
        """Read all state that is reached from `roots` (name -> object), and the global generators.

        Data sets, and arrays that are as large as one, are left out: nothing trains them.
        """
        leaves = {f"rng/{name}": ("generator", to_text(digest(state))) for name, state in rng.capture_world().items()}
        live = walk(roots)
        schedules = tuple(_below(live.objects, (torch.optim.lr_scheduler.LRScheduler,)))
        scalers = tuple(_below(live.objects, _SCALERS))
        owners = _owners(live)
        for path, leaf in live.items():
            kind = _kind(leaf, path, schedules, scalers)
            if kind is None:
                continue
            own, kind = _as_owned(path, kind, owners)
            try:
                leaves[own] = kind, to_text(digest(leaf.value))
            except Exception:  # a tensor class that cannot be read, an array of Python objects
                continue
        return cls(update, backwards, leaves, moment)

    def write(self, path: Path) -> None:
        """Write it as one line of JSON, on the disk when this returns.

        Raises:
            OSError: it exists, or cannot be written.
        """
        head = {"format": FORMAT, "update": self.update, "backwards": self.backwards, "moment": self.moment}
        data = json.dumps({**head, "leaves": self.leaves}, separators=(",", ":")).encode() + b"\n"
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, path: Path) -> "StateDigests | None":
        """What `write` wrote; None where it is not there, was cut off or is damaged."""
        try:
            text = path.read_text(encoding="utf-8")
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                return None
            leaves = {name: (str(kind), str(value)) for name, (kind, value) in fields["leaves"].items()}
            moment = fields["moment"]
            return cls(int(fields["update"]), int(fields["backwards"]), leaves, moment) if moment in _UNKNOWN else None
        except (OSError, ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError):
            return None


@dataclass(frozen=True)
class StateDifference:
    """What is not as it was when a checkpoint was written.

    Attributes:
        compared: number of leaves of the counted kinds that were compared.
        lost: kind -> paths of what a training works with and that is missing or other than it was.
        other: paths of further variables that the training had moved and that are there, but not as they were: whether
            any of them matters is not told by digests.
        unknown: paths of what cannot be compared, since the process was over before its next update: generators, and of
            one that was killed then what a schedule sets.
    """

    compared: int
    lost: Mapping[str, tuple[str, ...]]
    other: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether all that a training works with is as it was, as far as it can be compared."""
        return not self.lost

    def to_dict(self) -> dict[str, Json]:
        """As plain data."""
        lost: dict[str, Json] = {kind: [*paths] for kind, paths in self.lost.items()}
        return {"compared": self.compared, "lost": lost, "other": [*self.other], "unknown": [*self.unknown]}


def difference(saved: StateDigests, now: StateDigests, first: StateDigests | None) -> StateDifference:
    """Hold the state before a start's first update against that at the same moment of the run it goes on from.

    A generator that the earlier training has not moved was not used by it and does not count. A leaf that is not found
    by its name is found by its kind and its digest: names change with the functions that are being called.

    Args:
        saved: the state of the earlier training before the update that followed the checkpoint.
        now: the state of the later one before its first update.
        first: the state of the earlier one before its own first update; None where that is not known.
    """
    elsewhere = {value for path, value in now.leaves.items() if path not in saved.leaves}
    lost: dict[str, list[str]] = {}
    other, unknown = [], []
    compared = 0
    for path, (kind, value) in saved.leaves.items():
        here = now.leaves.get(path)
        same = here == (kind, value) or (here is None and (kind, value) in elsewhere)
        moved = first is None or first.leaves.get(path) != (kind, value)
        if kind == _OTHER:
            if (
                not same and moved and here is not None and saved.moment != "save"
            ):  # what the loop has yet to make is not lost
                other.append(path)
        elif kind == "generator" and not moved:
            continue
        elif kind in _UNKNOWN[saved.moment] and not same:
            unknown.append(path)
        else:
            compared += 1
            if not same:
                lost.setdefault(kind, []).append(path)
    ordered = {kind: tuple(lost[kind]) for kind in COUNTED if kind in lost}
    return StateDifference(compared, ordered, tuple(other), tuple(unknown))


def _kind(leaf: Leaf, path: str, schedules: tuple[str, ...], scalers: tuple[str, ...]) -> str | None:
    """The kind of a leaf; None for what is not looked at."""
    if leaf.role in ("data", "flag", "structure", "alias", "log", "gradient"):
        return None
    if isinstance(leaf.value, np.memmap) or (getattr(leaf.value, "nbytes", 0) > _LARGE and leaf.role == "memory"):
        return None
    if leaf.role in COUNTED:
        return leaf.role
    if path.startswith(schedules):
        return "schedule"
    if path.startswith(scalers):
        return "scaler"
    return _OTHER


def _owners(live: Leaves) -> Mapping[str, tuple[str, str]]:
    """Where what an optimizer or a module holds goes by another name: that name -> its own, and its kind.

    A variable that a loop over `optimizer.state.values()` has left holds the moments of one parameter, and its name is
    the shorter one. They are moments all the same, in the start that has the variable and in the one that has not.
    """
    aliases = {path: str(leaf.value).removeprefix("= ") for path, leaf in live.items() if leaf.role == "alias"}
    buffers = {f"{at}/{name}" for at, module in live.modules.items() for name, _ in module.named_buffers()}
    owners = {}
    for path, first in aliases.items():
        if path in buffers:
            owners[first] = path, "buffer"
        for at, optimizer in live.optimizers.items():
            if path.startswith(f"{at}/"):
                name = path.removeprefix(f"{at}/").partition("/")[0]
                if name == "param_groups" or name.startswith("group."):
                    owners[first] = path, "option"
                elif name == "state" or name not in vars(optimizer):
                    owners[first] = path, "moment"
    for path, first in aliases.items():  # one moment of these, by a name of its own
        own, kind = _as_owned(path, _OTHER, owners)
        if kind != _OTHER:
            owners.setdefault(first, (own, kind))
    return owners


def _as_owned(path: str, kind: str, owners: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """The path and the kind of a leaf, as its owner has them."""
    if kind == _OTHER:
        for above in (path, *ancestors([path])):
            if above in owners:
                own, kind = owners[above]
                return own + path.removeprefix(above), kind
    return path, kind


def _below(objects: Mapping[str, Value], kinds: tuple[type, ...]) -> Iterable[str]:
    """What the paths begin with of all that is in objects of these kinds."""
    return (f"{path}/" for path, value in objects.items() if isinstance(value, kinds))
