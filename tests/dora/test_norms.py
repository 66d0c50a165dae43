"""Norms of DoRA layers over the steps of two runs."""

import math

import pytest
import torch

from dora_repro import BadInput, Drift
from dora_repro.dora import norms
from tests.show.test_figures import drift


def test_norms_of_both_sides_of_each_layer():
    held = {"model/a.m": torch.tensor([3.0, 4.0]), "model/a.delta_D_A": torch.tensor([[1.0, 0.0]]),
            "model/a.delta_D_B": torch.tensor([[2.0], [0.0]]), "model/head.weight": torch.ones(1)}  # fmt: skip
    grown = {**held, "model/a.m": torch.tensor([6.0, 8.0])}
    found = norms.norms(Drift.between({1: held, 2: held, 3: grown}, {2: held, 3: held}), scaling=2.0)
    assert found == {
        "length of m": [("model/a", (1, 2, 3), (5.0, 5.0, 10.0)), ("model/a", (2, 3), (5.0, 5.0))],
        "size of the low-rank update": [("model/a", (1, 2, 3), (4.0,) * 3), ("model/a", (2, 3), (4.0,) * 2)],
    }
    assert math.isclose(found["length of m"][0][2][2], 10.0)


def test_without_a_dora_layer_there_are_no_norms():
    with pytest.raises(BadInput, match="no DoRA layer among the parameters: ask the check for values='model/\\*'"):
        norms.norms(drift(2, 3))
