"""How far two runs drift apart, parameter by parameter and step by step, from the values stored of both.

Bytes decide what is equal (`comparison/leaves.py`); this measures how a difference grows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from dora_repro.errors import BadInput
from dora_repro.state.distance import distance
from dora_repro.wording import counted

Values: TypeAlias = Mapping[int, Mapping[str, torch.Tensor]]
"""Step -> path -> tensor."""


@dataclass(frozen=True)
class Drift:
    """How far apart the parameters of two runs are, over the steps that both did.

    Attributes:
        steps: numbers of the steps, in order; the first is the one after which the second run was loaded.
        leaves: paths of the parameters that both have, in the order of the first run.
        max_abs: largest absolute difference; NaN where either side holds a NaN among what differs  # (leaves, steps)
        max_ulp: largest distance in units in the last place; 0 where all bytes are equal  # (leaves, steps), uint64
        share: share of elements whose bytes differ, from 0 to 1  # (leaves, steps)
        expected: values of the first run, by step and path, from its own first step on.
        actual: values of the second run, likewise.
    """

    steps: tuple[int, ...]
    leaves: tuple[str, ...]
    max_abs: np.ndarray
    max_ulp: np.ndarray
    share: np.ndarray
    expected: Values
    actual: Values

    @classmethod
    def between(cls, expected: Values, actual: Values) -> "Drift":
        """Measure two runs.

        Args:
            expected: values of the first run, by step and path.
            actual: values of the second run.

        Raises:
            BadInput: they have no step or no parameter in common.
        """
        steps = tuple(step for step in expected if step in actual)
        leaves = tuple(path for path in expected[steps[0]] if path in actual[steps[0]]) if steps else ()
        if not leaves:
            what = "parameter" if steps else "step"
            raise BadInput(f"the two runs have no {what} in common: there is nothing to measure")
        shape = len(leaves), len(steps)
        max_abs, max_ulp, share = np.zeros(shape), np.zeros(shape, np.uint64), np.zeros(shape)
        for row, path in enumerate(leaves):
            for column, step in enumerate(steps):
                measured = _measure(expected[step].get(path), actual[step].get(path))
                max_abs[row, column], max_ulp[row, column], share[row, column] = measured
        return cls(steps, leaves, max_abs, max_ulp, share, expected, actual)

    @property
    def first(self) -> tuple[int, str] | None:
        """The first step at whose end a parameter differs, and the first such parameter; None where all are equal."""
        rows, columns = np.nonzero(self.share)
        if not len(columns):
            return None
        column = columns.min()
        return self.steps[column], self.leaves[rows[columns == column].min()]

    def after(self, steps: int) -> float:
        """The largest absolute difference of any parameter, `steps` steps after loading.

        Args:
            steps: number of steps after the one at which the second run was loaded.

        Raises:
            BadInput: the runs did not go that far.
        """
        wanted = self.steps[0] + steps
        if wanted not in self.steps:
            done = counted(self.steps[-1] - self.steps[0], "step")
            raise BadInput(f"steps={steps}: both runs did {done} after loading")
        return float(self.max_abs[:, self.steps.index(wanted)].max())

    def __repr__(self) -> str:
        parameters = counted(len(self.leaves), "parameter")
        return f"Drift({parameters}, steps {self.steps[0]}–{self.steps[-1]}, first at {self.first})"


def _measure(expected: torch.Tensor | None, actual: torch.Tensor | None) -> tuple[float, int, float]:
    """Largest absolute difference, largest ULP distance, and share of elements that differ, of one parameter."""
    if expected is None or actual is None or expected.shape != actual.shape or expected.dtype != actual.dtype:
        return math.nan, 0, 1.0
    found = distance(expected, actual)
    if found is None:
        return 0.0, 0, 0.0
    max_abs = math.nan if found.nan or found.max_abs is None else found.max_abs
    return max_abs, found.max_ulp or 0, found.differing / expected.numel()
