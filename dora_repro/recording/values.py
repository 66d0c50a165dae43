"""Values of parameters that are stored at the end of every step, beside their digests, so that two runs can be drawn.

They take memory for each step: up to a limit for all steps together, and beyond that none is stored.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch

from dora_repro.state.digest import is_dense
from dora_repro.state.paths import select

Values: TypeAlias = dict[int, dict[str, torch.Tensor]]
"""Step -> path -> value of a parameter."""

VALUES_LIMIT = 1 << 28  # bytes of parameters stored for all steps together


class ParameterValues:
    """Stores the values of some parameters, step by step.

    Args:
        wanted: globs of their paths.

    Attributes:
        by_step: step -> path -> tensor on the host; empty once the values would take more than `VALUES_LIMIT` bytes.
    """

    def __init__(self, wanted: Iterable[str] = ()):
        self.by_step: Values = {}
        self._wanted = tuple(wanted)
        self._bytes = 0

    @property
    def dropped(self) -> bool:
        """Whether the values took more than `VALUES_LIMIT` bytes, so that none are stored."""
        return self._bytes > VALUES_LIMIT

    def store(self, step: int, parameters: Mapping[str, torch.Tensor]) -> None:
        """Clone what is wanted of the parameters, as they are at the end of a step.

        Args:
            step: the number of the step.
            parameters: all of the run, by path.
        """
        if not self._wanted:
            return
        wanted = {path: parameters[path].detach() for path in select(self._wanted, parameters)}
        self._bytes += sum(parameter.nbytes for parameter in wanted.values() if is_dense(parameter))
        if self.dropped:
            self._wanted, self.by_step = (), {}
        else:
            self.by_step[step] = {path: parameter.to("cpu", copy=True) for path, parameter in wanted.items()}
