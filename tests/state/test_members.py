"""Sets of objects, and weak references: named by what is referred to, and never by an address or an order."""

import dataclasses
import weakref

import torch

from dora_repro.state.members import NOT_HELD
from dora_repro.state.objects import Objects
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk
from tests.state.worlds import changed, digests, look


class Item:
    def __init__(self, score):
        self.score = score


@dataclasses.dataclass(frozen=True)
class Seen:
    key: int


class Run:
    def __init__(self, **held):
        self.items = [Item(number) for number in range(3)]
        self.__dict__.update(held)


def named(scores):
    return {f"h/{index}/score": score for index, score in enumerate(scores)}


# --- sets


def test_a_set_of_objects_has_one_order_in_every_process():
    scores = [0.5, 3.0, 1.25, 7.0]
    first = look(h={Item(score) for score in scores})
    keep = [Item(9.0) for _ in range(50)]  # other addresses
    assert look(h={Item(score) for score in reversed(scores)}) == first and keep
    assert sorted(first.values()) == sorted(scores)


def test_a_member_that_the_run_holds_is_named_by_that():
    run = Run()
    run.active = {run.items[2], run.items[0]}
    found = look(run=run)
    assert found["run/active/run.items.2"] == "= run/items/2" and "run/active/run.items.1" not in found
    assert changed({"run": run}, lambda: run.active.add(run.items[1])) == {"run/active/run.items.1"}


def test_a_set_of_parameters_is_named_by_the_model():
    model = torch.nn.Linear(2, 1)
    assert look(model=model, some={model.bias})["some/model.bias"] == "= model/bias"


def test_members_are_changed_added_and_taken_out():
    wanted_run = {"h": {Item(1.0), Item(2.0), Item(5.0)}}
    wanted, objects = Snapshot.capture(wanted_run), None
    other = {"h": {Item(1.0), Item(9.0)}}
    missing = [path.rpartition("/")[0] for path in wanted if path not in Snapshot.capture(other)]
    objects = Objects.taken(wanted_run, missing)
    live = other["h"]
    assert wanted.restore(other, objects=objects) == {}
    assert other["h"] is live and sorted(item.score for item in live) == [1.0, 2.0, 5.0]
    assert Snapshot.capture({"h": {Item(4.0)}}).restore(other) == {}
    assert [item.score for item in other["h"]] == [4.0]


def test_what_is_found_by_its_value_is_found_after_it_was_put_back():
    held = {"h": {Seen(1), Seen(2)}}
    assert Snapshot.capture({"h": {Seen(1), Seen(7)}}).restore(held) == {}
    assert held["h"] == {Seen(1), Seen(7)} and Seen(7) in held["h"]


def test_which_of_the_runs_objects_are_members_is_put_back():
    def run(*active):
        made = Run()
        made.active, made.weak = {made.items[i] for i in active}, weakref.WeakSet(made.items[i] for i in active)
        return {"items": made.items, "active": made.active, "weak": made.weak}

    wanted, held = Snapshot.capture(run(0, 2)), run(1, 2)
    assert wanted.restore(held) == {}
    assert held["active"] == {held["items"][0], held["items"][2]} == set(held["weak"])


# --- weak references


def test_a_weak_dict_is_read_under_the_names_of_its_keys():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    calls = weakref.WeakKeyDictionary({model[0]: 3})
    assert look(model=model, calls=calls)["calls/model.0"] == 3
    other = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    held = {"model": other, "calls": weakref.WeakKeyDictionary()}
    assert Snapshot.capture({"model": model, "calls": calls}).restore(held, ["calls/*"]) == {}
    assert held["calls"][other[0]] == 3
    assert Snapshot.capture({"model": model, "calls": weakref.WeakKeyDictionary()}).restore(held, ["calls/*"]) == {}
    assert len(held["calls"]) == 0


def test_weak_values_and_references_are_other_names_of_what_the_run_holds():
    def run(now):
        items = [Item(number) for number in range(3)]
        return {"items": items, "at": weakref.WeakValueDictionary(now=items[now]), "ref": weakref.ref(items[now])}

    wanted, held = run(2), run(0)
    assert look(**wanted)["at/now"] == look(**wanted)["ref"] == "= items/2"
    assert Snapshot.capture(wanted).restore(held) == {}
    assert held["at"]["now"] is held["ref"]() is held["items"][2]
    del held["at"]["now"]
    assert Snapshot.capture(wanted).restore(held) == {} and held["at"]["now"] is held["items"][2]


def test_what_only_a_weak_reference_leads_to_is_listed():
    alone, key = Item(1), Item(2)
    held = {"at": weakref.WeakValueDictionary(x=alone), "by": weakref.WeakKeyDictionary({key: 1})}
    held |= {"some": weakref.WeakSet([alone]), "ref": weakref.ref(alone)}
    found = walk(held)
    assert not found.leaves and found.uncaptured.keys() == {"at", "by", "some", "ref"}
    assert NOT_HELD in found.uncaptured["by"]
    assert digests(held) == {}
