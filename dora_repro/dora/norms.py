"""DoRA parameters over the steps: the length of `m` and the size of the low-rank update, layer by layer."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from dora_repro.comparison.drift import Drift, Values
from dora_repro.errors import BadInput
from dora_repro.subject.model import low_rank_update

Trajectory: TypeAlias = tuple[str, tuple[int, ...], tuple[float, ...]]  # layer, steps, norms
_Leaves: TypeAlias = Mapping[str, torch.Tensor]


def norms(drift: Drift, scaling: float = 1.0) -> dict[str, list[Trajectory]]:
    """‖m‖ and ‖scaling · (B A)ᵀ‖ (Frobenius) of each DoRA layer, of both sides, over the steps that each did.

    Args:
        drift: of a check that recorded the values of these parameters.
        scaling: alpha / r.

    Returns:
        by what is measured, one trajectory for each layer of the first side, then of the second.

    Raises:
        BadInput: there is no DoRA layer among the parameters.
    """
    layers = sorted(path.removesuffix(".m") for path in drift.leaves if path.endswith(".m"))
    layers = [
        layer for layer in layers if f"{layer}.delta_D_A" in drift.leaves and f"{layer}.delta_D_B" in drift.leaves
    ]
    if not layers:
        raise BadInput("there is no DoRA layer among the parameters: ask the check for values='model/*'")
    sides = (drift.expected, drift.actual)
    return {
        "length of m": [_trajectory(side, layer, _magnitude) for side in sides for layer in layers],
        "size of the low-rank update": [
            _trajectory(side, layer, lambda leaves, layer: _update(leaves, layer, scaling))
            for side in sides
            for layer in layers
        ],
    }


def _trajectory(side: Values, layer: str, norm: Callable[[_Leaves, str], float]) -> Trajectory:
    return layer, tuple(side), tuple(norm(leaves, layer) for leaves in side.values())


def _magnitude(leaves: _Leaves, layer: str) -> float:
    return float(leaves[f"{layer}.m"].norm())


def _update(leaves: _Leaves, layer: str, scaling: float) -> float:
    return float(low_rank_update(leaves[f"{layer}.delta_D_A"], leaves[f"{layer}.delta_D_B"], scaling).norm())
