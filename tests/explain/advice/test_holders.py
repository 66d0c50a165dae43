"""Lines for what holds state for other code: run on one object, they make another what it was."""

import array
import collections
import ctypes
import decimal
import io
import mmap
import queue
import weakref

import numpy as np
import pytest
import torch

from dora_repro.explain.advice.advice import advise
from dora_repro.state.snapshot import Snapshot
from tests.state.test_holders import change, world

NAMES = {"collections": collections, "np": np, "weakref": weakref, "copy": __import__("copy")}


class Named:
    def __init__(self, held):
        self.__dict__.update(held)


def lost(wanted, held):
    after = Snapshot.capture(held)
    return tuple(path for path in wanted if path not in after or after[path].digest != wanted[path].digest)


def after_lines(reference, other, paths, wanted):
    role = wanted[paths[0]].role
    advice = advise(paths[0], paths, role, wanted, loaded=Snapshot.capture(other))
    state: dict = {}
    exec("\n".join(advice.save), {**NAMES, "self": Named(reference), "state": state})
    for line in advice.load:
        exec(line, {**NAMES, "self": Named(other), "state": state})
    return advice


@pytest.mark.parametrize("name", [name for name in world() if name not in ("view", "again")])
def test_the_lines_for_a_holder_make_another_what_it_was(name):
    reference, other = world(), world()
    change(reference)
    if name == "shared":
        reference.pop("again")
    wanted = Snapshot.capture({name: reference[name]})
    held = {name: other[name]}
    paths = lost(wanted, held)
    assert paths
    advice = after_lines(reference, other, paths, wanted)
    assert advice.save and advice.load and lost(wanted, held) == ()
    assert lost(wanted, {name: reference[name]}) == ()  # saving has changed nothing


class Item:
    pass


def run(now):
    items = [Item(), Item(), Item()]
    return {
        "items": items,
        "by": weakref.WeakKeyDictionary({items[now]: 3 + now}),
        "at": weakref.WeakValueDictionary(now=items[now]),
        "some": weakref.WeakSet([items[now]]),
        "members": {items[now]},
        "ref": weakref.ref(items[now]),
    }


@pytest.mark.parametrize("name", ["by", "at", "some", "members", "ref"])
def test_what_refers_to_items_of_a_list_is_saved_by_their_places(name):
    reference, other = run(2), run(0)
    wanted = Snapshot.capture(reference)
    paths = tuple(path for path in lost(wanted, other) if path.partition("/")[0] == name)
    target = Named(other)
    advice = advise(paths[0], paths, wanted[paths[0]].role, wanted, loaded=Snapshot.capture(other))
    state: dict = {}
    exec("\n".join(advice.save), {**NAMES, "self": Named(reference), "state": state})
    for line in advice.load:
        exec(line, {**NAMES, "self": target, "state": state})
    assert lost(wanted, {**other, name: getattr(target, name)}) == tuple(
        path for path in lost(wanted, other) if path not in paths
    )


def test_counts_by_module_are_saved_under_the_modules_names():
    def counted(count):
        model = torch.nn.Sequential(torch.nn.Linear(1, 1))
        calls = weakref.WeakKeyDictionary({model[0]: count} if count else {})
        return {"model": model, "calls": calls}

    reference, other = counted(4), counted(0)
    wanted = Snapshot.capture(reference)
    after_lines(reference, other, ("calls/model.0",), wanted)
    assert other["calls"][other["model"][0]] == 4


def test_which_part_of_a_buffer_is_seen_gets_a_sentence():
    wanted = Snapshot.capture({"view": memoryview(bytearray(4))[1:]})
    advice = advise("view/(window)", ("view/(window)",), "memory", wanted)
    assert not advice.save and "another part of its buffer" in advice.sentence


def test_kinds_of_holders_are_covered():
    kinds = {type(held) for held in world().values()}
    assert {queue.Queue, queue.SimpleQueue, io.StringIO, mmap.mmap, array.array, decimal.Context} <= kinds
    assert any(issubclass(kind, ctypes.Array) for kind in kinds)
