"""Dicts whose keys were ids of a run's objects, and that were loaded with the numbers of another process."""

import torch
from torch import nn

from dora_repro.checks.report import Control
from dora_repro.state.rebuild import Kind
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.stale_keys import stale_keys


def kinds(keys):
    """The kinds of a model and of a dict whose keys are made of its parameters."""
    model = nn.Linear(2, 2)
    held = {key: torch.zeros(2) for key in keys(model)}
    return Snapshot.capture({"model": model, "held": held}).kinds


def ids(model):
    return [id(parameter) for parameter in model.parameters()]


def numbers(model):
    return [140_000_000_000_016 + 16 * index for index, _ in enumerate(model.parameters())]


def test_numbers_in_place_of_ids_are_stale():
    assert stale_keys(kinds(ids), kinds(numbers)) == ("held",)


def test_some_that_are_ids_by_chance_do_not_hide_the_others():
    assert stale_keys(kinds(ids), kinds(lambda model: [ids(model)[0], numbers(model)[1]])) == ("held",)


def test_ids_of_the_new_objects_names_and_counts_are_not():
    assert stale_keys(kinds(ids), kinds(ids)) == ()
    assert stale_keys(kinds(ids), kinds(lambda model: [name for name, _ in model.named_parameters()])) == ()
    assert stale_keys(kinds(ids), kinds(lambda model: [])) == ()
    assert stale_keys(kinds(numbers), kinds(numbers)) == (), "numbers in both: perhaps no ids"
    assert stale_keys(kinds(ids), {"held": Kind("dict", ((0, 0), (1, 1)), 2)}) == ()


def test_the_control_says_so():
    words = str(Control(("reference", "resumed"), True, stale=("held",)))
    assert "held has ids of no object for keys" in words
    assert "held" not in str(Control(("reference", "resumed"), True))
