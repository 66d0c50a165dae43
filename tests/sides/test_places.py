"""Where lines of advice go, and what names they have there."""

import json
import random as rnd
from types import SimpleNamespace

import pytest
import torch

from dora_repro.sides.places import (
    BUILT,
    LOAD,
    READ,
    SAVE,
    Place,
    method,
    names_at,
    objects_at,
    places_of,
    places_of_functions,
    read_place,
)


class Mine:
    def __init__(self):
        self.turns = self.turning()
        next(self.turns)

    def turning(self):
        random = yield rnd.random()
        yield random

    def save(this, where):
        torch.save({}, where)

    def load(self, name):
        with open(name, "rb") as file:
            known = torch.load(file)
        return known


def test_the_run_and_the_path_go_by_the_names_of_the_methods():
    places = {name: read_place(found) for name, found in json.loads(json.dumps(places_of(Mine(), Mine))).items()}
    assert (places[SAVE].roots, places[SAVE].path, places[SAVE].function) == ({"this": ""}, "where", "Mine.save")
    assert (places[LOAD].roots, places[LOAD].path, places[LOAD].module) == ({"self": ""}, "name", __name__)
    assert places[SAVE].names["random"] == "rnd" and places[SAVE].names["torch"] == "torch"


def test_functions_that_are_half_done_are_places_by_the_path_of_their_variables():
    places = places_of_functions(Mine())
    assert list(places) == ["save turns", "load turns"]
    assert read_place(places["save turns"]).taken == ["random"]


def test_a_dict_without_a_name_gets_one_and_loading_ends_where_its_block_does():
    places = {name: read_place(found) for name, found in places_of(Mine(), Mine).items()}
    first, last = Mine.save.__code__.co_firstlineno + 1, Mine.load.__code__.co_firstlineno + 3
    assert (places[BUILT].head, places[BUILT].tail) == (["state = {}"], ["torch.save(state, where)"])
    assert places[BUILT].where == f"in place of test_places.py:{first}"
    assert (places[READ].state, places[READ].where) == ("known", f"before the last line (test_places.py:{last})")


# Statements that share a line are the case.
# fmt: off
class OnOneLine:
    def save(self, path): torch.save({"n": 1}, path)
    def load(self, path): found = torch.load(path); self.n = found["n"]  # noqa: E702  # two in a line is the case


class AmongOthers:
    def save(self, path):
        if path: torch.save({"n": 1,  # noqa: E701  # so is one after a colon
            "m": 2}, path)
    def load(self, path): self.n = torch.load(path)["n"]; self.m = 0  # noqa: E702  # two in a line is the case
# fmt: on


def test_a_statement_that_shares_its_lines_is_replaced_itself_and_not_with_them():
    saving, loading = (read_place(places_of(OnOneLine(), OnOneLine)[name]) for name in (BUILT, READ))
    line = OnOneLine.save.__code__.co_firstlineno
    assert saving.where == f'in place of `torch.save({{"n": 1}}, path)` (test_places.py:{line}), on lines of their own'
    assert (saving.head, saving.tail) == (['state = {"n": 1}'], ["torch.save(state, path)"])
    assert loading.where == f"at its end (after test_places.py:{line + 1}), on lines of their own"
    assert (loading.state, loading.instead) == ("found", "")


def test_so_is_one_among_others():
    saving, loading = (read_place(places_of(AmongOthers(), AmongOthers)[name]) for name in (BUILT, READ))
    line = AmongOthers.save.__code__.co_firstlineno + 1
    assert saving.instead.endswith(f"(test_places.py:{line}-{line + 1}), on lines of their own")
    head, own = saving.head
    assert head.startswith('state = {"n": 1,') and (own, saving.tail) == ('    "m": 2}', ["torch.save(state, path)"])
    assert loading.instead.startswith('`self.n = torch.load(path)["n"]`')
    assert loading.head == ["state = torch.load(path)", 'self.n = state["n"]']


def test_components_are_the_attributes_that_they_are():
    run = Mine()
    run.components = lambda: {"loop": run.turns, "made": object()}
    assert places_of(run, Mine)[SAVE]["attributes"] == {"loop": "turns", "made": ""}
    assert objects_at(run, Place(roots={"it": "", "t": "turns"})) == {"it": run, "t": run.turns}


