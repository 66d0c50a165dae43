"""The memory of a run, step after step: digests of all that moves, read again only where it may have changed.

A walk over everything takes a millisecond or more, which is much beside a small step. So after a walk its containers
are watched: as long as each has the very same objects, only what can change in place (tensors, arrays, lists,
generators) is digested anew; a number that was replaced by another is taken over; anything else calls for a new walk.
A leaf that no watched container accounts for (a closure, a frame, a gradient scaler) calls for one at every step.
"""

import enum
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import buffers_of
from dora_repro.recording.after_update import mark_of
from dora_repro.state import rng
from dora_repro.state.digest import PLAIN_SCALARS, digest, digest_tensor, is_dense, reader
from dora_repro.state.keys import key_text
from dora_repro.state.leaves import Leaf, Leaves
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

# What a leaf may be made from without being it, and that cannot change in place.
_IMMUTABLE = (tuple, np.generic, torch.dtype, torch.device, enum.Enum, pathlib.PurePath)


@dataclass(slots=True)
class _Watched:
    """One container.

    Attributes:
        holder: the container.
        size: the number of its items.
        keys: those that led to leaves or further containers.
        values: what it had at these keys.
        paths: of the leaves at these keys.
    """

    holder: "Mapping[Any, Any] | list[Any] | _Listed"
    size: int
    keys: list[Any]
    values: list[Any]
    paths: list[str]


class World:
    """Digests of the global generators alone, by path.

    Attributes:
        now: all of them, as last read.
    """

    def __init__(self) -> None:
        self.now: dict[str, bytes] = {}
        self.changes()

    def changes(self) -> dict[str, bytes | None]:
        """Read them and return what has changed, by path."""
        now = _world()
        changed: dict[str, bytes | None] = {path: value for path, value in now.items() if self.now.get(path) != value}
        self.now = now
        return changed


class Memory:
    """Digests of a run's moving state by path.

    Attributes:
        now: all of them, as last read.
    """

    def __init__(self, run: Value):
        self._run = run
        self._buffers, self._arrays = BufferDigests(), ArrayDigests()
        self.now: dict[str, bytes] = {}
        self._watched: list[_Watched] | None = None
        self._in_place: list[tuple[str, Callable[[], bytes]]] = []
        self.changes()

    def changes(self) -> dict[str, bytes | None]:
        """Read what may have changed and return what has, by path; None for what is gone."""
        changed: dict[str, bytes | None] = {}
        if self._watched is None or not _same_objects(self._watched, changed):
            return self._read_all()
        for path, read in self._in_place:
            try:
                value = read()
            except TypeError:  # a list of plain values holds something else by now: no longer one leaf
                return self._read_all()
            if value != self.now.get(path):
                changed[path] = value
        self._read_world(changed)
        self.now.update((path, value) for path, value in changed.items() if value is not None)  # nothing is gone here
        return changed

    def _read_world(self, changed: dict[str, bytes | None]) -> None:
        changed.update((path, value) for path, value in _world().items() if value != self.now.get(path))

    def _read_all(self) -> dict[str, bytes | None]:
        roots = run_roots(self._run)
        live = walk(roots, moving_only=True)
        now = _world()
        for path, leaf in live.items():
            try:
                now[path] = self._reader(leaf.value, leaf.role)()
            except TypeError:
                continue
        changed: dict[str, bytes | None] = {p: value for p, value in now.items() if self.now.get(p) != value}
        changed.update({path: None for path in self.now if path not in now})
        self.now = now
        self._watch(roots, live)
        return changed

    def _watch(self, roots: Mapping[str, Value], live: Leaves) -> None:
        accounted: set[str] = set()
        self._in_place = []
        containers = (("", getattr(self._run, "__dict__", None) or roots), *live.objects.items())
        every = [self._watch_one(path, container, live, accounted) for path, container in containers]
        for path, optimizer in live.optimizers.items():
            accounted.update(f"{path}/group.{index}/params" for index in range(len(optimizer.param_groups)))
            states = list(optimizer.state.values())
            every.append(_Watched(_Listed(optimizer.state), len(states), list(range(len(states))), states, []))
        self._watched = [watched for watched in every if watched.keys or isinstance(watched.holder, _Listed)]
        if any(path not in accounted for path in live):
            self._watched = None

    def _watch_one(self, path: str, container: Value, live: Leaves, accounted: set[str]) -> _Watched:
        prefix = f"{path}/" if path else ""
        items: Any
        if isinstance(container, torch.nn.Module):
            root = next((root for root in live.modules if path == root or path.startswith(f"{root}/")), path)
            prefix = f"{root}/" if path == root else f"{path}."
            items = buffers_of(container)
        elif isinstance(container, (dict, list)):
            items = container
        else:
            items = getattr(container, "__dict__", {})
            if callable(container) and f"{path}/name" in live and getattr(container, "__closure__", True) is None:
                accounted.add(f"{path}/name")
        watched = _Watched(items, len(items), [], [], [])
        for key in range(len(items)) if isinstance(items, list) else list(items):
            at = f"{prefix}{key_text(key)}"
            leaf = live.leaves.get(at)
            if leaf is None and at not in live.objects and at not in live.uncaptured:
                continue
            value = items[key]
            watched.keys.append(key)
            watched.values.append(value)
            watched.paths.append(at)
            if leaf is not None and self._can_be_read_again(value, leaf):
                accounted.add(at)
                if not (leaf.role == "alias" or type(value) in PLAIN_SCALARS or isinstance(value, _IMMUTABLE)):
                    self._in_place.append((at, self._reader(value, leaf.role)))
        return watched

    @staticmethod
    def _can_be_read_again(value: Value, leaf: Leaf) -> bool:
        """Whether the leaf is the object itself, so that the object alone determines the leaf's value."""
        return leaf.value is value or leaf.role == "alias" or isinstance(value, (*rng.PRIVATE_GENERATORS, *_IMMUTABLE))

    def _reader(self, value: Value, role: str) -> Callable[[], bytes]:
        if isinstance(value, torch.Tensor):
            large = role in ("buffer", "memory") and is_dense(value) and value.nbytes >= BufferDigests.LARGE
            return partial(self._buffers, value) if large else reader(value)
        if isinstance(value, np.ndarray) and type(value) in _ARRAYS and value.nbytes >= ArrayDigests.LARGE:
            return partial(self._arrays, value)
        if isinstance(value, rng.PRIVATE_GENERATORS):
            return lambda: digest(rng.state_of(value))
        return partial(digest, value)


