"""The order of a dict's keys: told apart, put back by moving keys, counted where the run goes by it."""

import functools
from collections import Counter, OrderedDict, defaultdict

import pytest
import torch

import dora_repro
from dora_repro.comparison.leaves import compare
from dora_repro.state.key_order import goes_by_order, put_in_place, reorder
from dora_repro.state.keys import key_text
from dora_repro.state.snapshot import Snapshot


def backwards(held):
    return type(held)(dict(reversed(list(held.items()))))


MAPPINGS = {
    "dict": {"a": 1, "b": 2, "c": 3},
    "OrderedDict": OrderedDict(a=1, b=2, c=3),
    "Counter": Counter(a=1, b=2, c=3),
    "keys of several types": {"a": 1, 2: 2, (3, 4): 3, None: 4},
    "of containers": {"a": [1], "b": {"c": torch.ones(2)}, "d": {}},
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_another_order_is_a_difference_and_is_put_back_in_place(name):
    live = {"table": backwards(MAPPINGS[name])}
    held, snapshot = live["table"], Snapshot.capture({"table": MAPPINGS[name]})
    found = compare(snapshot, Snapshot.capture(live)).differences
    assert [(each.path, each.kind) for each in found] == [("table", "order")]
    assert snapshot.restore(live, ["table"]) == {}
    assert live["table"] is held and list(held) == list(MAPPINGS[name])
    assert compare(snapshot, Snapshot.capture(live)).equal


def test_an_order_that_move_to_end_left_is_the_one_that_is_seen():
    moved = OrderedDict(a=1, b=2, c=3)
    moved.move_to_end("a")
    found = compare(Snapshot.capture({"x": moved}), Snapshot.capture({"x": OrderedDict(a=1, b=2, c=3)})).differences
    assert [(each.kind, each.expected, each.actual) for each in found] == [("order", "b, c, a", "a, b, c")]


def test_what_is_not_chosen_keeps_its_order():
    live = {"x": {"b": 2, "a": 1}, "y": {"b": 2, "a": 1}, "n": 1}
    Snapshot.capture({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 2}, "n": 2}).restore(live, ["x", "n"])
    assert list(live["x"]) == ["a", "b"] and list(live["y"]) == ["b", "a"] and live["n"] == 2


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("gone", ["a", "b", "d"])
def test_an_entry_that_is_put_back_stands_where_it_stood(kind, gone):
    whole = kind((name, [name]) for name in "abcd")
    live = {"x": kind((name, held) for name, held in whole.items() if name != gone)}
    snapshot = Snapshot.capture({"x": whole})
    assert snapshot.restore(live, [f"x/{gone}"]) == {}
    assert list(live["x"]) == list("abcd")


def test_a_snapshot_is_read_as_it_was_written(tmp_path):
    written = Snapshot.capture({"x": OrderedDict(b=1, a=2), "y": {2: 1, 1: 2}, "z": defaultdict(list)})
    written.write(tmp_path / "s.pt")
    read = Snapshot.read(tmp_path / "s.pt")
    assert [(one.order, one.by_order) for one in read.forms.values()] == [
        (one.order, one.by_order) for one in written.forms.values()
    ]
    assert compare(read, Snapshot.capture({"x": OrderedDict(a=2, b=1), "y": {1: 2, 2: 1}, "z": defaultdict(list)}))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("abc", "abc", False),
        ("abc", "abcd", False),  # it only grew
        ("abc", "bca", True),  # one was moved to the end
        ("abc", "bcd", True),  # the oldest went
        ("abc", "ab", True),  # the newest went
        ("abc", "ac", False),  # one went from among them
        ("abc", "", False),
        ("abc", "xyz", False),
        ("", "abc", False),
    ],
)
def test_a_dict_goes_by_its_order_where_keys_move_or_leave_in_it(before, after, expected):
    assert goes_by_order(before, after) is expected


def test_keys_are_moved_in_place_and_unknown_ones_stay_last():
    held = {"x": 1, "b": 2, 3: 3, "y": 4}
    reorder(held, list(map(key_text, held)), ["3", "b"])
    assert list(held.items()) == [(3, 3), ("b", 2), ("x", 1), ("y", 4)]
    put_in_place(held, "y", ["b"])
    assert list(held) == [3, "y", "b", "x"]


class Run:
    """Its table goes back and forth in the order of its keys; what the order is for is `kind`'s."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(0)
        self.kind = kind
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        make = OrderedDict if kind == "OrderedDict" else dict
        self.table = make((name, index) for index, name in enumerate("badc"))
        self.done = 0

    def step(self) -> float:
        self.done += 1
        if self.kind == "oldest forgotten":
            del self.table[next(iter(self.table))]
            self.table[f"x{self.done}"] = self.done
        scale = next(iter(self.table.values())) if self.kind == "first read" else 1
        loss = (self.model(torch.ones(1, 2)) - scale).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path) -> None:
        torch.save((self.model.state_dict(), self.table, self.done), path)

    def load(self, path) -> None:
        model, table, self.done = torch.load(path, weights_only=False)
        self.model.load_state_dict(model)
        self.table = type(table)(sorted(table.items()))


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("OrderedDict", "LATENT"),
        ("dict", "EXACT"),  # nothing went by its order
        ("oldest forgotten", "LATENT"),
        ("first read", "DIFFERENT"),
    ],
)
def test_the_verdict_goes_by_what_the_order_is_for(kind, verdict):
    report = dora_repro.check(functools.partial(Run, kind), steps=3, save_at=2, in_process=True)
    assert report.verdict.name == verdict
    if verdict == "EXACT":
        assert report.set_aside.reordered == ("table",)
        assert "keys in another order, which no step showed; not counted: table" in str(report)
    else:
        assert [cause.name for cause in report.causes] == ["table"]
        assert "its keys are in another order" in str(report)