def test_what_is_no_method_of_the_users_is_no_place():
    assert method(print) is None and method(SimpleNamespace().__repr__) is None
    assert method(torch.nn.Linear(1, 1).state_dict) is None
    assert places_of(SimpleNamespace(save=lambda path: None, load=print), Mine) == {}
    assert read_place(None) is None


def test_lines_have_the_global_names_of_the_function_that_they_go_into():
    run = Mine()
    names = names_at(run, Place.of(Mine.save))
    assert names["rnd"] is rnd and names["Mine"] is Mine and "random" not in names
    assert names_at(run, Place("Other.save", __name__)) == {}


def read_or_none(path):
    return torch.load(path) if path else None


def read_if_there(path):
    if not path:
        return None
    found = torch.load(path)
    return found


def on_a_condition(path=None):
    snap = torch.load(path) if path else None
    if snap is not None:
        taken = snap["taken"]
    yield taken


def while_asking(path=None):
    if path and (snap := torch.load(path)):
        taken = snap["taken"]
    yield taken
    snap = {}
    yield snap


def by_a_helper(path=None):
    snap = read_or_none(path)
    if snap:
        taken = snap["taken"]
    yield taken


def by_another(path=None):
    snap = read_if_there(path)
    if snap and path:
        taken = snap["taken"]
    yield taken


def by_its_own(path=None):
    def read(name):
        return torch.load(name)

    if path:
        snap = read(path)
        taken = snap["taken"]
    yield taken


def before_its_loop(path=None):
    snap = torch.load(path)
    taken = snap["taken"]
    while taken:
        yield taken
    yield path


def never_asking(path=None):
    snap = read_or_none(path)
    yield snap


def among_many(path=None):
    model, taken = (torch.load(path)[name] for name in ("model", "taken"))
    yield model, taken


def place_of_load(function, monkeypatch):
    monkeypatch.setattr(torch, "load", load_nothing)
    run = SimpleNamespace(turns=function("there"))
    next(run.turns)
    return read_place(places_of_functions(run)["load turns"]), function.__code__.co_firstlineno


def load_nothing(path):
    return {"taken": 1, "model": 2}


load_nothing.__module__, load_nothing.__name__ = "torch.serialization", "load"


@pytest.mark.parametrize(
    ("function", "line"),
    [(on_a_condition, 3), (while_asking, 2), (by_a_helper, 3), (by_another, 3), (by_its_own, 6)],
)
def test_what_is_read_on_a_condition_goes_by_its_own_name_where_it_is_there(function, line, monkeypatch):
    place, first = place_of_load(function, monkeypatch)
    end = f"at the end of the block that reads it (after test_places.py:{first + line})"
    assert (place.state, place.where, place.instead) == ("snap", end, "")


def test_what_is_read_before_a_loop_is_used_before_it(monkeypatch):
    place, first = place_of_load(before_its_loop, monkeypatch)
    assert (place.state, place.where) == ("snap", f"after what reads it (after test_places.py:{first + 2})")


@pytest.mark.parametrize("function", [never_asking, among_many])
def test_no_line_reads_what_may_not_be_there(function, monkeypatch):
    place, _ = place_of_load(function, monkeypatch)
    assert (place.where, place.instead) == ("", "")


def saves_inside(path=None):
    smoothed = 0.5

    def save(where):
        blob = {"model": 1}
        torch.save(blob, where)

    yield smoothed
    save(path)


def test_lines_of_save_have_the_variables_of_a_function_in_the_one_that_it_makes():
    """`state["smoothed"] = smoothed` was advised for save(), which calls its dict `blob`."""
    run = SimpleNamespace(turns=saves_inside())
    next(run.turns)
    places = places_of_functions(run)
    first = saves_inside.__code__.co_firstlineno
    saving = read_place(places["save turns"])
    assert (saving.state, saving.where) == ("blob", f"before `torch.save(blob, where)` (test_places.py:{first + 5})")
    assert read_place(places["load turns"]).state == "state"
