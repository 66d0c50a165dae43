"""Forms: what has the same bytes and is not the same is told apart, and put back; what is the same stays the same."""

import dataclasses
import enum
import json
import types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch

from dora_repro.comparison.leaves import compare
from dora_repro.state.forms import Form, form_of
from dora_repro.state.making import NotRestorable, named
from dora_repro.state.overlay import overlaid
from dora_repro.state.snapshot import Snapshot


class Settings(dict):
    pass


class Items(list):
    pass


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    pass


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Config:
    rate: float = 0.1
    inner: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True, frozen=True)
class Point:
    x: float = 0.5
    y: float = 1.5


def tensor(value=1.0):
    return torch.full((2,), value)


def through_json(value):
    return json.loads(json.dumps(value))


NUMBERS = {20: 0.5, 30: 0.25}
# before -> after: alike in all leaves, and not the same
PAIRS = {
    "int keys": (NUMBERS, through_json(NUMBERS)),
    "some int keys": ({20: 0.5, "30": 0.25}, {"20": 0.5, "30": 0.25}),
    "which keys": ({20: 0.5, "30": 0.25}, {"20": 0.5, 30: 0.25}),
    "a key of None": ({None: 1}, {"None": 1}),
    "keys that are bool": ({True: 1}, {"True": 1}),
    "keys that are tuples": ({(1, 2): 0.5}, {"(1, 2)": 0.5}),
    "keys that are floats": ({1.0: 0.5}, {"1.0": 0.5}),
    "keys of numpy": ({np.int64(8): 0.5}, {8: 0.5}),
    "members of an enum as keys": ({Color.RED: 0.5}, {"Color.RED": 0.5}),
    "paths as keys": ({PurePosixPath("a"): 1.0}, {"PurePosixPath a": 1.0}),
    "int keys of a dict in a dict": ({"table": {1: {2: 0.5}}}, {"table": {1: {"2": 0.5}}}),
    "a Counter": (Counter({20: 1}), {20: 1}),
    "a Counter through JSON": (Counter({20: 1}), through_json({20: 1})),
    "a defaultdict": (defaultdict(float, {"a": 0.5}), {"a": 0.5}),
    "the factory of a defaultdict": (defaultdict(float, {"a": 0.5}), defaultdict(int, {"a": 0.5})),
    "an empty defaultdict": (defaultdict(list), {}),
    "an OrderedDict": (OrderedDict(a=1, b=tensor()), {"a": 1, "b": tensor()}),
    "a dict of a class of one's own": (Settings(a=1), {"a": 1}),
    "a bound": (deque([1.0, 2.0], maxlen=6), deque([1.0, 2.0])),
    "another bound": (deque([1.0, 2.0], maxlen=6), deque([1.0, 2.0], maxlen=5)),
    "a deque": (deque([1.0, 2.0]), [1.0, 2.0]),
    "a bound on tensors": (deque([tensor()], maxlen=6), deque([tensor()])),
    "a deque of tensors": (deque([tensor()], maxlen=6), [tensor()]),
    "a tuple of tensors": ((tensor(), tensor()), [tensor(), tensor()]),
    "a list of a class of one's own": (Items([1, 2]), [1, 2]),
    "a list of tensors of a class of one's own": (Items([tensor()]), [tensor()]),
    "a named tuple": (Pair(1, 2), [1, 2]),
    "a named tuple of tensors": (Pair(tensor(), 2), {"x": tensor(), "y": 2}),
    "a set of one's own enum": ({Color.RED}, frozenset({Color.RED})),
    "a member of an enum": (Color.RED, "Color.RED"),
    "a member of an int enum": (Level.LOW, "Level.LOW"),
    "a str of a class of one's own": (Name("a"), "a"),
    "a bytearray": (bytearray(b"a"), b"a"),
    "a torch.Size": (torch.Size([1, 2]), (1, 2)),
    "a scalar of numpy": (np.int64(3), np.array(3)),
    "a dataclass": (Config(0.5, {"a": 1}), {"rate": 0.5, "inner": {"a": 1}}),
    "a dataclass with slots": (Point(), {"x": 0.5, "y": 1.5}),
    "a namespace": (types.SimpleNamespace(a=1, b=tensor()), {"a": 1, "b": tensor()}),
    "a class": (types.SimpleNamespace(rate=0.5, inner={"a": 1}), Config(0.5, {"a": 1})),
    "another module": (torch.nn.ReLU(), torch.nn.GELU()),
    "a frozen parameter": (torch.nn.Parameter(tensor(), False), tensor()),
}
NOT_MADE = {
    "another module",
    "a named tuple of tensors",
    "a frozen parameter",
    "a list of tensors of a class of one's own",
}


