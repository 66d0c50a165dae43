"""What a difference means for a DoRA layer: the lengths of its rows, their directions, and the weight in effect.

    weight = m[:, None] · rows_normalised(D + scaling · (B A)ᵀ)        # (out, in), see `subject/model.py`

All in float64, from the parameters as they are. D is frozen, and checkpoints hold no frozen weights: where it is
unknown the low-rank update alone is compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dora_repro.comparison.stepwise import Leaves, Sides
from dora_repro.state.snapshot import SavedLeaf
from dora_repro.subject.model import low_rank_update


@dataclass(frozen=True)
class Layer:
    """A DoRA layer of both sides; letters as in `DoRALinear`.

    Attributes:
        name: path of the layer.
        rank: of its update.
        has_directions: whether D is known, so that `weights` are effective weights; else they are low-rank updates.
        magnitudes: m of both sides  # (out,) each, float64
        rotations: 1 − cosine between the rows' directions (of the updates, where D is unknown), NaN for a row of
            zeros  # (out,)
        weights: of both sides  # (out, in) each, float64
        trained_distance: Frobenius distance of the expected weight from that of the first step; None where unknown.
        first_step: None where the sides have no steps.
    """

    name: str
    rank: int
    has_directions: bool
    magnitudes: tuple[np.ndarray, np.ndarray]
    rotations: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]
    trained_distance: float | None = None
    first_step: int | None = None

    @property
    def relative_distances(self) -> np.ndarray:
        """The difference of each row of the weight, as a share of the row's length.  # (out,)"""
        size = np.linalg.norm(self.weights[0], axis=1)
        return np.divide(self.row_distances, size, out=np.full_like(size, np.nan), where=size > 0)

    @property
    def row_distances(self) -> np.ndarray:
        """The length of each row of the weight's difference.  # (out,)"""
        norms: np.ndarray = np.linalg.norm(self.weights[1] - self.weights[0], axis=1)
        return norms

    @property
    def magnitude_share(self) -> float | None:
        """The share of the lengths in the weight's squared difference; the rest is the directions'.

        None where D is unknown or the weights are equal.

        |m u − n v|² = (m − n)² + 2 m n (1 − cos(u, v)), row by row, exactly.
        """
        total = float((self.row_distances**2).sum())
        gap = float(((self.magnitudes[1] - self.magnitudes[0]) ** 2).sum())
        return min(gap / total, 1.0) if self.has_directions and total else None


def layer_of(leaf: str) -> str | None:
    """The DoRA layer that a parameter belongs to by its name; None for any other leaf."""
    layer, _, part = leaf.rpartition(".")
    return layer if layer and part in ("m", "delta_D_A", "delta_D_B", "D") else None


def dora_layer(
    sides: Sides, step: int | None, leaf: str, base: Mapping[str, object] | None = None, alpha: float = 16.0
) -> Layer | str:
    """The DoRA layer that a leaf belongs to, or why there is none.

    Args:
        sides: two sets of leaves.
        step: at which to compare; None where the sides have no steps.
        leaf: path of one of the layer's parameters.
        base: frozen directions D, by path, which both sides share and neither holds; a snapshot or a mapping.
        alpha: scaling is alpha / rank where the sides do not say it (snapshots do: `…/scaling`).
    """
    layer = layer_of(leaf)
    if layer is None:
        return f"{leaf} is no parameter of a DoRA layer (m, delta_D_A, delta_D_B)."
    one, other = (_parts(sides, step, layer, index, base or {}) for index in (0, 1))
    if one is None or other is None:
        return f"m, delta_D_A and delta_D_B of {layer} are not all there on both sides, in shapes that fit."
    whole = "D" in one and "D" in other
    (directions, weight), (other_directions, other_weight) = (_computed(parts, whole, alpha) for parts in (one, other))
    gap = np.linalg.norm(other_directions - directions, axis=1)
    trained_distance, first_step = None, sides.steps[0]
    start = _parts(sides, first_step, layer, 0, base or {}) if step != first_step else None
    if start is not None and ("D" in start) >= whole:
        trained_distance = float(np.linalg.norm(weight - _computed(start, whole, alpha)[1]))
    return Layer(
        layer,
        rank=one["delta_D_A"].shape[0],
        has_directions=whole,
        magnitudes=(one["m"].numpy(), other["m"].numpy()),
        # For unit vectors 1 − u·v = |u − v|² / 2, which keeps its digits where the cosine is all but 1.
        rotations=gap**2 / 2,
        weights=(weight, other_weight),
        trained_distance=trained_distance,
        first_step=first_step,
    )


