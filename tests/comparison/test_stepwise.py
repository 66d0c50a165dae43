"""Two sides step by step: which leaves differ, where first, in which order; from files and snapshots too."""

import math

import pytest
import torch

from dora_repro import BadInput, Snapshot
from dora_repro.comparison.stepwise import Sides
from tests.dora.layers import LAYER, two_runs, whole_layers


def test_bytes_decide_step_by_step():
    sides = Sides(*two_runs())
    assert sides.steps == (0, 1, 2, 3)
    assert [len(sides.differing(step)) for step in sides.steps] == [0, 0, 1, 2]
    assert sides.first == (2, f"{LAYER}.m")
    assert sides.first_place(f"{LAYER}.delta_D_A") == 3
    assert sides.first_place(f"{LAYER}.delta_D_B") == math.inf


def test_minus_zero_is_a_difference_and_an_equal_nan_is_none():
    one = {"a": torch.tensor([0.0, math.nan]), "b": torch.tensor([math.nan])}
    sides = Sides(one, {"a": torch.tensor([-0.0, math.nan]), "b": torch.tensor([math.nan])})
    assert sides.differing(None) == ("a",)
    found = sides.difference(None, "a")
    assert (found.differing, found.total, found.at, found.max_abs) == (1, 2, (0,), 0.0)


def test_leaves_are_put_in_order_and_searched_for():
    one = {"A.small": torch.zeros(2), "equal": torch.ones(2), "b.large": torch.ones(2), "lost": torch.ones(1)}
    other = {"A.small": torch.full((2,), 1e-9), "equal": torch.ones(2), "b.large": torch.full((2,), 1.5)}
    sides = Sides(one, other)
    assert sides.ordered(None) == ["A.small", "equal", "b.large", "lost"]
    assert sides.ordered(None, "max_abs") == ["lost", "b.large", "A.small", "equal"]
    assert sides.ordered(None, "max_ulp") == ["lost", "A.small", "b.large", "equal"]
    assert sides.ordered(None, "first") == ["A.small", "b.large", "lost", "equal"]
    assert sides.ordered(None, search=" A.S") == ["A.small"]
    with pytest.raises(BadInput, match="order='up': choose from given, first, max_abs, max_ulp"):
        sides.ordered(None, "up")


def test_files_and_snapshots_are_sides(tmp_path):
    one, other = two_runs()
    torch.save(one[3], tmp_path / "one.pt")
    torch.save(other[3], tmp_path / "other.pt")
    sides = Sides(tmp_path / "one.pt", str(tmp_path / "other.pt"))
    assert sides.steps == (None,) and sides.differing(None) == (f"{LAYER}.m", f"{LAYER}.delta_D_A")
    Snapshot.capture({"model": whole_layers()[0]}).write(tmp_path / "snapshot.pt")
    same = Sides(tmp_path / "snapshot.pt", tmp_path / "snapshot.pt")
    assert same.first is None and any(leaf.endswith("D") for leaf in same.leaves(None))
