"""Whether a state from a file can be taken by the objects of a run, found before anything of the run is changed.

Kinds are compared with what the run itself would save. What remains, torch decides when it steps: copies take the state
and step once.
"""

import copy
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.contracts import Value

StateDict: TypeAlias = dict[str, Any]
"""Any, as in torch's own state dicts: a state comes from a file, and `check` proves what is in it."""

_LARGEST = 2**63  # counters are 64-bit numbers wherever they are used


def require_kind(given: Any, own: Any, where: str) -> None:
    """Refuse a value of another kind than the run's own.

    Args:
        given: from the file.
        own: what the run has in its place; where it has None, None and any plain number or text is allowed.
        where: its name, for the message.

    Raises:
        TypeError: it is of another kind: its type, the dtype and shape of a tensor, its keys, its length.
        ValueError: a number that no counter reaches.
    """
    fits: bool
    if own is None:
        fits = given is None or isinstance(given, (bool, int, float, str))
    elif isinstance(own, Tensor):
        fits = isinstance(given, Tensor) and (given.dtype, given.shape) == (own.dtype, own.shape)
    elif isinstance(own, bool):
        fits = isinstance(given, bool) or given is None  # options such as `foreach` have three values
    elif isinstance(own, float):
        fits = type(given) in (int, float)
    else:
        fits = type(given) is type(own)
    if isinstance(own, dict) and isinstance(given, dict):
        fits = given.keys() <= own.keys()
    if isinstance(own, (list, tuple)) and isinstance(given, (list, tuple)):
        fits = fits and len(given) == len(own)
    if not fits:
        raise TypeError(f"{where} is {_words(given)}, and this run has {_words(own)}")
    if isinstance(given, int) and abs(given) >= _LARGEST:
        raise ValueError(f"{where} is {given:.3g}")
    if isinstance(given, dict):
        for key, value in given.items():
            require_kind(value, own[key], f"{where}/{key}")
    elif isinstance(given, (list, tuple)):
        for index, (value, its) in enumerate(zip(given, own, strict=True)):
            require_kind(value, its, f"{where}/{index}")


def require_numbers(given: Any, where: str) -> None:
    """Refuse what is no list of numbers.

    Raises:
        TypeError: it is not.
    """
    if type(given) is not list or not all(type(item) in (int, float) for item in given):
        raise TypeError(f"{where} is {_words(given)}, and no list of numbers")


def rehearse(optimizer: Optimizer, state: StateDict) -> None:
    """Let a copy of an optimizer take a state and step once, with gradients of zero.

    Raises:
        Exception: what torch raises, where it cannot.
    """
    copied = copy.deepcopy(optimizer)
    copied.load_state_dict(copy.deepcopy(state))
    _step_once(copied)


def _step_once(optimizer: Optimizer) -> None:
    """Let an optimizer that is nobody's step, with gradients of zero."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    # The bare function: neither what a schedule has put in its place, which steps the optimizer itself, nor the hooks
    # of whoever records the updates.
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def rehearse_schedule(scheduler: LRScheduler, state: StateDict, steps: int) -> None:
    """Let a copy of a schedule take a state and step, over a copy of its optimizer, which then takes a step with the
    largest rate that was set.

    Args:
        scheduler: whose state it is.
        state: from the file.
        steps: how often the schedule steps.

    Raises:
        Exception: what torch raises, where it cannot.
    """
    optimizer, rehearsed = copy.deepcopy(scheduler.optimizer), copy.copy(scheduler)
    rehearsed.optimizer = optimizer
    rehearsed.load_state_dict(copy.deepcopy(state))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimizer has stepped
        largest = [group["lr"] for group in optimizer.param_groups]
        for _ in range(steps):
            rehearsed.step()
            largest = [
                max(rate, group["lr"], key=abs) for rate, group in zip(largest, optimizer.param_groups, strict=True)
            ]
    for rate, group in zip(largest, optimizer.param_groups, strict=True):
        group["lr"] = rate
    _step_once(optimizer)


def _words(value: Value) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(str, list(value)[:6]))}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
