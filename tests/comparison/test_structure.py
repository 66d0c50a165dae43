"""Two files with equal leaves are not called equal where they are put together differently."""

import collections
import copy
import json

import numpy
import pytest
import torch
from safetensors.torch import save_file

from dora_repro import compare

ONE = torch.ones(2)
Pair = collections.namedtuple("Pair", "first second")


class Tagged(torch.Tensor):
    """A class of tensors of the user's own."""


def tagged(**attributes):
    tensor = torch.ones(2)
    for name, value in attributes.items():
        setattr(tensor, name, value)
    return tensor


LISTED = [1, 2]
DIFFERENT = {
    "a key that is a number": ({8: 1}, {"8": 1}),
    "a key that is a tuple": ({(1, 2): 1}, {"(1, 2)": 1}),
    "a key of numpy": ({numpy.int64(8): 1}, {8: 1}),
    "keys above tensors": ({0: {"w": ONE}}, {"0": {"w": ONE}}),
    "a slash in a key": ({"a/b": 1}, {"a": {"b": 1}}),
    "both keys of one text": ({1: "a", "1": "b"}, {1: "b", "1": "a"}),
    "a long key": ({"k" * 400: 1}, {"k" * 399 + "x": 1}),
    "a tuple": ((ONE, ONE * 2), [ONE, ONE * 2]),
    "a tuple of plain values": ((1, 2), [1, 2]),
    "a size": (torch.Size([1, 2]), (1, 2)),
    "a tuple in a tuple": (((1, 2), 3), ([1, 2], 3)),
    "an ordered dict": (collections.OrderedDict(a=1), {"a": 1}),
    "a counter": (collections.Counter(a=1), {"a": 1}),
    "a defaultdict": (collections.defaultdict(list, a=1), {"a": 1}),
    "a default": (collections.defaultdict(list, a=1), collections.defaultdict(int, a=1)),
    "a default of the user's": (collections.defaultdict(Tagged, a=1), collections.defaultdict(None, a=1)),
    "an empty default": (collections.defaultdict(list), collections.defaultdict(int)),
    "a deque's length": (collections.deque([ONE], maxlen=3), collections.deque([ONE])),
    "a plain deque's length": (collections.deque([1.0], maxlen=3), collections.deque([1.0])),
    "a deque": (collections.deque([ONE]), [ONE]),
    "a set": ({1, 2}, frozenset({1, 2})),
    "a set's members": ({1, 2}, {"1", "2"}),
    "a set for a list": ({"a", "b"}, ["a", "b"]),
    "a number": (1, 1.0),
    "a truth value": (True, 1),
    "a scalar of numpy": (numpy.float64(1.0), 1.0),
    "a scalar of numpy in a list": ([numpy.float64(1.0)], [1.0]),
    "bytes": (b"a", bytearray(b"a")),
    "an array for a tensor": (numpy.ones(2, "f4"), torch.ones(2)),
    "Fortran's order": (numpy.ones((2, 3)), numpy.asfortranarray(numpy.ones((2, 3)))),
    "a parameter": (torch.nn.Parameter(ONE), ONE),
    "a tensor that requires grad": (torch.ones(2, requires_grad=True), ONE),
    "a frozen parameter": (torch.nn.Parameter(ONE), torch.nn.Parameter(ONE, requires_grad=False)),
    "a class of tensors": (ONE.as_subclass(Tagged), ONE),
    "an attribute": (tagged(age=1), ONE),
    "an attribute's value": (tagged(age=1), tagged(age=2)),
    "a tensor in an attribute": (tagged(mean=ONE), tagged(mean=ONE * 2)),
    "strides": (torch.ones(2, 3), torch.ones(3, 2).T),
    "memory that is shared": ([ONE, ONE], [ONE, ONE.clone()]),
    "a view": ({"a": ONE, "b": ONE[:1]}, {"a": ONE, "b": ONE[:1].clone()}),
    "a list that is shared": ({"a": LISTED, "b": LISTED}, {"a": LISTED, "b": list(LISTED)}),
    "a NaN of numpy": tuple(numpy.frombuffer(bytes([mark, 0, 192, 127]), "f4")[0] for mark in (1, 2)),
    "a default of another kind": (collections.defaultdict(int, {"a": 1}), collections.defaultdict(str, {"a": 1})),
    "who shares": ([ONE, ONE, ONE.clone()], [ONE, ONE.clone(), ONE]),
}  # fmt: skip


