"""A loss that is scaled by hand, as for half precision: `(loss * scale).backward()`, and gradients divided again.

The scale is memory, as a `GradScaler`'s is, where the optimizer steps with the very gradients that the loss itself
would have given, or with what clipping makes of these: all times one number, or each held within one bound. Where the
clipping has seen the scale, the update is another one, and shows it. A loss that is divided for its own sake (by a
number of micro-batches) is not divided again: that is known when the optimizer steps, and its number counts as it is.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import scalar_factor
from dora_repro.recording.events import Event
from dora_repro.state.digest import digest, is_dense


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
        self._unscaled: dict[str, bytes] = {}  # leaf -> digest of what its gradient is without the scale
        self._looked_at: dict[str, torch.Tensor] = {}  # the smallest of them, as they are without the scale
        self._divided = False  # by a number of micro-batches, it seems: no scale

    def begin(self) -> None:
        """A step begins."""
        self._losses.clear()
        self._gradients.clear()
        self._forget()

    def _forget(self) -> None:
        self._unscaled, self._looked_at = {}, {}

    def loss(self, event: Event, leaf: str, value: Value, factor: float) -> None:
        """A loss that backward is called on, recorded as `leaf` of an event."""
        if factor != 1.0 and isinstance(value, torch.Tensor):
            self._losses.append((event, leaf, digest(value.detach() / factor)))

    def gradients(self, event: Event, parameters: dict[str, torch.Tensor], factor: float) -> None:
        """The gradients of parameters, recorded as leaves of an event, after a loss was scaled."""
        self._gradients.append((event, parameters))
        self._forget()
        self._divided = factor < 1.0
        if factor != 1.0:
            arrived = {leaf: one.grad.detach() for leaf, one in parameters.items() if one.grad is not None}
            smallest = sorted(arrived, key=lambda leaf: arrived[leaf].numel())[:_LOOKED_AT]
            self._unscaled = {leaf: digest(grad / factor) for leaf, grad in arrived.items()}
            self._looked_at = {leaf: arrived[leaf] / factor for leaf in smallest}

    def stepping(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step: with gradients as they arrived, or without the scale."""
        if not self._looked_at:
            return
        given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        last = self._gradients[-1][1]
        pairs = [(one, last[leaf].grad) for leaf, one in self._looked_at.items() if id(last[leaf]) in given]
        if not pairs:
            return
        there = [(one, grad.detach()) for one, grad in pairs if grad is not None]
        if all(_equal(*pair) for pair in there) or (not self._divided and is_clipped(there)):
            self._write_over()
        self.begin()

    def _write_over(self) -> None:
        for event, leaf, found in self._losses:
            event.digests[leaf] = found
        *before, (event, parameters) = self._gradients
        for earlier, leaves in before:  # sums of fewer micro-batches: the last has all of them
            earlier.digests |= dict.fromkeys(leaves, b"")
        event.digests |= {leaf: self._unscaled[leaf] for leaf in parameters if leaf in self._unscaled}


_LOOKED_AT = 4  # a scale is undone for all parameters or for none
_ROUNDED = 2  # units in the last place


def is_clipped(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    """Whether gradients are what clipping may have made of others: all times one number below 1, or each held within
    one bound. A power of two is none of its numbers, but what a scale leaves that is not undone.

    Args:
        pairs: gradients before clipping, and as an optimizer steps with them.
    """
    if not pairs or not all(_may_be_clipped(*pair) for pair in pairs):
        return False
    largest = max(pairs, key=lambda pair: float(pair[0].abs().max()))
    at = int(largest[0].abs().argmax())
    before, after = (float(one.flatten()[at]) for one in largest)
    if not before or not 0 < (quotient := after / before) < 1:
        return False
    bound = abs(after)
    if all(_equal(one.clamp(-bound, bound), other) for one, other in pairs):
        return True
    return math.frexp(quotient)[0] != 0.5 and any(
        all(_equal(one * number, other) for one, other in pairs) for number in _near(quotient, pairs[0][1])
    )


def _may_be_clipped(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not (is_dense(one) and is_dense(other)):
        return False
    alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return alike and one.numel() > 0 and one.is_floating_point()


def _near(quotient: float, like: torch.Tensor) -> Iterator[torch.Tensor]:
    """Numbers of a tensor's own precision about a quotient of two that were rounded."""
    number = torch.tensor(quotient, dtype=like.dtype, device=like.device)
    yield number
    for way in (math.inf, -math.inf):
        near = number
        for _ in range(_ROUNDED):
            near = torch.nextafter(near, torch.full_like(near, way))
            yield near


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return digest(one) == digest(other)
