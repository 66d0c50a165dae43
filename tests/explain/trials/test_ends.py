"""How runs end beside the reference."""

import math
from dataclasses import replace

import torch

from dora_repro.explain.trials.ends import loss_distance, parameter_distance, same_leaves, same_options
from tests.evidence import side, snapshot
from tests.traces import trace


def test_leaves_are_alike_where_bytes_and_forms_are():
    one = snapshot({"a": 1, "b/0": 2}, forms={"b": "list"})
    assert same_leaves(one, snapshot({"a": 1, "b/0": 3}, forms={"b": "list"}), ["a", "b", "c"])
    assert not same_leaves(one, snapshot({"a": 2, "b/0": 2}), ["a"])
    assert not same_leaves(one, snapshot({"b/0": 2}), ["a"]) and not same_leaves(snapshot({}), one, ["a"])
    assert not same_leaves(one, snapshot({"a": 1, "b/0": 3}), ["a", "b/0"])
    other = snapshot({"a": 1, "b/0": 2}, forms={"b": "tuple"})
    assert not same_leaves(one, other, ["a", "b"]) and same_leaves(one, other, ["a", "b/0"])


def test_the_largest_difference_of_trained_parameters_is_told_and_of_nothing_else():
    def far(one, other):
        return parameter_distance(snapshot(one), snapshot(other))

    zeros, ones = ({"a": (torch.full((2,), value), "parameter")} for value in (0.0, 1.0))
    assert far(zeros, zeros) == 0.0 and far(zeros, ones) == 1.0
    further = {"b": (torch.tensor([3.0]), "parameter")}
    assert far({**zeros, **further}, {**ones, "b": (torch.tensor([5.0]), "parameter")}) == 2.0
    assert far({**zeros, **further}, {**ones, "b": (torch.tensor([3.5]), "parameter")}) == 1.0
    assert far(zeros, {**ones, **further}) == 1.0 == far({**zeros, **further}, ones)
    for frozen in (torch.tensor([2.0]), "buffer"), (torch.tensor([2.0]), "parameter", False):
        assert far({**zeros, "b": (torch.tensor([9.0]), *frozen[1:])}, {**ones, "b": frozen}) == 1.0


def test_parameters_that_cannot_be_measured_have_no_distance():
    def far(one, other):
        return parameter_distance(snapshot({"a": (one, "parameter")}), snapshot({"a": (other, "parameter")}))

    assert far(None, torch.ones(2)) is None is far(torch.ones(2), None)  # a layer with a bias, or without
    assert far(torch.ones(2), torch.ones(3)) is None and far(torch.ones(2), torch.ones(2).double()) is None
    assert far(torch.ones(2), torch.full((2,), math.nan)) is None
    assert far(torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()) is None  # whose elements are not in one row


def test_the_last_step_is_held_against_the_references_of_that_number(tmp_path):
    reference = side(tmp_path, trace(["schedule o/lr a", "schedule o/momentum a"], ["schedule o/lr b"]))
    longer, silent = trace(*[["schedule o/lr b"]] * 3), trace(["schedule o/lr a"])
    silent.steps[0] = replace(silent.steps[0], loss=None)
    assert loss_distance(reference, trace(["schedule o/lr a"])) == 0.0
    for nothing in (trace(), longer, silent):  # no step at all, one that the reference never did, one without a loss
        assert loss_distance(reference, nothing) is None
    assert loss_distance(side(tmp_path / "silent", silent), trace(["schedule o/lr a"])) is None
    assert same_options(reference, trace(["schedule o/lr a", "schedule o/momentum b"])) == ("o/lr",)
    assert same_options(reference, trace(["schedule[2] o/lr a", "update o/momentum a"])) == ("o/lr",)
    assert same_options(reference, trace(["schedule o/lr b", "schedule o/lr a"])) == ("o/lr",)  # the latest counts
    assert same_options(reference, trace()) == same_options(reference, longer) == ()