def compared(one, other, folder, wrap=lambda value: {"x": value, "y": 3}):
    for name, value in (("one", one), ("other", other)):
        torch.save(wrap(value), folder / f"{name}.pt")
    return compare(folder / "one.pt", folder / "other.pt")


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("wrap", [lambda value: {"x": value, "y": 3}, lambda value: value], ids=["inside", "alone"])
def test_structure_that_differs_is_told(name, wrap, tmp_path):
    for one, other in (DIFFERENT[name], DIFFERENT[name][::-1]):
        found = compared(one, other, tmp_path, wrap)
        assert not found.equal and len(found.differences) <= 2, [str(each) for each in found.differences]
        assert compared(one, one, tmp_path, wrap).equal


def test_words_for_structure(tmp_path):
    told = {name: [str(each) for each in compared(*DIFFERENT[name], tmp_path).differences] for name in DIFFERENT}
    assert told["a key that is a number"] == ["x  structure changed: expected the key 8 as int, got str"]
    assert told["a deque's length"] == ["x  structure changed: expected deque(maxlen=3), got deque"]
    assert told["a tuple"] == ["x  structure changed: expected tuple, got list"]
    assert told["a parameter"] == ["x  structure changed: expected parameter, got tensor"]
    assert told["memory that is shared"] == [
        "x/1  structure changed: expected that of x/0, got memory of its own",
    ]  # fmt: skip


def test_the_order_of_keys_is_no_difference_and_is_told(tmp_path):
    found = compared({"a": 1, "b": ONE}, {"b": ONE, "a": 1}, tmp_path)
    assert found.equal and found.notes == ("the keys of x are in a different order",)
    assert compared({"a": 1, "b": ONE}, {"a": 1, "b": ONE}, tmp_path).notes == ()
    assert not compared({"a": 1, "b": ONE}, {"b": ONE, "a": 2}, tmp_path).equal


def test_the_order_of_a_set_is_none(tmp_path):
    assert compared({8, 16, 32, 1}, {32, 1, 16, 8}, tmp_path).equal


def test_strides_without_meaning_are_none(tmp_path):
    assert compared(torch.ones(1, 3), torch.ones(3, 1).T, tmp_path).equal
    assert compared(torch.empty(0, 3), torch.empty(3, 0).T, tmp_path).equal


def test_globs_choose_structure_too(tmp_path):
    torch.save({"a": (ONE,), "b": 1}, tmp_path / "one.pt")
    torch.save({"a": [ONE], "b": 1}, tmp_path / "other.pt")
    paths = tmp_path / "one.pt", tmp_path / "other.pt"
    assert not compare(*paths).equal and not compare(*paths, only=["a*"]).equal
    assert compare(*paths, only=["b"]).equal and compare(*paths, ignore=["a"]).equal


def test_formats_that_say_less_are_compared_by_what_both_say(tmp_path):
    weights = {"w": torch.ones(2), "b": torch.zeros(2)}
    save_file(weights, tmp_path / "a.safetensors")
    torch.save(collections.OrderedDict(w=torch.nn.Parameter(weights["w"]), b=weights["b"]), tmp_path / "b.pt")
    found = compare(tmp_path / "a.safetensors", tmp_path / "b.pt")
    assert found.equal and "the files are of two formats" in found.notes[-1]
    (tmp_path / "a.json").write_text(json.dumps({"milestones": {8: 1}, "epoch": 3}))
    torch.save({"milestones": collections.Counter({8: 1}), "epoch": 3}, tmp_path / "c.pt")
    told = [str(each) for each in compare(tmp_path / "c.pt", tmp_path / "a.json").differences]
    assert told == [
        "milestones  structure changed: expected Counter, got dict",
        "milestones  structure changed: expected the key 8 as int, got str",
    ]  # fmt: skip


def test_state_dicts_of_another_version_differ(tmp_path):
    state = torch.nn.Linear(2, 2).state_dict()
    other = copy.deepcopy(state)
    other._metadata[""]["version"] = 7
    assert not compared(state, other, tmp_path).equal
    assert compared(state, copy.deepcopy(state), tmp_path).equal
