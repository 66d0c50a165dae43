"""One snapshot laid over another; a leaf that went by another name is found by the name that it is asked for."""

from collections import Counter

import torch
from torch import nn

from dora_repro.state.overlay import overlaid, through_aliases
from dora_repro.state.snapshot import Snapshot


class Space:
    def __init__(self, count):
        self.count = count


def shared():
    space = Space(5)
    return Snapshot.capture({"space": space, "held": {"env": {"space": space}}, "weight": torch.ones(2)})


def apart():
    return Snapshot.capture({"space": Space(0), "held": {"env": {"space": Space(1)}}, "weight": torch.zeros(2)})


OTHER, TIE = "held/env/space/count", "held/env/space"


def values(snapshot):
    return {path: leaf.value for path, leaf in snapshot.items() if not path.startswith(("rng/", "flags/", "weight"))}


def test_some_leaves_of_one_and_all_else_of_the_other():
    mixed = overlaid(apart(), shared(), frozenset({"weight"}))
    assert torch.equal(mixed["weight"].value, torch.ones(2))
    assert values(mixed) == values(apart()) == {"space/count": 0, OTHER: 1}


def test_a_leaf_is_taken_by_the_name_that_was_another_name_of_its_object():
    assert values(overlaid(apart(), shared(), frozenset({OTHER}))) == {"space/count": 0, OTHER: 5}


def test_where_the_names_are_tied_again_the_other_leaf_goes():
    tied = overlaid(apart(), shared(), frozenset({OTHER, TIE}))
    assert values(tied) == {"space/count": 0, TIE: "= space"}


def test_what_no_other_name_leads_to_is_not_there():
    assert set(through_aliases(shared(), {"held/none/count", "space/none"})) == set(shared())


def test_a_run_gets_the_value_and_keeps_its_two_objects():
    run = {"space": Space(0), "held": {"env": {"space": Space(1)}}, "weight": torch.zeros(2)}
    assert through_aliases(shared(), {OTHER}).restore(run, [OTHER]) == {}
    assert run["held"]["env"]["space"].count == 5 and run["space"].count == 0


def test_entries_bring_the_types_of_their_keys():
    counts = {"counts": Counter({0: 2, "a": 1})}
    saved, loaded = Snapshot.capture(counts), Snapshot.capture({"counts": Counter()})
    held = {"counts": Counter()}
    assert overlaid(loaded, saved, frozenset({"counts/0", "counts/a"})).restore(held) == {}
    assert held == counts


def test_optimizers_that_get_the_same_groups_again_get_those_that_are_as_saved():
    def made(lr, inner_lr=None):
        model = nn.Linear(2, 2)
        outer, inner = (torch.optim.SGD(model.parameters(), lr=lr) for _ in range(2))
        if inner_lr is None:
            inner.param_groups = outer.param_groups
        else:
            inner.param_groups[0]["lr"] = inner_lr
        return Snapshot.capture({"model": model, "outer": outer, "wrapped": inner})

    tie, rate = "wrapped/param_groups", "outer/group.0/lr"
    assert overlaid(made(0.5, 0.1), made(0.1), frozenset({tie}))[rate].value == 0.1
    assert overlaid(made(0.5, 0.3), made(0.1), frozenset({tie}))[rate].value == 0.5  # neither has what was saved
    assert overlaid(made(0.5, 0.1), made(0.1), frozenset())[rate].value == 0.5
