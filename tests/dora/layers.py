"""One DoRA layer as leaves, two runs of it, and two whole layers: for tests of layers and of what compares them."""

import torch

from dora_repro.subject.model import DoRALinear

LAYER = "model/block.0.out_proj"


def layer_leaves(seed: int = 0, out: int = 5, into: int = 7, rank: int = 2) -> dict[str, torch.Tensor]:
    """m, delta_D_A, delta_D_B of one layer, by path."""
    torch.manual_seed(seed)
    dora = DoRALinear(torch.randn(out, into), rank=rank, alpha=16.0)
    return {f"{LAYER}.{name}": value.detach().clone() for name, value in dora.named_parameters()}


def two_runs(steps: int = 4, from_step: int = 2) -> tuple[dict, dict]:
    """Leaves by step; the second side differs in m from `from_step` on, and in delta_D_A one step later."""
    one = {step: {name: value + 0.01 * step for name, value in layer_leaves().items()} for step in range(steps)}
    other = {step: {name: value.clone() for name, value in leaves.items()} for step, leaves in one.items()}
    for step in range(from_step, steps):
        other[step][f"{LAYER}.m"][3] += 1e-3
        if step > from_step:
            other[step][f"{LAYER}.delta_D_A"][1, 2] += 1e-2
    return one, other


def whole_layers() -> tuple[DoRALinear, DoRALinear]:
    torch.manual_seed(0)
    one = DoRALinear(torch.randn(5, 7, dtype=torch.float64), rank=2, alpha=16.0)
    other = DoRALinear(torch.randn(5, 7, dtype=torch.float64), rank=2, alpha=16.0)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        other.m[1] += 0.25
        other.delta_D_A[0, 3] += 0.1
    return one, other


def leaves_of_layer(layer: DoRALinear) -> dict[str, torch.Tensor]:
    return {f"{LAYER}.{name}": value for name, value in layer.state_dict().items() if name != "bias"}
