"""The watched memory is at each step what a walk over everything would find."""

import collections
import copy
import functools
import types

import numpy as np
import pytest
import torch

from dora_repro.recording.memory import Memory
from tests import runs

RUNS = [
    runs.Plain,
    runs.Loader,
    functools.partial(runs.Loader, 0, "onecycle"),
    runs.Ema,
    runs.Lbfgs,
    runs.BatchNormSgd,
    runs.PrivateGenerators,
    runs.Tied,
    runs.Counters,
    runs.Generating,
    runs.HandMade,
]


@pytest.mark.parametrize("make", RUNS, ids=lambda make: getattr(make, "func", make).__name__)
def test_what_is_watched_is_what_a_whole_walk_finds_after_each_step(make):
    run = make()
    watched = Memory(run)
    for _ in range(9):
        before = dict(watched.now)
        run.step()
        changed = watched.changes()
        whole = Memory(run).now
        assert watched.now == whole
        assert {p: v for p, v in changed.items() if v is not None} == {
            p: v for p, v in whole.items() if before.get(p) != v
        }
        assert {p for p, v in changed.items() if v is None} == before.keys() - whole.keys()


def _counter(run):
    run.count += 1


def _new_attribute(run):
    run.extra = 3


def _gone(run):
    del run.count


def _deep(run):
    run.settings["list"][1]["value"] = 2


def _list_in_place(run):
    run.settings["numbers"].append(4)


def _array_in_place(run):
    run.settings["array"][0] = 9


def _other_kind(run):
    run.count = "three"


def _same_value_other_kind(run):
    run.count = 0.0


def _moment(run):
    next(iter(run.optimizer.state.values()))["exp_avg"][0, 0] += 1


def _moment_replaced(run):
    state = next(iter(run.optimizer.state.values()))
    state["exp_avg"] = state["exp_avg"] + 1


def _state_cleared(run):
    run.optimizer.state.clear()


def _option(run):
    run.optimizer.param_groups[0]["lr"] = 1e-5


def _tensor(run):
    run.inputs.mul_(2)


def _global(run):
    torch.rand(1)


CHANGES = [
    (_counter, "count"),
    (_new_attribute, "extra"),
    (_gone, "count"),
    (_deep, "settings/list/1/value"),
    (_list_in_place, "settings/numbers"),
    (_array_in_place, "settings/array"),
    (_other_kind, "count"),
    (_same_value_other_kind, "count"),
    (_moment, "optimizer/0.weight/exp_avg"),
    (_moment_replaced, "optimizer/0.weight/exp_avg"),
    (_state_cleared, "optimizer/0.weight/exp_avg"),
    (_option, "optimizer/group.0/lr"),
    (_tensor, "inputs"),
    (_global, "rng/torch.cpu"),
]


@pytest.mark.parametrize(("change", "path"), CHANGES, ids=lambda value: getattr(value, "__name__", value))
def test_every_kind_of_change_is_seen_and_no_change_is_seen_where_there_is_none(change, path):
    run = runs.Plain()
    run.step()
    run.count = 0
    run.settings = {"list": [{"value": 1}, {"value": 1, "keep": torch.ones(2)}], "numbers": [1, 2, 3]}
    run.settings["array"] = torch.arange(3).numpy()
    memory = Memory(run)
    assert memory.changes() == {}
    change(run)
    assert path in memory.changes()
    assert memory.changes() == {}


def test_a_buffer_replaced_or_written_in_place_is_seen():
    run = runs.BatchNormSgd()
    memory = Memory(run)
    run.model[2].running_mean.add_(1)
    assert list(memory.changes()) == ["model/2.running_mean"]
    run.model[2].running_mean = torch.full((4,), 7.0)
    assert list(memory.changes()) == ["model/2.running_mean"]


