"""DoRA parameters over the steps: the length of `m` and the size of the low-rank update, layer by layer."""

from collections.abc import Mapping

import torch

from dora_repro.comparison.drift import Drift, Values
from dora_repro.errors import BadInput
from dora_repro.subject.model import low_rank_update

Course = tuple[str, tuple[int, ...], tuple[float, ...]]  # layer, steps, norms


def norms(drift: Drift, scaling: float = 1.0) -> dict[str, list[Course]]:
    """‖m‖ and ‖scaling · (B A)ᵀ‖ (Frobenius) of each DoRA layer, of both sides, over the steps that each did.

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
        "length of m": [_course(side, layer, _magnitude) for side in sides for layer in layers],
        "size of the low-rank update": [
            _course(side, layer, lambda held, layer: _update(held, layer, scaling))
            for side in sides
            for layer in layers
        ],
    }


def _course(side: Values, layer: str, norm) -> Course:
    return layer, tuple(side), tuple(norm(held, layer) for held in side.values())


def _magnitude(held: Mapping[str, torch.Tensor], layer: str) -> float:
    return float(held[f"{layer}.m"].norm())


def _update(held: Mapping[str, torch.Tensor], layer: str, scaling: float) -> float:
    return float(low_rank_update(held[f"{layer}.delta_D_A"], held[f"{layer}.delta_D_B"], scaling).norm())
