"""The options of an optimizer's groups (learning rates, decay, …), read where they may have changed."""

import operator
from collections.abc import Mapping

import torch

from dora_repro.contracts import Value
from dora_repro.state.digest import PLAIN_SCALARS, digest


class GroupOptions:
    """Tells when the options of all groups are to be noted: after each update, and wherever they have changed."""

    def __init__(self) -> None:
        self._now: dict[str, Value] | None = None
        self._values: list[Value] = []

    def begin(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        """A step begins: what the options are is known."""
        self._now = options_of(optimizers)

    def met(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        """Optimizers were met that were not known when the step began: that is no change of their options."""
        if self._now is not None:
            now = options_of(optimizers)
            self._now = {path: self._now.get(path, value) for path, value in now.items()}

    def updated(self) -> None:
        """An optimizer has stepped: they are to be noted when something else happens, so that a schedule is seen in its
        place."""
        self._now = None

    def to_note(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Value]:
        """The options by path, if they are to be noted now; else nothing."""
        groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
        values = [value for group in groups for option, value in group.items() if option != "params"]
        if self._now is not None and self._same(values):
            return {}
        self._values = values
        now = options_of(optimizers)
        if now == self._now:
            return {}
        self._now = now
        return now

    def _same(self, values: list[Value]) -> bool:
        """Whether these are the very same values as before, and cannot change in place."""
        before = self._values
        return (
            len(values) == len(before)
            and all(map(operator.is_, values, before))
            and all(type(value) in PLAIN_SCALARS or type(value) is tuple for value in values)
        )


def learning_rates(optimizers: Mapping[str, torch.optim.Optimizer]) -> tuple[float, ...]:
    """The learning rate of each parameter group that has one."""
    groups = (group for optimizer in optimizers.values() for group in optimizer.param_groups)
    return tuple(float(group["lr"]) for group in groups if "lr" in group)


def digests_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, bytes]:
    """The digest of every option of every parameter group, by path."""
    options = options_of(optimizers).items()
    return {path: value if isinstance(value, bytes) else digest(value) for path, value in options}


def options_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Value]:
    """Every option of every parameter group by path, as comparable values."""
    return {
        f"{path}/group.{index}/{option}": digest(value) if isinstance(value, torch.Tensor) else value
        for path, optimizer in optimizers.items()
        for index, group in enumerate(optimizer.param_groups)
        for option, value in group.items()
        if option != "params" and not callable(value)
    }
