"""States of generators in files: each in one piece, in draws apart, whatever form it was saved in."""

from array import array
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from dora_repro.checkpoint.forms import TWISTER_WORDS, Form
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.reading import Leaves
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import TensorEntry
from dora_repro.difference import LeafDifference
from dora_repro.state.draws import draws_between
from dora_repro.state.rng import State


def together(
    first: Leaves, second: Leaves, paths: list[str], differences: Mapping[str, LeafDifference]
) -> tuple[list[str], dict[str, LeafDifference]]:
    """The paths and differences, with all that belongs to one generator in one: its distance in draws.

    Args:
        first: the expected side.
        second: the actual side.
        paths: that were compared.
        differences: of these, by path.
    """
    shared = {
        at: (form, value, second.about.generators[at][1])
        for at, (form, value) in first.about.generators.items()
        if second.about.generators.get(at, (Form.NONE, None))[0] is form
    }
    if not shared:
        return paths, dict(differences)
    members = _by_generator(paths, shared)
    every = _by_generator(dict.fromkeys((*first, *second)), shared)
    merged, moved = dict(differences), dict[str, str]()
    for at, inside in members.items():
        if set(inside) != set(every[at]):
            continue  # a part of it was asked for
        if any(path in differences for path in inside):
            form, *values = shared[at]
            one, other = state_in(first, at, form, values[0]), state_in(second, at, form, values[1])
            if one is None or other is None or _same(one, other):
                continue  # not a state that is known here, or the same in another form
            for path in inside:
                merged.pop(path, None)
            draws = draws_between(one, other)
            merged[at] = LeafDifference(at, "value", str(form), str(form), role="generator", draws=draws)
        moved |= dict.fromkeys(inside, at)
    return list(dict.fromkeys(moved.get(path, path) for path in paths)), merged


def _by_generator(paths: Iterable[str], generators: Collection[str]) -> dict[str, list[str]]:
    """The paths that belong to each generator."""
    found: dict[str, list[str]] = {}
    for path in paths:
        place = path
        while place and place not in generators:
            place = place.rpartition("/")[0]
        if place in generators:
            found.setdefault(place, []).append(path)
    return found


def state_in(leaves: Leaves, path: str, form: Form, value: FileValue) -> State | None:
    """A generator's state as `state.rng` gives it; None for what is not read here.

    Args:
        leaves: of the checkpoint.
        path: of the state.
        form: of the state.
        value: as the file holds it.
    """
    try:
        if form in (Form.TORCH, Form.CUDA):
            return _bytes_of(leaves, path, value)
        return _python(value) if form is Form.PYTHON else _numpy(value)
    except (ValueError, TypeError, OverflowError, LookupError):
        return None


def _same(one: State, other: State) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)


def _bytes_of(leaves: Leaves, path: str, value: FileValue) -> torch.Tensor | None:
    if isinstance(value, (list, tuple)):
        return torch.tensor(value, dtype=torch.uint8)
    value = leaves[path] if path in leaves else value
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.copy())
    return value if isinstance(value, torch.Tensor) else None


def _python(value: FileValue) -> State | None:
    if isinstance(value, Stub):
        value = value.state
    if not isinstance(value, (list, tuple)):
        return None
    version, words, spare = (3, value, None) if len(value) == TWISTER_WORDS + 1 else value
    return "words", version, array("I", words).tobytes(), spare


def _numpy(value: FileValue) -> State | None:
    if isinstance(value, (list, tuple)):
        _, key, position, *spare = value
        return _twister(key, position, tuple(spare))
    if not isinstance(value, Mapping):
        return None
    inner: Any = value.get("state")
    if isinstance(inner, Mapping) and "inc" in inner:
        rest = tuple((str(name), item) for name, item in value.items() if name not in ("bit_generator", "state"))
        numbers = ("state/state", int(inner["state"]), "state/inc", int(inner["inc"]))
        return ("bit_generator", value.get("bit_generator"), *numbers, "rest", rest)
    if isinstance(inner, Mapping) and "key" in inner:
        return _twister(inner["key"], inner.get("pos"), (value.get("has_gauss", 0), value.get("gauss", 0.0)))
    fields = [item for item in value.values() if not isinstance(item, str)]
    keys = [item for item in fields if isinstance(item, (TensorEntry, np.ndarray, torch.Tensor, list, tuple))]
    numbers_in_order = [item for item in fields if type(item) in (int, float)]
    return _twister(keys[0], numbers_in_order[0], tuple(numbers_in_order[1:]))


def _twister(key: FileValue, position: FileValue, spare: tuple[FileValue, ...]) -> State | None:
    if isinstance(key, TensorEntry):
        key = key.load()
    words: Any = key.numpy() if isinstance(key, torch.Tensor) else key
    packed = np.asarray(words).astype("<u4").tobytes()
    if not isinstance(position, (int, np.integer)):
        return None
    return ("bit_generator", "MT19937", "state/key:<u4", packed, "state/pos", int(position), "rest", spare)
