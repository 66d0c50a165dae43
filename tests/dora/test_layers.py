"""A DoRA layer of two sides: lengths, directions and the weight in effect, as numbers and in words."""

import numpy as np
import pytest
import torch

from dora_repro import Snapshot
from dora_repro.comparison.stepwise import Sides
from dora_repro.dora.layers import dora_layer, layer_text
from tests.dora.layers import LAYER, leaves_of_layer, two_runs, whole_layers


def test_a_layer_is_compared_by_the_weight_that_the_model_computes():
    one, other = whole_layers()
    found = dora_layer(Sides(leaves_of_layer(one), leaves_of_layer(other)), None, f"{LAYER}.m")
    assert found.has_directions and found.rank == 2
    for weight, layer in zip(found.weights, (one, other), strict=True):
        np.testing.assert_allclose(weight, layer.weight.detach(), rtol=1e-14)
    directions = [torch.nn.functional.normalize(layer.weight.detach(), dim=1) for layer in (one, other)]
    cosine = (directions[0] * directions[1]).sum(dim=1)
    np.testing.assert_allclose(1 - found.rotations, cosine, atol=1e-14)
    assert np.flatnonzero(found.rotations > 1e-20).tolist() == [3]
    assert np.flatnonzero(found.row_distances > 1e-10).tolist() == [1, 3]
    part = 0.25**2 / (found.row_distances**2).sum()
    assert found.magnitude_share == pytest.approx(part, rel=1e-12)


def test_directions_come_from_a_base_or_the_update_alone_is_compared():
    one, other = (leaves_of_layer(layer) for layer in whole_layers())
    base = {f"{LAYER}.D": one.pop(f"{LAYER}.D")}
    other.pop(f"{LAYER}.D")
    sides = Sides(one, other)
    assert dora_layer(sides, None, f"{LAYER}.m", base).has_directions
    alone = dora_layer(sides, None, f"{LAYER}.m")
    update = 8.0 * one[f"{LAYER}.delta_D_A"].T @ one[f"{LAYER}.delta_D_B"].T
    np.testing.assert_allclose(alone.weights[0], update, rtol=1e-12)
    assert "the low-rank update alone is compared" in layer_text(alone) and alone.magnitude_share is None


def test_a_snapshot_holds_all_that_the_weight_needs():
    one, other = whole_layers()
    sides = Sides(*(Snapshot.capture({"model": torch.nn.Sequential(layer)}) for layer in (one, other)))
    (leaf,) = (leaf for leaf in sides.leaves(None) if leaf.endswith(".m"))
    found = dora_layer(sides, None, leaf)
    np.testing.assert_allclose(found.weights[1], other.weight.detach(), rtol=1e-14)


def test_a_layer_is_measured_beside_what_training_moved():
    sides = Sides(*two_runs())
    found = dora_layer(sides, 3, f"{LAYER}.m")
    start = dora_layer(sides, 0, f"{LAYER}.m")
    assert found.first_step == 0 and start.trained_distance is None
    assert found.trained_distance == pytest.approx(np.linalg.norm(found.weights[0] - start.weights[0]))
    assert "% of its change in training since step 0." in layer_text(found)


def test_an_equal_layer_and_one_that_is_not_there_are_told():
    sides = Sides(*two_runs())
    text = layer_text(dora_layer(sides, 0, f"{LAYER}.m"))
    assert "Lengths m: equal in all rows." in text and "The low-rank update is equal, computed in float64." in text
    assert dora_layer(sides, 0, "rng/torch") == "rng/torch is no parameter of a DoRA layer (m, delta_D_A, delta_D_B)."
    part = Sides({f"{LAYER}.m": torch.ones(3)}, {f"{LAYER}.m": torch.ones(3)})
    assert "are not all there on both sides" in dora_layer(part, None, f"{LAYER}.m")


def test_lengths_that_torch_negates_only_when_they_are_read_are_numbers_too():
    one = {name: value.double() for name, value in two_runs()[0][0].items()}
    m = f"{LAYER}.m"
    other = {**one, m: torch.complex(torch.zeros_like(one[m]), -one[m]).conj().imag}
    assert other[m].is_neg()
    measured = dora_layer(Sides(one, other), None, m)
    assert np.array_equal(*measured.magnitudes)
