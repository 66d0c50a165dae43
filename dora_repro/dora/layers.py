"""What a difference means for a DoRA layer: the lengths of its rows, their directions, and the weight in effect.

    weight = m[:, None] · rows_normalised(D + scaling · (B A)ᵀ)        # (out, in), see `subject/model.py`

All in float64, from the parameters as they are. D is frozen, and checkpoints hold no frozen weights: where it is known
from nowhere the low-rank update alone is compared.
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
        whole: whether D is known, so that `weights` are effective weights; else they are the low-rank updates alone.
        lengths: m of both sides  # (out,) each, float64
        turned: 1 − cosine between the rows' directions (of the updates, where not `whole`), NaN for a row of zeros
            # (out,)
        weights: of both sides  # (out, in) each, float64
        moved: distance (Frobenius) of the expected weight from that of the first step; None where it is unknown.
        since: the first step.
    """

    name: str
    rank: int
    whole: bool
    lengths: tuple[np.ndarray, np.ndarray]
    turned: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]
    moved: float | None = None
    since: int | None = None

    @property
    def off(self) -> np.ndarray:
        """The difference of each row of the weight, as a share of the row's length.  # (out,)"""
        size = np.linalg.norm(self.weights[0], axis=1)
        return np.divide(self.row_norms, size, out=np.full_like(size, np.nan), where=size > 0)

    @property
    def row_norms(self) -> np.ndarray:
        """The length of each row of the weight's difference.  # (out,)"""
        norms: np.ndarray = np.linalg.norm(self.weights[1] - self.weights[0], axis=1)
        return norms

    @property
    def of_lengths(self) -> float | None:
        """The share of the lengths in the weight's squared difference; the rest is the directions'.

        None where D is unknown or the weights are equal.

        |m u − n v|² = (m − n)² + 2 m n (1 − cos(u, v)), row by row, exactly.
        """
        total = float((self.row_norms**2).sum())
        gap = float(((self.lengths[1] - self.lengths[0]) ** 2).sum())
        return min(gap / total, 1.0) if self.whole and total else None


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
    moved, since = None, sides.steps[0]
    start = _parts(sides, since, layer, 0, base or {}) if step != since else None
    if start is not None and ("D" in start) >= whole:
        moved = float(np.linalg.norm(weight - _computed(start, whole, alpha)[1]))
    return Layer(
        layer,
        rank=one["delta_D_A"].shape[0],
        whole=whole,
        lengths=(one["m"].numpy(), other["m"].numpy()),
        # For unit vectors 1 − u·v = |u − v|² / 2, which keeps its digits where the cosine is all but 1.
        turned=gap**2 / 2,
        weights=(weight, other_weight),
        moved=moved,
        since=since,
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
            parts[name] = value.detach().cpu().to(torch.float64)
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


def layer_text(layer: Layer, names: tuple[str, str] = ("expected", "actual")) -> str:
    """A DoRA layer of both sides in a few lines: lengths, directions, the weight, and the share of each.

    Args:
        layer: of both sides.
        names: what the sides are called.
    """
    out, into = layer.weights[0].shape
    what = "the effective weight" if layer.whole else "the low-rank update"
    lines = [f"DoRA layer {layer.name}: {out} rows of {into}, rank {layer.rank}."]
    gap = np.abs(layer.lengths[1] - layer.lengths[0])
    lines.append(f"Lengths m: {_at_most(gap, 'differ', 'by at most')}.")
    turned = _at_most(layer.turned, "turn", "by at most 1 − cosine =")
    lines.append(f"Directions{'' if layer.whole else ' of the update'}: {turned}.")
    if not layer.row_norms.any():
        return "\n".join([*lines, f"{what.capitalize()} is equal, computed in float64."])
    size, whole = float(np.linalg.norm(layer.row_norms)), float(np.linalg.norm(layer.weights[0]))
    share = "" if not whole else f"; {100 * size / whole:.3g} % of it"
    said = f"{what.capitalize()} is off by {size:.2e} (Frobenius){share}"
    if layer.moved:
        said += f", and {100 * size / layer.moved:.3g} % of what training has moved it since step {layer.since}"
    lines.append(f"{said}.")
    if layer.of_lengths is not None:
        part = 100 * layer.of_lengths
        lines.append(f"Of its square, {part:.3g} % are the lengths', {100 - part:.3g} % the directions'.")
    if not layer.whole:
        lines.append("The frozen directions D are on neither side: the low-rank update alone is compared, without m.")
    return "\n".join(lines)


def _at_most(sizes: np.ndarray, verb: str, by: str) -> str:
    """In words how many rows differ, and the worst of them."""
    count = int((sizes > 0).sum())
    if not count:
        return "equal in all rows"
    worst = int(np.nanargmax(sizes))
    return f"{count} of {len(sizes)} rows {verb}, {by} {sizes[worst]:.2e} (row {worst})"