def _parts(sides: Sides, step: int | None, layer: str, index: int, base: Leaves) -> dict[str, Tensor] | None:
    """What one side holds of a layer, in float64; None where a part is missing or its shape does not fit."""
    parts = {}
    for name in ("m", "delta_D_A", "delta_D_B", "D"):
        value = sides.values(step, f"{layer}.{name}")[index]
        if value is None and name == "D":
            value = base.get(f"{layer}.D")
            value = value.value if isinstance(value, SavedLeaf) else value
        if isinstance(value, Tensor) and value.is_floating_point() and value.layout is torch.strided:
            parts[name] = value.detach().cpu().to(torch.float64).resolve_neg()
    if not {"m", "delta_D_A", "delta_D_B"} <= parts.keys():
        return None
    (out,), down, up = parts["m"].shape if parts["m"].dim() == 1 else (-1,), parts["delta_D_A"], parts["delta_D_B"]
    if down.dim() != 2 or up.dim() != 2 or down.shape != (up.shape[1], out):
        return None
    if "D" in parts and parts["D"].shape != (out, up.shape[0]):
        return None
    scaling = sides.values(step, f"{layer}/scaling")[index]
    if isinstance(scaling, (int, float)):
        parts["scaling"] = torch.tensor(float(scaling), dtype=torch.float64)
    return parts


def _computed(parts: Mapping[str, Tensor], whole: bool, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """(directions with rows of length one, effective weight), or of the low-rank update alone.  # (out, in) each"""
    scaling = float(parts.get("scaling", alpha / max(len(parts["delta_D_A"]), 1)))
    update = low_rank_update(parts["delta_D_A"], parts["delta_D_B"], scaling)
    direction = parts["D"] + update if whole else update
    unit = direction / direction.norm(dim=1, keepdim=True)  # a row of zeros has no direction: NaN
    return unit.numpy(), (parts["m"][:, None] * unit if whole else update).numpy()


def layer_text(layer: Layer) -> str:
    """A DoRA layer of both sides in a few lines: lengths, directions, the weight, and the share of each."""
    out, into = layer.weights[0].shape
    what = "the effective weight" if layer.has_directions else "the low-rank update"
    lines = [f"DoRA layer {layer.name}: {out} rows of {into}, rank {layer.rank}."]
    gap = np.abs(layer.magnitudes[1] - layer.magnitudes[0])
    lines.append(f"Lengths m: {_at_most(gap, 'differ', 'by at most')}.")
    rotations = _at_most(layer.rotations, "differ", "by at most 1 − cosine =")
    lines.append(f"Directions{'' if layer.has_directions else ' of the update'}: {rotations}.")
    if not layer.row_distances.any():
        return "\n".join([*lines, f"{what.capitalize()} is equal, computed in float64."])
    size, whole = float(np.linalg.norm(layer.row_distances)), float(np.linalg.norm(layer.weights[0]))
    share = "" if not whole else f"; {100 * size / whole:.3g} % of it"
    sentence = f"{what.capitalize()} differs by {size:.2e} (Frobenius){share}"
    if layer.trained_distance:
        percent = f"{100 * size / layer.trained_distance:.3g} %"
        sentence += f", and {percent} of its change in training since step {layer.first_step}"
    lines.append(f"{sentence}.")
    if layer.magnitude_share is not None:
        part = 100 * layer.magnitude_share
        lines.append(f"Share of its square: lengths {part:.3g} %, directions {100 - part:.3g} %.")
    if not layer.has_directions:
        lines.append("The frozen directions D are on neither side: the low-rank update alone is compared, without m.")
    return "\n".join(lines)


def _at_most(sizes: np.ndarray, verb: str, by: str) -> str:
    """In words how many rows differ, and the worst of them."""
    count = int((sizes > 0).sum())
    if not count:
        return "equal in all rows"
    worst = int(np.nanargmax(sizes))
    return f"{count} of {len(sizes)} rows {verb}, {by} {sizes[worst]:.2e} (row {worst})"
