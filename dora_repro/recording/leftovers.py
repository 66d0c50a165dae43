"""Gradients that nobody works with: added to what an earlier update left, and thrown away before another one.

Where a generator is trained first, the backward pass of its loss reaches the critic, too, whose gradients still hold
those of the step before; `zero_grad()` of the critic's optimizer then throws the sum away. A resumed run has nothing
left of the step before: the sum is another one, and nothing hangs on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from dora_repro.recording.events import Event
from dora_repro.state.digest import is_dense
from dora_repro.trace import Recorded


@dataclass
class _Sum:
    """A gradient that a backward pass added to what was there.

    Attributes:
        parameter: the parameter.
        event: what it was recorded in.
        leaf: its leaf there.
        where: the same, once the step is over.
    """

    parameter: torch.Tensor
    event: Event
    leaf: str
    where: Recorded | None = None


class Leftovers:
    """Follows such sums from the backward pass to the update that works with them, or to `zero_grad`."""

    def __init__(self) -> None:
        self._had: set[int] = set()  # ids of parameters that had a gradient when the present backward pass began
        self._sums: list[_Sum] = []
        self._thrown_away: list[_Sum] = []

    def backward_begins(self, parameters: Mapping[int, torch.Tensor], held: Iterable[int]) -> None:
        """A backward pass begins, and adds to the gradients that there are.

        Args:
            parameters: the run's parameters, by id.
            held: ids of those that an optimizer has.
        """
        self._look()
        self._had = {key for key in held if key in parameters and not _is_zero(parameters[key])}

    def recorded(self, event: Event, leaf: str, parameter: torch.Tensor) -> None:
        """A gradient was recorded as a leaf of an event, after the backward pass that began last."""
        if id(parameter) in self._had:
            self._sums.append(_Sum(parameter, event, leaf))

    def stepping(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer steps, with the gradients of what it has."""
        if self._sums:
            used = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            self._sums = [one for one in self._sums if id(one.parameter) not in used]

    def step_is_over(self, number: int, events: Iterable[tuple[str, Event]]) -> tuple[Recorded, ...]:
        """Where the gradients were recorded, in this step or before, that this step has thrown away.

        Args:
            number: the number of the step.
            events: its events, each with its phase.
        """
        self._look()
        self._had = set()
        if not (self._sums or self._thrown_away):
            return ()
        phases = {id(event): phase for phase, event in events}
        for one in (*self._sums, *self._thrown_away):
            if one.where is None and id(one.event) in phases:
                one.where = Recorded(number, phases[id(one.event)], one.leaf)
        settled = tuple(one.where for one in self._thrown_away if one.where is not None)
        self._thrown_away = [one for one in self._thrown_away if one.where is None]  # of the next step, begun before
        return settled

    def _look(self) -> None:
        """Find what was thrown away since."""
        kept: list[_Sum] = []
        for one in self._sums:
            (self._thrown_away if _is_zero(one.parameter) else kept).append(one)
        self._sums = kept


def _is_zero(parameter: torch.Tensor) -> bool:
    gradient = parameter.grad
    return gradient is None or (is_dense(gradient) and not bool(gradient.any()))