def _world() -> dict[str, bytes]:
    """Digests of the global generators, by path."""
    return {f"rng/{name}": digest(state) for name, state in rng.capture_world().items()}


def _same_objects(every: list[_Watched], changed: dict[str, bytes | None]) -> bool:
    """Whether every container has what it had, but for numbers, whose new digests are noted."""
    for watched in every:
        holder, values = watched.holder, watched.values
        if len(holder) != watched.size:
            return False
        for index, key in enumerate(watched.keys):
            try:
                value = holder[key]
            except (KeyError, IndexError):
                return False
            known = values[index]
            if value is known:
                continue
            if type(value) not in PLAIN_SCALARS or type(known) not in PLAIN_SCALARS:
                return False
            values[index] = value
            changed[watched.paths[index]] = digest(value)
    return True


class _Listed:
    """An optimizer's states by position: their keys are tensors, which compare by elements."""

    def __init__(self, states: Mapping[Any, Any]):
        self._states = states

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, index: int) -> Any:
        if index == 0:
            self._values = list(self._states.values())
        return self._values[index]


class BufferDigests:
    """Digests of buffers and of what a run holds beside its parameters: small ones are read at every step, large ones
    where their storage, their version or a sample of their bytes has changed.

    A version counter alone is no proof: batch norm updates its running statistics without touching it, and so do writes
    through `.data` and numpy. `Snapshot.capture` reads all of every tensor, around saves and at the end.
    """

    LARGE = 1 << 20  # bytes; data, frozen directions and quantised weights, not running statistics

    def __init__(self) -> None:
        self._known: dict[int, tuple[torch.Tensor, tuple[object, ...], bytes]] = {}

    def __call__(self, value: torch.Tensor) -> bytes:
        mark = mark_of(value) if is_dense(value) and value.nbytes >= self.LARGE else None
        if mark is None:
            return digest_tensor(value)
        known = self._known.get(id(value))
        if known is not None and known[0] is value and known[1] == mark:
            return known[2]
        result = digest_tensor(value)
        self._known[id(value)] = (value, mark, result)
        return result


class ArrayDigests:
    """Digests of large numpy arrays, read again where a sample of their bytes has changed: a data set in a variable, a
    file that is mapped. A write that no sample meets is seen by `Snapshot.capture`, which reads all."""

    LARGE = 1 << 24  # bytes

    def __init__(self) -> None:
        self._known: dict[int, tuple[np.ndarray, bytes, bytes]] = {}

    def __call__(self, value: np.ndarray) -> bytes:
        if value.dtype.hasobject or not value.flags.c_contiguous:
            return digest(value)
        known = self._known.get(id(value))
        sample = _sample_of(value)
        if known is not None and known[0] is value and known[1] == sample:
            return known[2]
        result = digest(value)
        self._known[id(value)] = (value, sample, result)
        return result


def _sample_of(value: np.ndarray) -> bytes:
    """Some blocks of an array's bytes, evenly spaced."""
    flat = value.reshape(-1).view(np.uint8)
    stride = max(_BLOCK, flat.size // _BLOCKS)
    return b"".join(flat[at : at + _BLOCK].tobytes() for at in range(0, flat.size, stride))


_BLOCKS, _BLOCK = 256, 512  # of a sample: how many, and bytes in each
_ARRAYS = (np.ndarray, np.memmap)
