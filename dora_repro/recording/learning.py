"""Whether a run learns at all: what it trains, whether gradients reach that, and whether it changes.

A check of a run that does not learn compares nothing: that is no pass.
"""

from collections.abc import Mapping
from typing import TypedDict

import torch

from dora_repro.state.digest import digest_tensor


class Facts(TypedDict):
    """What distinguishes a test from an empty one.

    Attributes:
        trainable: path -> number of elements of each trainable parameter.
        gradients: whether any gradient was not zero; None where no gradient was seen.
        changed: whether any trainable parameter changed.
        values_dropped: whether the wanted values took more than `VALUES_LIMIT` bytes, so that none were stored.
    """

    trainable: dict[str, int]
    gradients: bool | None
    changed: bool
    values_dropped: bool


class Learning:
    """Follows what a run trains.

    Args:
        parameters: its parameters by path, before its first recorded step.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]):
        self._first = {path: digest_tensor(parameter) for path, parameter in parameters.items()}
        self._trained: dict[str, int] = {}  # path -> number of elements of what was trained in any step
        self._gradients: bool | None = None

    def gradient(self, gradient: torch.Tensor) -> None:
        """A gradient arrived."""
        if not self._gradients:
            self._gradients = bool(gradient.any())

    def trained(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """A step may have trained these."""
        self._trained |= {path: parameter.numel() for path, parameter in parameters.items()}

    def facts(self, parameters: Mapping[str, torch.Tensor], values_dropped: bool) -> Facts:
        """The facts so far.

        Args:
            parameters: the parameters of the run by path, as they are now.
            values_dropped: as of `Facts`.
        """
        trainable = self._trained or {path: parameter.numel() for path, parameter in parameters.items()}
        trained = ((path, parameter) for path, parameter in parameters.items() if path in trainable)
        changed = any(digest_tensor(parameter) != self._first.get(path) for path, parameter in trained)
        return {
            "trainable": trainable,
            "gradients": self._gradients,
            "changed": changed,
            "values_dropped": values_dropped,
        }
