"""A loss that is scaled by hand, as for half precision: `(loss * scale).backward()`, and gradients divided again.

The scale is memory, as a `GradScaler`'s is, where the optimizer steps with the very gradients that the loss itself
would have given. A loss that is divided for its own sake (by a number of micro-batches) is not divided again: that is
known when the optimizer steps, and its number counts as it is.
"""

import math

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import scalar_factor
from dora_repro.recording.events import Event
from dora_repro.state.digest import digest


def factor_of(loss: Value) -> float:
    """The power of two that a loss was multiplied by last; 1 where it was not, or by another number."""
    factor = scalar_factor(loss) if isinstance(loss, torch.Tensor) else None
    if factor is None or not math.isfinite(factor) or factor <= 0 or math.frexp(factor)[0] != 0.5:
        return 1.0
    return factor


class HandScaling:
    """What was recorded in a step of a loss that may be scaled by hand, and what it is without the scale.

    Each step is judged by itself, so that two runs judge the same step alike.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[Event, str, bytes]] = []
        self._gradients: list[tuple[Event, dict[str, torch.Tensor]]] = []
        self._expected: dict[str, bytes] = {}  # leaf -> digest of what the smallest gradients are without the scale

    def begin(self) -> None:
        """A step begins."""
        self._losses.clear()
        self._gradients.clear()
        self._expected.clear()

    def loss(self, event: Event, leaf: str, value: Value, factor: float) -> None:
        """A loss that backward is called on, recorded as `leaf` of an event."""
        if factor != 1.0 and isinstance(value, torch.Tensor):
            self._losses.append((event, leaf, digest(value.detach() / factor)))

    def gradients(self, event: Event, parameters: dict[str, torch.Tensor], factor: float) -> None:
        """The gradients of parameters, recorded as leaves of an event, after a loss was scaled."""
        self._gradients.append((event, parameters))
        self._expected.clear()
        if factor != 1.0:
            smallest = sorted(parameters, key=lambda leaf: parameters[leaf].numel())[:_LOOKED_AT]
            arrived = ((leaf, parameters[leaf].grad) for leaf in smallest)
            self._expected = {leaf: digest(grad.detach() / factor) for leaf, grad in arrived if grad is not None}

    def stepping(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step: with gradients as they arrived, or without the scale."""
        if not self._expected:
            return
        given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        last = self._gradients[-1][1]
        looked_at = [leaf for leaf in self._expected if id(last[leaf]) in given]
        if not looked_at:
            return
        if all(digest(last[leaf].grad) == self._expected[leaf] for leaf in looked_at):
            self._write_over()
        self.begin()

    def _write_over(self) -> None:
        for event, leaf, found in self._losses:
            event.digests[leaf] = found
        *before, (event, parameters) = self._gradients
        for earlier, leaves in before:  # sums of fewer micro-batches: the last has all of them
            earlier.digests |= dict.fromkeys(leaves, b"")
        event.digests |= {leaf: digest(parameter.grad) for leaf, parameter in parameters.items()}


_LOOKED_AT = 4  # a scale is undone for all parameters or for none
