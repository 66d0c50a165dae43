"""Put values into live tensors, arrays and plain containers in place; where they do not fit, into their holder.

The walk knows each place in a holder (an attribute, a key, a position) as a *setter*, None where nothing can be set
(inside a frame, a set, a partial).
"""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.state.digest import is_dense

Setter: TypeAlias = Callable[[Any], object] | None
"""Sets a new value; what it returns does not count. `Any`: a setter for a number raises where it is given a list."""


def _replace(hold: Setter, value: Value) -> None:
    if hold is None:
        raise TypeError("its holder takes no other object")
    hold(value)


def put_tensor(live: torch.Tensor, hold: Setter, value: Value) -> None:
    """Set a live tensor's elements; where dtype, shape or layout differ, it gets new data or is replaced.

    Args:
        live: the tensor to write to.
        hold: makes its holder hold another object; None where that cannot be.
        value: what it is to be: a tensor, or anything else that its holder takes in its place.
    """
    if not isinstance(value, torch.Tensor):
        _replace(hold, value)
        return
    value = value.detach()
    dense = is_dense(live) and is_dense(value)
    if torch.nn.parameter.is_lazy(live):
        lazy: Any = live  # torch's stubs know no class for parameters and buffers without a shape
        lazy.materialize(value.shape, dtype=value.dtype)
        put_tensor(live, hold, value)
    elif dense and value.shape == live.shape and value.dtype == live.dtype:
        with torch.no_grad():
            live.detach().copy_(value)
    elif isinstance(live, torch.nn.Parameter) or hold is None:
        live.data = value.clone().to(live.device)
    else:
        hold(value.clone().to(live.device).requires_grad_(live.requires_grad))


def put_array(live: np.ndarray, hold: Setter, value: Value) -> None:
    """Set a live array's elements; where dtype or shape differ, its holder gets a new array."""
    same = isinstance(value, np.ndarray) and value.shape == live.shape and value.dtype == live.dtype
    if same and live.flags.writeable:
        live[...] = value
    else:
        _replace(hold, value)


def put_plain(live: Value, hold: Setter, value: Value) -> None:
    """Set a plain container's items, or give its holder a new one: of the same type, where a list stands for it."""
    if isinstance(live, list) and type(value) is list:
        live[:] = value
    elif isinstance(live, deque) and type(value) is list:
        live.clear()
        live.extend(value)
    elif isinstance(live, dict) and type(value) is dict:
        live.clear()
        live.update(value)
    elif isinstance(live, set) and type(value) is set:
        live.clear()
        live.update(value)
    elif isinstance(live, tuple) and type(value) is list and type(live) is not tuple:
        kind = type(live)
        _replace(hold, kind(*value) if hasattr(kind, "_fields") else kind(value))
    else:
        _replace(hold, value)