def differing(one, other) -> list[str]:
    return [found.path for found in compare(Snapshot.capture({"r": one}), Snapshot.capture({"r": other})).differences]


@pytest.mark.parametrize(("before", "after"), PAIRS.values(), ids=PAIRS)
def test_what_is_alike_in_all_leaves_and_not_the_same_is_told_apart(before, after):
    assert differing({"x": before}, {"x": after})
    assert not differing({"x": before}, {"x": before})
    assert not differing({"x": after}, {"x": after})


@pytest.mark.parametrize(("before", "after"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_it_is_put_back_by_the_path_that_is_named(before, after, through_a_file, tmp_path, request):
    roots = {"r": {"x": after, "same": 1}}
    wanted = Snapshot.capture({"r": {"x": before, "same": 2}})
    if through_a_file:
        wanted.write(tmp_path / "one.pt")
        wanted = Snapshot.read(tmp_path / "one.pt")
    paths = differing({"x": before}, {"x": after})
    failed = wanted.restore(roots, paths)
    now = Snapshot.capture(roots)
    left = [each.path for each in compare(wanted, now).differences]
    if failed:
        assert request.node.callspec.id.partition("-")[2] in NOT_MADE
        assert set(failed) <= set(left)
        return
    assert left == ["r/same"]
    assert type(roots["r"]["x"]) is type(before)


@pytest.mark.parametrize("name", sorted(PAIRS.keys() - NOT_MADE))
def test_most_of_it_can_be_put_back(name):
    before, after = PAIRS[name]
    wanted = Snapshot.capture({"r": {"x": before}})
    assert wanted.restore({"r": {"x": after}}) == {}


def test_it_is_put_back_the_other_way_round_too():
    for before, after in (
        PAIRS[name] for name in ("int keys", "a Counter through JSON", "a bound", "a tuple of tensors")
    ):
        roots = {"r": {"x": before}}
        assert Snapshot.capture({"r": {"x": after}}).restore(roots) == {}
        assert not differing(roots["r"], {"x": after})


SAME = {
    "the order of keys": ({"a": 1, 2: tensor()}, {2: tensor(), "a": 1}),
    "an entry more is no other form": ({"a": 1, 2: 1}, {"a": 1}),
    "the order of keys that read the same": ({8: 1.0, "8": 2.0}, {"8": 2.0, 8: 1.0}),
    "a lazy module after its first step": (torch.nn.Linear(2, 1, bias=False), torch.nn.LazyLinear(1, bias=False)),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_is_of_one_form_is_not_told_apart_by_it(before, after):
    one, other = Snapshot.capture({"r": {"x": before}}), Snapshot.capture({"r": {"x": after}})
    assert not [each for each in compare(one, other).differences if each.path == "r/x" and each.kind != "order"]


def test_keys_that_read_the_same_have_their_own_values():
    assert differing({8: 1.0, "8": 2.0}, {8: 2.0, "8": 1.0}) == ["r/8", "r/8#2"]


def test_the_words_say_what_is_there_and_what_should_be():
    one, other = Snapshot.capture({"x": Counter({20: 1})}), Snapshot.capture({"x": {"20": 1}})
    (found,) = compare(one, other).differences
    assert found.how == "type changed: expected Counter with int keys, got dict with str keys"
    one, other = Snapshot.capture({"x": {20: 1, "3": 1}}), Snapshot.capture({"x": {"20": 1, 3: 1}})
    (found,) = compare(one, other).differences
    assert (found.expected, found.actual) == (
        "dict with str and int keys (20 is int)",
        "dict with str and int keys (20 is str)",
    )


def test_a_form_is_read_as_it_was_written():
    for form in (Form("dict"), form_of({1: 2, "a": 3}, {"1": "int"}), Form("deque(maxlen=6)")):
        assert Form.from_json(json.loads(json.dumps(form.to_json()))) == form
    with pytest.raises(TypeError):
        Form.from_json([3, {}, False])


def test_a_form_goes_with_its_path_where_snapshots_are_overlaid():
    below, above = (
        Snapshot.capture({"x": {"20": 1}, "y": {"a": 1}}),
        Snapshot.capture({"x": {20: 1}, "y": Settings(a=2)}),
    )
    assert overlaid(below, above, frozenset({"x"})).forms["x"] == above.forms["x"]
    mixed = overlaid(below, above, frozenset({"y/a"}))
    assert mixed.forms["x"] == below.forms["x"] and mixed.forms["y"] == below.forms["y"]


def test_attributes_of_tensors_are_state():
    def held(tag):
        model = torch.nn.Linear(2, 1)
        with torch.no_grad():
            model.weight.fill_(1)
            model.bias.fill_(1)
        model.weight.tag, marked = tag, tensor()
        marked.seen = {"steps": tag}
        return {"model": model, "marked": marked}

    before, after = held(1), held(2)
    assert differing(before, after) == ["r/marked/seen/steps", "r/model/weight/tag"] or set(
        differing(before, after)
    ) == {
        "r/marked/seen/steps",
        "r/model/weight/tag",
    }
    assert Snapshot.capture({"r": before}).restore({"r": after}) == {}
    assert after["model"].weight.tag == 1 and after["marked"].seen == {"steps": 1}
    del after["model"].weight.tag
    after["marked"].extra = 3
    assert Snapshot.capture({"r": before}).restore({"r": after}) == {}
    assert after["model"].weight.tag == 1 and not hasattr(after["marked"], "extra")


def test_keys_that_are_ids_have_the_names_of_the_objects():
    """The ids of a model's parameters are other numbers in each process."""

    def held(value, stale=False):
        model = torch.nn.Linear(2, 1)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.ones_(model.bias)
        ids = {id(parameter): torch.full((2,), value) for parameter in model.parameters()}
        return {"model": model, "by_id": {key + stale * 16: item for key, item in ids.items()}}

    assert differing(held(1.0), held(1.0)) == []
    assert differing(held(1.0), held(2.0)) == ["r/by_id/r.model.weight", "r/by_id/r.model.bias"]
    before, after = held(1.0), held(1.0, stale=True)
    assert {"r/by_id/r.model.weight", "r/by_id/r.model.bias"} < set(differing(before, after))
    assert Snapshot.capture({"r": before}).restore({"r": after}) == {}
    assert set(after["by_id"]) == {id(parameter) for parameter in after["model"].parameters()}


class Keeper:
    Entry = namedtuple("Entry", "priority name")  # as it is written where its name lacks the class's


def test_a_namedtuple_that_a_class_holds_is_made_by_its_name():
    held = Keeper()
    held.entries = [Keeper.Entry(1, "a"), Keeper.Entry(2, "b")]
    other = Keeper()
    other.entries = []
    assert Snapshot.capture({"it": held}).restore({"it": other}) == {}
    assert other.entries == held.entries and type(other.entries[0]) is Keeper.Entry
    with pytest.raises(NotRestorable):
        named(f"{__name__}.Nothing")
