"""Two sides step by step: which leaves differ, where first, in which order; from files and snapshots too."""

import math

import pytest
import torch

from dora_repro import BadInput, Snapshot
from dora_repro.comparison.stepwise import Sides
from dora_repro.trace import Step, Trace
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


def test_sides_that_cannot_be_compared_or_have_nothing_in_common_are_refused(tmp_path):
    w, b = {"w": torch.ones(1)}, {"b": torch.ones(1)}
    with pytest.raises(BadInput, match=r"no step in common \(steps 1, 2, 3, 4, 5 and 9\)"):
        Sides(dict.fromkeys(range(1, 8), w), {9: w})
    for one, other in (({1: w}, w), (w, {1: w})):
        with pytest.raises(BadInput, match="one side has steps and the other has none"):
            Sides(one, other)
    with pytest.raises(BadInput, match=r"no leaf in common \(they begin with 'w' and 'b'\)"):
        Sides({1: w}, {1: b})
    with pytest.raises(BadInput, match=r"no leaf in common \(they begin with 'none' and 'w'\)"):
        Sides({}, w)
    with pytest.raises(BadInput, match="cannot compare a list: give a snapshot"):
        Sides([1], [1])
    Trace([Step(1, 0.5, (), (), {})]).write(tmp_path / "trace.jsonl")
    with pytest.raises(BadInput, match="is a trace, which holds digests: give a snapshot or a checkpoint file"):
        Sides(tmp_path / "trace.jsonl", w)
    assert Sides({1: w, 2: w}, {1: b, 2: {**w, **b}}).steps == (1, 2)  # in one step there is something


def test_only_whole_numbers_alone_are_steps():
    mixed = {1: torch.ones(1), "w": torch.ones(1)}
    assert Sides(mixed, mixed).steps == (None,) and Sides({True: 1, "w": 2}, {True: 1, "w": 2}).steps == (None,)
    assert Sides({1: {"w": 1}, 3: {"w": 1}}, {3: {"w": 1}}).steps == (3,)


def test_a_snapshot_gives_values_where_it_stores_them():
    one, other = (Snapshot.capture({"model": torch.nn.Linear(1, 1)}) for _ in range(2))
    sides = Sides(one, other)
    assert sides.values(None, "model/weight") == (one["model/weight"].value, other["model/weight"].value)
    assert Sides({"a": 1}, {"a": 2, "b": 3}).values(None, "b") == (None, 3)


def test_each_leaf_is_read_once_and_what_one_side_lacks_is_named_after_that_side():
    class Counting(dict):
        read = 0

        def __getitem__(self, key):
            Counting.read += 1
            return super().__getitem__(key)

    sides = Sides(Counting(w=torch.ones(2), lost="a"), {"w": torch.zeros(2), "more": "b"})
    kinds = [(sides.difference(None, leaf).kind, sides.kind(None, leaf)) for leaf in sides.leaves(None)]
    assert kinds == [("value", "f32[2]"), ("missing", "'a'"), ("unexpected", "'b'")] and Counting.read == 2
    assert Sides({"a": "x"}, {"a": "y"}).kind(None, "a") == "'x'"  # without having been compared before


def test_the_first_place_of_a_leaf_is_looked_for_where_a_side_has_it():
    one = {0: {"w": 1}, 1: {"w": 1, "a": 1}, 2: {"w": 1}}
    sides = Sides(one, {0: {"w": 1}, 1: {"w": 1}, 2: {"w": 1, "b": 1}})
    assert [sides.first_place(leaf) for leaf in "wab"] == [math.inf, 1.0, 2.0]
    assert sides.first == (1, "a") and repr(sides) == "Sides(1 leaf, 3 steps)"


def test_what_has_no_size_of_its_own_stands_between_what_has_one_and_what_is_equal():
    nan = torch.tensor([math.nan])
    one = {"equal": 1, "text": "a", "number": torch.zeros(1), "nan": torch.zeros(1), "dtype": torch.zeros(1)}
    other = {"equal": 1, "text": "b", "number": torch.ones(1), "nan": nan, "dtype": torch.zeros(1).double()}
    assert Sides(one, other).ordered(None, "max_abs") == ["nan", "dtype", "number", "text", "equal"]


def test_leaves_are_found_by_the_names_that_they_are_shown_with_too():
    leaves = {"model/w": 1, "model/b": 1}
    sides = Sides(leaves, leaves)
    shown = {"model/w": "Weight", "model/b": "bias"}.__getitem__
    assert sides.ordered(None, search="WEI", names=shown) == ["model/w"] == sides.ordered(None, search="w ")
    assert sides.ordered(None, search="model", names=shown) == [*leaves] and sides.ordered(None, search="x") == []