def test_small_runs_are_watched_and_not_walked_at_every_step(monkeypatch):
    run = runs.Plain()
    run.step()
    memory = Memory(run)
    monkeypatch.setattr(Memory, "_read_all", lambda self: pytest.fail("walked again"))
    run.step()
    assert {"count", "rng/torch.cpu", "optimizer/0.weight/exp_avg"} <= memory.changes().keys()


class Growing(runs.Plain):
    """Containers that begin empty or with numbers, and get other things later."""

    def __init__(self):
        super().__init__()
        self.listed, self.numbers, self.inner, self.keyed = [], [], [[], []], {}
        self.queued, self.members, self.holder = collections.deque(maxlen=3), set(), types.SimpleNamespace()
        self.windows = {"all": [], "last": []}

    def step(self):
        loss = super().step()
        weight = self.model[0].weight.detach().clone()
        self.listed.append(weight)
        self.numbers.append(weight if self.count > 3 else float(loss))
        self.inner[self.count % 2].append({"weight": weight.clone()})
        self.keyed[self.count] = weight.clone()
        self.queued.append(weight.clone())
        self.members.add(self.count if self.count < 4 else weight)
        setattr(self.holder, f"step_{self.count}", [weight.clone()])
        self.windows["all"].append((self.count, weight.clone()))
        self.windows["last"] = self.windows["all"][-2:]
        if self.count == 6:
            self.numbers[:] = [1.0, 2.0]  # plain again
        return loss


def test_what_grows_from_plain_values_to_objects_is_walked_again():
    run = Growing()
    watched = Memory(run)
    for _ in range(8):
        run.step()
        watched.changes()
        assert watched.now == Memory(run).now
    assert {"listed/7", "numbers/3", "inner/0/3/weight", "keyed/8", "queued/2", "windows/all/7/1"} <= watched.now.keys()
    before = watched.now["listed/3"]
    run.listed[3][0, 0] += 1
    assert watched.changes().get("listed/3", before) != before


def test_a_copy_of_a_run_has_the_same_memory():
    run = runs.Counters()
    run.step()
    other = copy.deepcopy(run)
    assert Memory(run).now == Memory(other).now
    other.stopper["waited"] += 1
    assert Memory(run).now != Memory(other).now


class Holding:
    """Holds something large beside what it trains."""

    def __init__(self, held):
        self.held = held


def changes_of(held, change):
    memory = Memory(Holding(held))
    assert not memory.changes()
    change(held)
    return [*memory.changes()]


def tenfold(part):
    part *= 10


@pytest.mark.parametrize("make", [lambda: torch.ones(1 << 20), lambda: np.ones(1 << 22)], ids=["tensor", "array"])
def test_what_is_large_is_read_again_where_it_has_changed(make):
    assert changes_of(make(), tenfold) == ["held"]
    assert changes_of(make(), lambda held: tenfold(held[:1000])) == ["held"]
    assert not changes_of(make(), lambda held: None)


def test_one_entry_of_a_large_tensor_counts():
    assert changes_of(torch.ones(1 << 20), lambda held: tenfold(held[777:778])) == ["held"]


def test_what_is_large_and_has_not_changed_is_not_read_whole(monkeypatch):
    large = torch.ones(1 << 20), np.ones(1 << 22)
    memory = Memory(Holding(list(large)))
    sizes = []
    monkeypatch.setattr("dora_repro.recording.memory.digest_tensor", lambda value: sizes.append(value.nbytes) or b"")
    monkeypatch.setattr("dora_repro.recording.memory.digest", lambda value: sizes.append(getattr(value, "nbytes", 0)))
    memory.changes()
    assert max(sizes, default=0) < 1 << 20


ODD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of layouts that are in beta
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_of_any_layout_is_memory(kind):
    """Of some, the number of bytes is not defined."""
    run = runs.Plain()
    run.table = ODD[kind]()
    memory = Memory(run)
    assert "table" in memory.now
    assert memory.changes() == {}
    if kind != "meta":
        run.table = run.table + run.table if kind != "quantized" else ODD["quantized"]().int_repr()
        assert "table" in memory.changes()
