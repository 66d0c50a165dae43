"""The global generators of Python, numpy and torch, as a part of a checkpoint: in the kit's form and the study's."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dora_repro.contracts import Value
from dora_repro.subject.fitting import StateDict, require_kind, require_numbers

_WORDS = 624  # of a Mersenne twister


class GlobalGenerators:
    """Their states, as numbers and tensors; CUDA's are an empty list where CUDA is not in use."""

    def state_dict(self) -> StateDict:
        return {
            "python": random.getstate(),
            "numpy": _named(np.random.get_state(legacy=True)),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def load_state_dict(self, state: StateDict | None) -> None:
        if state is None:
            raise TypeError("None where the states of generators belong")
        _restore(state, random.setstate, np.random.set_state, torch.set_rng_state)
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])

    def check(self, state: StateDict | None, path: str) -> None:
        """Refuse states that generators of no consequence do not take, with whatever these raise."""
        if state is None:
            raise TypeError("None where the states of generators belong")
        _require_kinds(state)
        _restore(state, random.Random().setstate, np.random.RandomState().set_state, torch.Generator().set_state)


def _require_kinds(states: StateDict) -> None:
    """Refuse what the generators take without looking at it, and stumble over when they draw.

    Raises:
        KeyError, TypeError, ValueError: such a state.
    """
    _, internal, gauss = states["python"]
    require_numbers([*internal, *([] if gauss is None else [gauss])], "python")
    numpy = {name: value for name, value in states["numpy"].items() if name != "keys"}
    require_kind(numpy, {"kind": "", "position": 0, "has_gauss": 0, "cached_gaussian": 0.0}, "numpy")
    if not 0 <= numpy["position"] <= _WORDS:
        raise ValueError(f"numpy's position {numpy['position']} is none of {_WORDS}")
    require_kind(states["numpy"]["keys"], torch.zeros(_WORDS, dtype=torch.int64), "numpy/keys")
    require_kind(states["cuda"], [torch.empty_like(each) for each in states["cuda"]], "cuda")
    if not all(each.dtype is torch.uint8 for each in states["cuda"]):
        raise TypeError("cuda holds no states of generators")


def study_form() -> dict[str, Any]:
    """The states as the study writes them: numpy's and Python's as their own tuples."""
    states: dict[str, Any] = {
        "torch_rng_state": torch.get_rng_state(),
        "numpy_rng_state": np.random.get_state(legacy=True),
        "python_rng_state": random.getstate(),
    }
    if torch.cuda.is_initialized():
        states["cuda_rng_state"] = torch.cuda.get_rng_state_all()
    return states


def from_study(found: Mapping[str, Any]) -> StateDict:
    """The study's random states in this kit's form; a generator that they leave out stays as it is."""
    states = GlobalGenerators().state_dict()
    if "torch_rng_state" in found:
        states["torch"] = found["torch_rng_state"]
    if "python_rng_state" in found:
        states["python"] = found["python_rng_state"]
    if "numpy_rng_state" in found:
        states["numpy"] = _named(found["numpy_rng_state"])
    if found.get("cuda_rng_state") is not None:
        cuda = found["cuda_rng_state"]
        states["cuda"] = list(cuda) if isinstance(cuda, (list, tuple)) else [cuda]
    return states


def _named(state: Value) -> StateDict:
    """numpy's five, as `numpy.random.get_state()` has them, by name and as plain data."""
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"a {type(state).__name__} where the state of a Mersenne twister belongs")
    kind, keys, position, has_gauss, cached = state
    return {
        "kind": kind, "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)), "position": int(position),
        "has_gauss": int(has_gauss), "cached_gaussian": float(cached),
    }  # fmt: skip  # numpy's five in two lines


def _restore(
    states: StateDict,
    set_python: Callable[[Any], None],
    set_numpy: Callable[[Any], None],
    set_torch: Callable[[Tensor], object],
) -> None:
    kind, keys, position, has_gauss, cached = (
        states["numpy"][name] for name in ("kind", "keys", "position", "has_gauss", "cached_gaussian")
    )
    version, internal, gauss = states["python"]
    set_python((version, tuple(internal), gauss))
    set_numpy((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    set_torch(states["torch"])
