"""What torch has no hook for: backward passes, gradients that are asked for, making and loading of any optimizer, a
process that ends at once.

The functions are wrapped where torch and scripts look them up. A wrapper finds its caller's frame for who listens.
"""

import functools
import os
import types
from collections.abc import Callable
from typing import Any

import torch

from dora_repro.private_names.of_cpython import get_frame

Before = Callable[[types.FrameType | None], bool]


def to_backward(before: Before, after: Callable[[], None]) -> None:
    """Listen to backward passes.

    Args:
        before: called with the caller's frame; returns whether a recorder has just begun, which wraps the function by
            itself and must see who calls it.
        after: called when a pass is over.
    """
    real = torch.autograd.backward

    @functools.wraps(real)
    def backward(*args: Any, **kwargs: Any) -> None:
        if before(get_frame(1)):
            return torch.autograd.backward(*args, **kwargs)
        real(*args, **kwargs)
        after()

    torch.autograd.backward = backward


def to_grad(before: Before, then: Callable[[types.FrameType | None], None]) -> None:
    """Listen to gradients that are asked for.

    Args:
        before: as for backward passes.
        then: called with the caller's frame, before they are computed.
    """
    real = torch.autograd.grad

    @functools.wraps(real)
    def grad(*args: Any, **kwargs: Any) -> Any:
        if before(get_frame(1)):
            return torch.autograd.grad(*args, **kwargs)
        then(get_frame(1))
        return real(*args, **kwargs)

    torch.autograd.grad = grad


def to_optimizer_loading(then: Callable[[torch.optim.Optimizer], None]) -> None:
    """Call a function with each optimizer that has loaded its state."""
    _after("load_state_dict", then)


def to_optimizer_making(then: Callable[[torch.optim.Optimizer], None]) -> None:
    """Call a function with each optimizer that is made."""
    _after("__init__", then)


def to_optimizer_state(then: Callable[[torch.optim.Optimizer], None]) -> None:
    """Call a function with each optimizer that was asked for its state."""
    _after("state_dict", then)


def _after(name: str, then: Callable[[torch.optim.Optimizer], None]) -> None:
    """Call a function with each optimizer one of whose methods has returned."""
    kind: Any = torch.optim.Optimizer
    real: Any = getattr(kind, name)

    @functools.wraps(real)
    def method(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        result = real(optimizer, *args, **kwargs)
        then(optimizer)
        return result

    setattr(kind, name, method)


def to_exit(before: Callable[[], None]) -> None:
    """Call a function where the script leaves without Python's own way out."""
    real = os._exit

    def _exit(status: int) -> None:
        before()
        real(status)

    os._exit = _exit  # type: ignore[assignment]  # typeshed says NoReturn
