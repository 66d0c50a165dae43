"""What functions of a module keep from call to call: taken for state, seen by a walk, and put back."""

import argparse
import contextvars
import functools
import itertools
import threading
from dataclasses import fields

import pytest
import torch

from dora_repro.journal.ledger import JournalFiles
from dora_repro.recording.hooks import Hooks, Listeners
from dora_repro.state.function_state import (
    fills_a_default,
    itself,
    keeps_something,
    may_be_changed_by_others,
    name_of_function,
)
from dora_repro.state.module_variables import variables_of
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk


def counting():
    n = 0

    def count():
        nonlocal n
        n += 1
        return n

    return count


def scaling(factor, name):
    def scale(x):
        return x * factor if name else x

    return scale


def collecting(seen):
    def collect():
        return len(seen)

    return collect


count, scale = counting(), scaling(2.0, "x")


def called():
    called.times = getattr(called, "times", 0) + 1
    return called.times


def filled(item, held=[]):  # noqa: B006  # what the tests are about
    held.append(item)
    return len(held)


def filled_by_name(item, *, held={}):  # noqa: B006  # what the tests are about
    held["n"] = held.get("n", 0) + item
    return held["n"]


def reading(item, held=[1, 2]):  # noqa: B006  # what the tests are about
    return held[0] + item


def push(items):
    items.append(1)


settings = argparse.Namespace(epoch=0)
heap: list[int] = []
registry = {"relu": torch.relu, "linear": torch.nn.Linear}
local, variable = threading.local(), contextvars.ContextVar("variable")
numbers, turns = itertools.count(), itertools.cycle([1, 2])
local.n = 0


class Run:
    def __init__(self):
        self.total = 0.0

    def step(self):
        settings.epoch += 1
        push(heap)
        registry["relu"](torch.zeros(1))
        dict(registry)
        print(registry, end="")
        local.n += 1
        variable.set(variable.get(0) + 1)
        self.total += count() + scale(1) + called() + filled(1) + filled_by_name(1) + reading(1)
        self.total += next(numbers) + next(turns) + self.kept(1)
        return self.total

    def kept(self, item, held=[]):  # noqa: B006  # what the tests are about
        held.append(item)
        return len(held)


EXPECTED = {
    "count", "called", "filled", "filled_by_name", "settings", "heap", "local", "variable", "numbers", "turns",
    "Run.kept",
}  # fmt: skip


def test_what_functions_keep_is_state_and_what_they_only_read_is_not():
    assert set(variables_of(Run)) == {f"globals.{name}" for name in EXPECTED}


@pytest.mark.parametrize(
    "leaf",
    [
        "count/n", "called/times", "filled/held=", "filled_by_name/held=/n", "settings/epoch", "heap", "local/n",
        "variable/value", "numbers", "Run.kept/held=",
    ],
)  # fmt: skip
def test_what_functions_keep_is_seen_and_put_back(leaf):
    run, path = Run(), f"globals.{leaf}"
    run.step()
    saved = Snapshot.capture(run_roots(run))
    run.step()
    assert saved[path].digest != Snapshot.capture(run_roots(run))[path].digest
    assert saved.restore(run_roots(run), [path]) == {}
    assert saved[path].digest == Snapshot.capture(run_roots(run))[path].digest


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (counting(), True), (collecting([1]), True), (filled, True), (filled_by_name, True),
        (scaling(2, "x"), False), (collecting((1, 2)), False), (reading, False), (push, False),
    ],
)  # fmt: skip
def test_a_function_that_keeps_nothing_is_no_state(function, kept):
    assert keeps_something(function) is kept
    assert fills_a_default(function) is (function in (filled, filled_by_name))


@pytest.mark.parametrize(
    ("value", "may"),
    [
        ([1], True), ({}, True), ({1: [2]}, True), (set(), True), (registry, False), ((1,), False), ("ab", False),
        ([0] * 10_001, False), (torch.zeros(1), False),
    ],
)  # fmt: skip
def test_a_container_of_data_may_be_changed_by_what_it_is_passed_to(value, may):
    assert may_be_changed_by_others(value) is may


def test_what_is_not_there_yet_is_made():
    run = Run()
    run.step()
    saved = Snapshot.capture(run_roots(run))
    contextvars.Context().run(_begun_anew, run, saved)
    del called.times


def _begun_anew(run, saved):
    del local.n, called.times
    assert "globals.variable/value" not in Snapshot.capture(run_roots(run))
    chosen = ["globals.variable/value", "globals.local/n", "globals.called/times"]
    assert saved.restore(run_roots(run), chosen) == {}
    assert (variable.get(), local.n, called.times) == tuple(saved[path].value for path in chosen)


def one_place(factor):
    return lambda x: x * factor if x in {"a", "b"} else [2 * y for y in x]


def another_place(factor):
    return lambda x: x * factor if x in {"a", "b"} else [2 * y for y in x]


def a_third_place(factor):
    return lambda x: x + factor if x in {"a", "b"} else [2 * y for y in x]


def test_a_function_made_in_another_is_the_same_by_its_code_wherever_it_was_made():
    assert name_of_function(one_place(2)) == name_of_function(another_place(2))
    assert name_of_function(one_place(2)) != name_of_function(a_third_place(2))
    assert name_of_function(filled) == "tests.state.test_function_state.filled"


@pytest.mark.parametrize(("made", "same"), [(another_place(2), True), (a_third_place(2), False), (one_place(3), False)])
def test_a_function_in_place_of_another_differs_by_its_code_and_by_what_it_closes_over(made, same):
    one, other = (walk({"f": function}).leaves for function in (one_place(2), made))
    assert ({path: leaf.digest for path, leaf in one.items()} == {p: leaf.digest for p, leaf in other.items()}) is same


class HoldsFunctions:
    """Takes functions of torch by name, as `from torch import save` in a function does."""

    def __init__(self):
        self.backward, self.grad, self.save = torch.autograd.backward, torch.autograd.grad, torch.save


def test_what_listens_around_a_function_of_torch_is_no_state_of_who_holds_it(monkeypatch, tmp_path):
    expected = {path: leaf.digest for path, leaf in Snapshot.capture(run_roots(HoldsFunctions())).items()}
    monkeypatch.setattr(torch, "save", torch.save)
    monkeypatch.setattr(torch.optim.Optimizer, "state_dict", torch.optim.Optimizer.state_dict)
    JournalFiles(tmp_path, lambda: (0, 0), lambda checkpoint: None).watch_torch()
    listeners = Listeners(*(lambda *_: None for _ in fields(Listeners)))
    with Hooks(listeners):
        run = HoldsFunctions()
        assert run.save is not itself(run.save)
        assert {path: leaf.digest for path, leaf in Snapshot.capture(run_roots(run)).items()} == expected


def test_a_function_of_the_kit_itself_and_its_methods_are_names_alone(tmp_path):
    ledger = JournalFiles(tmp_path, lambda: (0, 0), lambda checkpoint: None)
    listening = ledger._before_writing(len, 1)  # what it wraps is written in C
    assert itself(listening) is None
    assert set(walk({"a": listening, "b": ledger.look})) == {"a/name", "b/name"}


def test_a_function_of_a_user_stays_what_it_is():
    def wraps(function):
        @functools.wraps(function)
        def around(*args):
            return function(*args)

        return around

    assert itself(counting) is counting
    around = wraps(counting)
    assert itself(around) is around
