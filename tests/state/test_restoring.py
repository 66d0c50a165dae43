"""Putting a snapshot back: all or some of it, into the same run or a fresh one, so that it goes on bit for bit."""

import copy
import enum
import itertools
import random
from collections import OrderedDict, defaultdict, deque, namedtuple
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.errors import BadInput
from dora_repro.state.digest import digest
from dora_repro.state.objects import Objects
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import objects_lost
from dora_repro.state.walk import walk
from tests import runs

# Whose next step depends on nothing that cannot be put back (a half-used loader, a suspended generator).
RESTORABLE = [
    runs.Plain, runs.Ema, runs.Accumulating, runs.Lbfgs, runs.BatchNormSgd, runs.PrivateGenerators, runs.Tied,
    runs.Counters, runs.HandMade,
]  # fmt: skip


def capture(run) -> Snapshot:
    return Snapshot.capture(run_roots(run), keep_frozen=True)


def digests(snapshot) -> dict[str, bytes]:
    return {path: leaf.digest for path, leaf in snapshot.items()}


def differing(one, two) -> set[str]:
    return {path for path in one.keys() | two.keys() if digests(one).get(path) != digests(two).get(path)}


class Holder:
    def __init__(self, **held):
        self.__dict__.update(held)


def restored(before: dict, after: dict, paths=("*",)) -> tuple[dict, dict]:
    """(`after` with the snapshot of `before` put into it, what failed)."""
    snapshot = Snapshot.capture({"r": before})
    roots = {"r": after}
    failed = snapshot.restore(roots, paths if paths == ("*",) else [f"r/{path}" for path in paths])
    return roots["r"], failed


def keyed(seed=0, of=lambda model: model.parameters()):
    """A model, and a dict whose keys are parameters or modules of it."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    return {"model": model, "held": {key: torch.rand(2) for key in of(model)}}


@pytest.mark.parametrize("of", [lambda m: m.parameters(), lambda m: m.children()], ids=["parameters", "modules"])
@pytest.mark.parametrize("lacks", ["nothing", "some", "all", "the dict"])
@pytest.mark.parametrize("through_a_file", [False, True])
def test_what_is_kept_by_parameter_or_module_comes_back_under_the_same_one(of, lacks, through_a_file, tmp_path):
    """The keys are other objects in the next process, which have the same names."""
    before, after = keyed(0, of), keyed(1, of)
    if lacks == "some":
        del after["held"][next(iter(after["held"]))]
    elif lacks == "all":
        after["held"].clear()
    elif lacks == "the dict":
        after["held"] = None
    snapshot = Snapshot.capture(before)
    if through_a_file:
        snapshot.write(tmp_path / "snapshot.pt")
        snapshot = Snapshot.read(tmp_path / "snapshot.pt")
    assert snapshot.restore(after) == {}
    pairs = zip(of(before["model"]), of(after["model"]), strict=True)
    assert all(torch.equal(before["held"][one], after["held"][other]) for one, other in pairs)
    assert len(after["held"]) == len(before["held"])


def test_what_is_kept_of_a_parameter_too_many_is_removed():
    before, after = keyed(), keyed()
    gone = next(iter(before["held"]))
    del before["held"][gone]
    assert Snapshot.capture(before).restore(after) == {}
    assert after["model"][0].weight not in after["held"] and len(after["held"]) == 3


# --- whole runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", RESTORABLE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("through_a_file", [False, True])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_fresh_run_goes_on_from_a_snapshot_bit_for_bit(make, steps, through_a_file, tmp_path):
    run = make()
    for _ in range(steps):
        run.step()
    snapshot = capture(run)
    if through_a_file:
        snapshot.write(tmp_path / "s.pt")
        snapshot = Snapshot.read(tmp_path / "s.pt")
    losses = [run.step() for _ in range(4)]
    end = capture(run)
    fresh = make()
    fresh.step() if steps == 0 else None  # what is too much is taken away, too
    assert snapshot.restore(run_roots(fresh)) == {}
    assert not differing(capture(fresh), snapshot)
    assert [fresh.step() for _ in range(4)] == losses
    assert not differing(capture(fresh), end)


@pytest.mark.parametrize("make", RESTORABLE, ids=lambda make: make.__name__)
def test_without_the_snapshot_it_goes_on_otherwise(make):
    run, fresh = make(), make()
    for _ in range(3):
        run.step()
    losses = [run.step() for _ in range(4)]
    assert [fresh.step() for _ in range(4)] != losses


@pytest.mark.parametrize("make", RESTORABLE, ids=lambda make: make.__name__)
def test_a_run_goes_back_to_where_it_was(make):
    run = make()
    run.step()
    snapshot = capture(run)
    losses = [run.step() for _ in range(3)]
    for _ in range(2):
        assert snapshot.restore(run_roots(run)) == {}
        assert [run.step() for _ in range(3)] == losses


def test_a_snapshot_is_not_changed_by_what_it_was_put_into():
    run = runs.Lbfgs()
    run.step()
    snapshot = capture(run)
    fresh = runs.Lbfgs()
    snapshot.restore(run_roots(fresh))
    for _ in range(2):
        fresh.step()
    assert {path: digest(leaf.value) for path, leaf in snapshot.items()} == digests(snapshot)


def test_what_cannot_be_put_back_is_told_and_the_rest_is_put_back():
    run = runs.Generating()
    for _ in range(3):
        run.step()
    snapshot = capture(run)
    fresh = runs.Generating()
    failed = snapshot.restore(run_roots(fresh))
    assert {"loop/(line)", "loop/loss"} <= failed.keys() and all(p.startswith("loop/") for p in failed)
    assert differing(capture(fresh), snapshot) == failed.keys()
    again = snapshot.restore(run_roots(run))
    assert again == {}, "nothing differs, so nothing has to be set"


def test_frozen_parameters_that_differ_are_told():
    model = nn.Linear(2, 2).requires_grad_(False)
    snapshot = Snapshot.capture({"model": model})
    assert snapshot.restore({"model": model}) == {}
    model.weight.add_(1)
    assert snapshot.restore({"model": model}) == {"model/weight": "stored by digest alone"}


# --- some leaves only --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "globs",
    [["optimizer/*/exp_avg"], ["optimizer/*"], ["rng/*"], ["model/0.weight"], ["*grad"], ["count", "rng/torch.cpu"]],
    ids=" ".join,
)
def test_only_the_chosen_leaves_are_put_back(globs):
    run = runs.Plain()
    for _ in range(3):
        run.step()
    snapshot = capture(run)
    fresh = runs.Plain()
    before = capture(fresh)
    wrong = differing(before, snapshot)
    assert snapshot.restore(run_roots(fresh), globs) == {}
    after = capture(fresh)
    changed = differing(before, after)
    assert changed and changed == wrong - differing(after, snapshot)
    assert all(any(fnmatchcase(path, glob) for glob in globs) for path in changed)


def test_moments_alone_heal_a_run_that_lost_only_them():
    run = runs.Plain()
    for _ in range(3):
        run.step()
    snapshot = capture(run)
    losses = [run.step() for _ in range(3)]
    lost = runs.Plain()
    snapshot.restore(run_roots(lost), [p for p in snapshot if not p.startswith("optimizer/")])
    without = [lost.step() for _ in range(3)]
    healed = runs.Plain()
    snapshot.restore(run_roots(healed), [p for p in snapshot if not p.startswith("optimizer/")])
    snapshot.restore(run_roots(healed), ["optimizer/*"])
    assert [healed.step() for _ in range(3)] == losses != without


def test_a_glob_that_matches_nothing_is_bad_input():
    run = runs.Plain()
    with pytest.raises(BadInput, match="no leaf matches 'optimiser/"):
        capture(run).restore(run_roots(run), ["optimiser/*"])


def test_generators_come_last():
    """Putting back an attribute may draw: what is drawn then must not move the generators that are put back."""

    class Drawing(dict):
        def __setitem__(self, key, value):
            torch.rand(1), random.random(), np.random.rand()
            super().__setitem__(key, value)

    snapshot = Snapshot.capture({"d": {"a": [torch.zeros(1)]}})
    torch.rand(3), random.random(), np.random.rand()
    roots = Drawing(d={})
    assert snapshot.restore(roots) == {}
    assert not {path for path in differing(Snapshot.capture(roots), snapshot) if path.startswith("rng/")}


# --- one kind of object at a time --------------------------------------------------------------------------------

Pair = namedtuple("Pair", "a b")
Color = enum.Enum("Color", "RED GREEN", module=__name__)
ones = torch.ones(2)


def closure(value):
    def read():
        return value

    return read


def generators(seed):
    numpy = np.random.default_rng(seed)
    numpy.spawn(seed - 1 if seed == 1 else 0)
    return [torch.Generator().manual_seed(seed), random.Random(seed), numpy, np.random.RandomState(seed)]


def advanced(count, over=(4, 5, 6)):
    iterator = iter(over)
    for _ in range(count):
        next(iterator)
    return iterator


def spawned(count):
    seeds = np.random.SeedSequence([4, 5]).spawn(2)[1]
    seeds.spawn(count)
    return seeds


def shared():
    both = [ones.clone()]
    return {"x": both, "y": both}


def shared_tensor():
    both = ones.clone()
    return {"x": both, "y": both}


def shared_generator():
    both = random.Random(3)
    return {"x": both, "y": both}


SETS = {  # (what was captured, what is there)
    "a number": (lambda: {"x": 1}, lambda: {"x": 2}),
    "a number where there is none": (lambda: {"x": 1}, lambda: {}),
    "nothing where there is a number": (lambda: {}, lambda: {"x": 2}),
    "a bool over a number": (lambda: {"x": True}, lambda: {"x": 1}),
    "a list": (lambda: {"x": [1, 2]}, lambda: {"x": [3]}),
    "an empty list": (lambda: {"x": []}, lambda: {"x": [3]}),
    "a list over none": (lambda: {"x": [1, 2]}, lambda: {"x": None}),
    "none over a list": (lambda: {"x": None}, lambda: {"x": [1, 2]}),
    "a tuple over a list": (lambda: {"x": (1, 2)}, lambda: {"x": [1, 2]}),
    "a list over a tuple": (lambda: {"x": [1, 2]}, lambda: {"x": (1, 2)}),
    "a deque": (lambda: {"x": deque([1, 2], 3)}, lambda: {"x": deque([5], 3)}),
    "a deque over none": (lambda: {"x": deque([1, 2], 3)}, lambda: {"x": None}),
    "a set": (lambda: {"x": {1, 2}}, lambda: {"x": {3}}),
    "a set over none": (lambda: {"x": {1, 2}}, lambda: {}),
    "a frozenset": (lambda: {"x": frozenset({1})}, lambda: {"x": frozenset({2})}),
    "bytes and bytearrays": (lambda: {"x": bytearray(b"ab"), "y": b"c"}, lambda: {"x": bytearray(b"d"), "y": b""}),
    "a dict in a dict": (lambda: {"x": {"y": {"z": 1}}}, lambda: {"x": {"y": {"z": 2}}}),
    "a dict in a dict that is not there": (lambda: {"x": {"y": {"z": 1}, "w": 2}}, lambda: {}),
    "a dict over none": (lambda: {"x": {"y": 1, "t": ones.clone()}}, lambda: {"x": None}),
    "none over a dict": (lambda: {"x": None}, lambda: {"x": {"y": 1}}),
    "an empty dict over none": (lambda: {"x": {}}, lambda: {"x": None}),
    "a key too many": (lambda: {"x": {"y": 1}}, lambda: {"x": {"y": 1, "z": {"w": 2}, "v": 3}}),
    "keys that are no text": (lambda: {"x": {1: 2, (1, 2): 3, None: 4}}, lambda: {"x": {1: 5}}),
    "keys that are no text, none there": (lambda: {"x": {1: 2, (1, 2): 3, "a/b": 4}}, lambda: {}),
    "members of an enum, numbers of numpy's and paths as keys": (
        lambda: {"x": {Color.RED: 2, np.int64(3): ones.clone(), np.float32(0.5): 1, PurePosixPath("a/b"): 4}},
        lambda: {"x": {"red": 2}},
    ),
    "a dict with members of an enum as keys over none": (lambda: {"x": {Color.RED: [1], 3: 4}}, lambda: {"x": None}),
    "a key too many that is no text": (lambda: {"x": {1: 2}}, lambda: {"x": {1: 2, (3,): 4}}),
    "a name with separators": (lambda: {"a/b~c": 1}, lambda: {}),
    "an ordered dict over none": (lambda: {"x": OrderedDict(b=1, a=2)}, lambda: {"x": None}),
    "tensors in a list": (lambda: {"x": [ones.clone(), 3]}, lambda: {"x": [ones * 2, 4]}),
    "a list that grew": (lambda: {"x": [ones.clone()]}, lambda: {"x": [ones * 2, ones * 3, {"y": 1}]}),
    "a list that shrank": (lambda: {"x": [ones.clone(), ones * 2, 3]}, lambda: {"x": [ones * 4]}),
    "tensors where there are numbers": (lambda: {"x": [ones.clone(), 3]}, lambda: {"x": [1, 2]}),
    "numbers where there are tensors": (lambda: {"x": [1, 2]}, lambda: {"x": [ones.clone(), 3]}),
    "tensors over an empty list": (lambda: {"x": [ones.clone()]}, lambda: {"x": []}),
    "dicts in a list": (lambda: {"x": [{"t": ones.clone()}]}, lambda: {"x": []}),
    "a deque of tensors": (lambda: {"x": deque([ones.clone()], 2)}, lambda: {"x": deque([ones * 2, ones * 3], 2)}),
    "a deque of tensors over none": (lambda: {"x": deque([ones.clone()], 2)}, lambda: {"x": None}),
    "a hidden state": (lambda: {"x": (ones.clone(), ones * 2)}, lambda: {"x": (ones * 3, ones * 4)}),
    "a hidden state over none": (lambda: {"x": (ones.clone(), ones * 2)}, lambda: {"x": None}),
    "a smaller hidden state": (lambda: {"x": (ones.clone(), ones * 2)}, lambda: {"x": (ones[:1] * 3, ones[:1])}),
    "numbers in a tuple of tensors": (lambda: {"x": (ones.clone(), 1, 2, 3)}, lambda: {"x": (ones.clone(), 4, 5, 6)}),
    "a named tuple": (lambda: {"x": Pair(1, 2)}, lambda: {"x": Pair(3, 4)}),
    "a named tuple of tensors": (lambda: {"x": Pair(ones.clone(), 2)}, lambda: {"x": Pair(ones * 2, 4)}),
    "a tensor": (lambda: {"x": ones.clone()}, lambda: {"x": ones * 2}),
    "a tensor over none": (lambda: {"x": ones.clone()}, lambda: {"x": None}),
    "none over a tensor": (lambda: {"x": None}, lambda: {"x": ones.clone()}),
    "another dtype": (lambda: {"x": ones.clone()}, lambda: {"x": ones.double()}),
    "another shape": (lambda: {"x": ones.clone()}, lambda: {"x": torch.zeros(3)}),
    "minus zero": (lambda: {"x": -torch.zeros(2)}, lambda: {"x": torch.zeros(2)}),
    "a strided tensor": (lambda: {"x": torch.eye(3)[1]}, lambda: {"x": torch.zeros(3, 3)[:, 1]}),
    "a trainable tensor": (lambda: {"x": ones.clone().requires_grad_()}, lambda: {"x": torch.zeros(2)}),
    "a tensor that is frozen": (lambda: {"x": ones.clone()}, lambda: {"x": torch.zeros(2, requires_grad=True)}),
    "an array": (lambda: {"x": np.arange(3)}, lambda: {"x": np.zeros(3, int)}),
    "an array of another dtype": (lambda: {"x": np.arange(3)}, lambda: {"x": np.zeros(3)}),
    "an array over none": (lambda: {"x": np.arange(3)}, lambda: {"x": None}),
    "a numpy scalar": (lambda: {"x": np.float32(1.5)}, lambda: {"x": np.float32(2)}),
    "a numpy scalar over none": (lambda: {"x": np.float32(1.5)}, lambda: {"x": None}),
    "a dtype, a device, a path": (
        lambda: {"d": torch.float16, "v": torch.device("cpu"), "p": PurePosixPath("a"), "s": torch.Size([1])},
        lambda: {"d": torch.float32, "v": torch.device("meta"), "p": PurePosixPath("b"), "s": torch.Size([2])},
    ),
    "a dtype over none": (lambda: {"d": torch.float16}, lambda: {"d": None}),
    "none over a path": (lambda: {"p": None}, lambda: {"p": PurePosixPath("b")}),
    "an object's attribute": (lambda: {"o": Holder(a=1, b=[ones.clone()])}, lambda: {"o": Holder(a=2, b=None, c=3)}),
    "a closure": (lambda: {"f": closure(1)}, lambda: {"f": closure(2)}),
    "private generators": (lambda: {"g": generators(1)}, lambda: {"g": generators(2)}),
    "a seed sequence that has spawned": (lambda: {"s": spawned(3)}, lambda: {"s": spawned(1)}),
    "an iterator's position": (lambda: {"i": advanced(2)}, lambda: {"i": advanced(1)}),
    "a range's position": (lambda: {"i": advanced(2, range(5))}, lambda: {"i": advanced(1, range(5))}),
    "two names of one object": (lambda: shared(), lambda: {"x": [ones.clone()], "y": [ones.clone()]}),
    "two objects of one name": (lambda: {"x": [ones.clone()], "y": [ones * 2]}, lambda: shared()),
    "one tensor under two names": (lambda: shared_tensor(), lambda: {"x": ones * 2, "y": ones * 3}),
    "two tensors": (lambda: {"x": ones * 2, "y": ones * 3}, lambda: shared_tensor()),
    "one generator under two names": (shared_generator, lambda: {"x": random.Random(1), "y": random.Random(2)}),
    "none over another name": (lambda: {"x": [ones.clone()], "y": None}, lambda: {"x": (x := [ones * 2]), "y": x}),
    "one object under a name that is not there": (lambda: shared(), lambda: {"x": [ones.clone()]}),
}  # fmt: skip


def kinds_of(value):
    """The types of everything in a structure, so that a list is not put back where a tuple was."""
    if isinstance(value, dict):
        return type(value), {key: kinds_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return type(value), [kinds_of(item) for item in value], getattr(value, "maxlen", None)
    if isinstance(value, Holder):
        return kinds_of(vars(value))
    return type(value)


@pytest.mark.parametrize(("before", "after"), SETS.values(), ids=SETS)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_what_was_captured_is_put_back_whatever_is_there(before, after, through_a_file, tmp_path):
    captured, live = before(), after()
    snapshot = Snapshot.capture({"r": captured})
    assert differing(Snapshot.capture({"r": after()}), snapshot), "the two differ, else nothing is tried"
    if through_a_file:
        snapshot.write(tmp_path / "s.pt")
        snapshot = Snapshot.read(tmp_path / "s.pt")
    roots = {"r": live}
    assert snapshot.restore(roots) == {}
    assert not differing(Snapshot.capture(roots), snapshot)
    assert kinds_of(roots["r"]) == kinds_of(captured)


def test_objects_are_set_in_place_where_they_can_be():
    live = {"t": torch.zeros(2), "a": np.zeros(2), "l": [1], "d": {"x": 1}, "s": {1}, "g": torch.Generator()}
    held = dict(live)
    after, failed = restored(
        {
            "t": ones.clone(),
            "a": np.ones(2),
            "l": [2, 3],
            "d": {"x": 2},
            "s": {2},
            "g": torch.Generator().manual_seed(5),
        },
        live,
    )
    assert failed == {}
    assert all(after[name] is held[name] for name in held)


def test_shared_objects_are_tied_again_and_not_merely_equal():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    model["head"].weight = model["embedding"].weight
    run = {"model": model, "best": dict(model.state_dict())}
    run["list"] = list(model.parameters())
    snapshot = Snapshot.capture(run)
    model["head"].weight = nn.Parameter(torch.zeros(3, 2))
    run["best"] = copy.deepcopy(run["best"])
    run["list"] = [nn.Parameter(torch.zeros(3, 2))]
    assert snapshot.restore(run) == {}
    assert model["head"].weight is model["embedding"].weight is run["list"][0]
    assert run["best"]["head.weight"].data_ptr() == model["embedding"].weight.data_ptr()
    assert not run["best"]["head.weight"].requires_grad


def test_a_copy_is_untied_from_what_it_was_taken_of():
    """A best state kept by `state_dict()` alone follows the model; in the snapshot it was a copy of its own."""
    model = nn.Linear(2, 2)
    snapshot = Snapshot.capture(
        {"model": model, "best": copy.deepcopy(model.state_dict()), "ema": copy.deepcopy(model)}
    )
    run = {"model": model, "best": model.state_dict(), "ema": model}
    assert snapshot.restore(run) == {}
    places = {tensor.data_ptr() for tensor in (run["best"]["weight"], run["model"].weight, run["ema"].weight)}
    assert len(places) == 3
    with torch.no_grad():
        run["model"].weight.add_(1)
    assert digest(run["best"]["weight"]) == snapshot["best/weight"].digest != digest(run["model"].weight)


def test_an_optimizer_that_steps_a_stale_copy_is_tied_to_the_model_again():
    def made():
        torch.manual_seed(0)
        model = nn.Linear(2, 2)
        return {"model": model, "optimizer": torch.optim.Adam(model.parameters())}

    def step(run):
        run["optimizer"].zero_grad()
        run["model"](torch.ones(1, 2)).sum().backward()
        run["optimizer"].step()

    run = made()
    step(run)
    snapshot = Snapshot.capture(run)
    stale = made()
    step(stale)
    stale["model"] = copy.deepcopy(stale["model"])
    assert snapshot.restore(stale) == {}
    assert stale["optimizer"].param_groups[0]["params"][0] is stale["model"].weight
    step(run), step(stale)
    assert not differing(Snapshot.capture(run), Snapshot.capture(stale))


def test_a_wrapper_with_old_groups_is_given_the_live_ones():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = {"model": model, "optimizer": optimizer, "wrapper": Holder(param_groups=optimizer.param_groups)}
    snapshot = Snapshot.capture(run)
    optimizer.load_state_dict(optimizer.state_dict())
    assert run["wrapper"].param_groups is not optimizer.param_groups
    assert snapshot.restore(run) == {}
    assert run["wrapper"].param_groups is optimizer.param_groups


class Wrapping(torch.optim.Optimizer):
    """Steps by another optimizer, over the very same groups; `apart` makes both have groups of their own."""

    def __init__(self, parameters, apart=False):
        super().__init__(parameters, {"lr": 0.1})
        self.base = torch.optim.SGD(self.param_groups, momentum=0.9)
        self.param_groups = self.base.param_groups
        if apart:
            self.base.load_state_dict(self.base.state_dict())

    def step(self):
        self.base.step()


@pytest.mark.parametrize("apart", [False, True])
def test_an_optimizer_shares_its_groups_with_another_exactly_if_it_did(apart):
    def made(apart):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        wrapper = Wrapping([{"params": [*part.parameters()]} for part in model], apart)
        model(torch.ones(1, 2)).sum().backward()
        wrapper.step()
        return {"model": model, "wrapper": wrapper}

    run, other = made(apart), made(not apart)
    run["wrapper"].base.param_groups[1]["lr"] = 0.5
    snapshot = Snapshot.capture(run)
    assert snapshot.restore(other) == {}
    assert not differing(Snapshot.capture(other), snapshot)
    wrapper = other["wrapper"]
    assert (wrapper.param_groups is wrapper.base.param_groups) is not apart
    assert [group["lr"] for group in wrapper.base.param_groups] == [0.1, 0.5]
    for group, part in zip(wrapper.base.param_groups, other["model"], strict=True):
        assert list(map(id, group["params"])) == list(map(id, part.parameters()))


@pytest.mark.parametrize("apart", [False, True])
def test_an_optimizer_shares_its_state_with_another_exactly_if_it_did(apart):
    def made(apart):
        torch.manual_seed(0)
        model = nn.Linear(2, 2)
        one, other = (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for _ in range(2))
        if not apart:
            other.state = one.state
        model(torch.ones(1, 2)).sum().backward()
        one.step()
        return {"model": model, "one": one, "other": other}

    run, live = made(apart), made(not apart)
    snapshot = Snapshot.capture(run)
    assert snapshot.restore(live) == {}
    assert not differing(Snapshot.capture(live), snapshot)
    assert (live["one"].state is live["other"].state) is not apart


def test_gradients_and_their_flags_are_made_and_taken_away():
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    snapshot = Snapshot.capture({"model": model})
    fresh = nn.Linear(2, 2)
    fresh.bias.requires_grad_(False)
    assert snapshot.restore({"model": fresh}) == {}
    assert torch.equal(fresh.weight.grad, model.weight.grad) and fresh.bias.requires_grad
    fresh.weight.grad.zero_()
    assert model.weight.grad.any()
    clean = Snapshot.capture({"model": nn.Linear(2, 2)})
    assert clean.restore({"model": fresh}, ["*/grad"]) == {}
    assert fresh.weight.grad is None and fresh.bias.grad is None


def test_buffers_are_made_and_taken_away():
    def made(value):
        module = nn.Module()
        module.inner = nn.Module()
        module.inner.register_buffer("cache", value)
        return module

    full, empty = made(torch.ones(2)), made(None)
    snapshot = Snapshot.capture({"m": full})
    assert snapshot.restore({"m": (other := made(None))}) == {}
    assert torch.equal(other.inner.cache, torch.ones(2)) and "cache" in other.inner._buffers
    assert Snapshot.capture({"m": empty}).restore({"m": other}) == {}
    assert other.inner.cache is None


# Said by torch when such a module is made, not by what is tested here.
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_lazy_parameters_are_made():
    lazy = nn.LazyLinear(2)
    lazy(torch.ones(1, 3))
    snapshot = Snapshot.capture({"m": lazy})
    fresh = nn.LazyLinear(2)
    snapshot.restore({"m": fresh}, ["m/weight", "m/bias"])
    assert torch.equal(fresh.weight, lazy.weight)


def test_a_scaler_is_put_back_before_and_after_its_first_use():
    used, model = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    used.scale(model(torch.ones(1, 1)).sum()).backward()
    used.step(optimizer), used.update()
    assert used.get_scale() == 128.0
    snapshot = Snapshot.capture({"s": used})
    fresh = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1)
    assert snapshot.restore({"s": fresh}) == {} and fresh.get_scale() == 128.0
    used.update(2.0)
    assert snapshot.restore({"s": used}) == {} and used.get_scale() == 128.0


def test_flags_are_put_back():
    snapshot = Snapshot.capture({})
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    assert snapshot.restore({}, ["flags/*"]) == {}
    assert not torch.are_deterministic_algorithms_enabled()
    assert digests(Snapshot.capture({})).items() >= {p: d for p, d in digests(snapshot).items() if "flags" in p}.items()


# --- what cannot be put back -------------------------------------------------------------------------------------


FAILURES = {  # (captured, live, path, the reason)
    "an object that is not there": (
        lambda: {"o": Holder(a=ones)},
        lambda: {},
        "r/o/a",
        "there is no object 'r/o' to hold it",
    ),
    "a value that was stored as text": (
        lambda: {"x": slice(1, 2)},
        lambda: {"x": None},
        "r/x",
        "a slice cannot be made from what was stored of it",
    ),
    "a set of paths": (
        lambda: {"x": {PurePosixPath("a")}},
        lambda: {"x": {PurePosixPath("b")}},
        "r/x",
        "its holder does not let it be set",
    ),
    "a text that says too little": (
        lambda: {"x": slice(1)},
        lambda: {"x": slice(2)},
        "r/x",
        "its holder does not let it be set",
    ),
    "a list with an item that nobody can make": (
        lambda: {"x": [ones, Holder()]},
        lambda: {"x": None},
        "r/x/0",
        "the snapshot has no 'r/x/1'",
    ),
    "a default that is a function of its own": (
        lambda: {"x": defaultdict(lambda: 0.0, {1: ones})},
        lambda: {"x": {1: ones}},
        "r/x",
        "its default factory, tests.state.test_restoring.<lambda>.<locals>.<lambda>, cannot be made",
    ),
    "another module": (
        lambda: {"m": torch.nn.ReLU()},
        lambda: {"m": torch.nn.GELU()},
        "r/m",
        "a torch.nn.modules.activation.ReLU cannot be made in place of a torch.nn.modules.activation.GELU",
    ),
    "keys that were objects": (
        lambda: {"x": {Holder(): ones}},
        lambda: {},
        "r/x/Holder",
        "its keys were objects",
    ),
    "a generator of another kind": (
        lambda: {"g": np.random.Generator(np.random.PCG64(1))},
        lambda: {"g": np.random.Generator(np.random.MT19937(1))},
        "r/g",
        "ValueError: state must be for a MT19937 PRNG",
    ),
    "a generator that is not there": (
        lambda: {"g": random.Random(1)},
        lambda: {},
        "r/g",
        "there is no generator to put it into",
    ),
}


@pytest.mark.parametrize(("before", "after", "path", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_leaf_that_cannot_be_put_back_is_told_with_the_reason(before, after, path, reason):
    _, failed = restored(before(), after())
    assert failed[path] == reason, failed


def test_keys_that_are_no_plain_data_come_back_as_what_they_were():
    keys = {Color.RED: 1, np.int64(3): 2, np.bool_(False): 3, PurePosixPath("a/b"): 4}
    after, failed = restored({"x": keys}, {"x": {}})
    assert failed == {} and after["x"] == keys
    assert [type(key) for key in after["x"]] == [type(key) for key in keys], "and no text that reads the same"


def test_no_text_is_put_in_the_place_of_a_key_that_cannot_be_made():
    class Key:
        """Of no value but itself."""

    live = {"x": {Key(): 1}}
    _, failed = restored({"x": {Key(): 2, "a": 3}}, live, ["x/a", "x/Key"])
    assert "r/x/a" not in live["x"] and not [key for key in live["x"] if key == "Key"], live
    assert failed.keys() <= {"r/x/a", "r/x/Key"}


def test_a_setter_that_raises_is_a_reason_and_no_end():
    class Locked(dict):
        def __delitem__(self, key):
            raise PermissionError("locked")

    live = Locked(a=1, b=2)
    after, failed = restored(Locked(a=5), live)
    assert failed == {"r/b": "PermissionError: locked"} and after["a"] == 5


def test_part_of_a_sequence_that_is_not_there_is_not_made_up():
    _, failed = restored({"x": (ones.clone(), ones * 2)}, {"x": None}, ["x/0"])
    assert failed == {"r/x/0": "only some of the items of its sequence were chosen"}


def test_part_of_a_dict_that_is_not_there_is_made_with_that_part_alone():
    after, failed = restored({"x": {"a": ones.clone(), "b": 2, "c": {"d": 3}}}, {}, ["x/a", "x/c/d"])
    assert failed == {} and after["x"].keys() == {"a", "c"} and after["x"]["c"] == {"d": 3}


def test_a_walk_after_restoring_finds_what_the_snapshot_says():
    """The reasons come from looking, not from hoping: a setter that does nothing is found out."""

    class Deaf(dict):
        def __setitem__(self, key, value):
            pass

    class Run:
        def __init__(self):
            self.table = Deaf()

    run = Run()
    snapshot = Snapshot.capture({"table": {"a": {"x": 1}}})
    failed = snapshot.restore(run_roots(run), ["table/a/x"])
    assert failed == {"table/a/x": "still differs after it was set"}
    assert not walk({"table": run.table}).leaves


def test_an_iterator_made_of_others_is_put_back() -> None:
    def made() -> dict[str, Any]:
        return {"turns": zip(itertools.count(), iter([1.0, 1.1, 1.2, 1.3]), strict=False)}

    ahead, behind = made(), made()
    next(ahead["turns"])
    snapshot = Snapshot.capture(ahead)
    next_of_ahead = next(ahead["turns"])
    assert next(made()["turns"]) != next_of_ahead  # where nothing is put back, it begins anew
    assert not snapshot.restore(behind)
    assert next(behind["turns"]) == next_of_ahead


def test_what_a_cycle_goes_round_in_is_the_snapshots_own() -> None:
    ahead, behind = {"turns": itertools.cycle([1, 2, 3])}, {"turns": itertools.cycle([1, 2, 3])}
    next(ahead["turns"])
    snapshot = Snapshot.capture(ahead)
    assert [next(ahead["turns"]) for _ in range(3)] == [2, 3, 1]
    assert not snapshot.restore(behind)
    assert [next(behind["turns"]) for _ in range(5)] == [2, 3, 1, 2, 3]
    assert [next(ahead["turns"]) for _ in range(4)] == [2, 3, 1, 2]


def iterators():
    squares = {number: number**2 for number in range(6)}
    return {
        "chain": itertools.chain((1, 2), range(9)),
        "chains": itertools.chain.from_iterable([(1, 2), (3, 4), (5,)]),
        "product": map(sum, itertools.product([1, 2, 3], [4, 5])),
        "permutations": itertools.permutations([1, 2, 3]),
        "combinations": itertools.combinations(range(4), 2),
        "keys": iter(squares),
        "values": iter(squares.values()),
        "items": iter(squares.items()),
        "numbered": enumerate(itertools.chain(range(2), range(3))),
        "every second": itertools.islice(range(60), 0, None, 2),
        "sums": itertools.accumulate(range(1, 9)),
    }


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_iterator_that_has_begun_is_put_back_and_one_that_has_not(taken):
    wanted = iterators()
    for iterator in wanted.values():
        for _ in range(taken):
            next(iterator)
    snapshot = Snapshot.capture(wanted)
    live = iterators()
    objects = Objects.taken(wanted, objects_lost(snapshot, Snapshot.capture(live)))
    assert snapshot.restore(live, objects=objects) == {}
    assert {name: list(it) for name, it in live.items()} == {name: list(it) for name, it in wanted.items()}


def test_a_tuple_that_is_too_much_goes_with_all_that_it_holds():
    live = {"r": {"a": 1, "read": {"drawn": ("MT", torch.ones(2), 3), "pair": (1, (2, [torch.ones(1)]))}}}
    assert Snapshot.capture({"r": {"a": 1}}).restore(live) == {} and live == {"r": {"a": 1}}
    live = {"r": {"read": {"drawn": ("MT", torch.ones(2), 3), "k": 1}}}
    assert Snapshot.capture({"r": {"read": {"k": 1}}}).restore(live) == {} and live == {"r": {"read": {"k": 1}}}


class Buffer:
    """Each entry shares an array with the one before it, as (observation, action, next observation) do."""

    def __init__(self, entries):
        self.entries, self.last = [], np.zeros(2)
        for number in range(entries):
            following = self.last + 1
            self.entries.append((self.last, number, {"next": following}))
            self.last = following


@pytest.mark.parametrize("held", [0, 3])
def test_entries_that_share_what_they_hold_are_all_made(held):
    full, resumed = Buffer(60), Buffer(held)
    expected = Snapshot.capture(run_roots(full))
    assert expected.restore(run_roots(resumed), ["*"]) == {}
    found = Snapshot.capture(run_roots(resumed))
    assert {path: leaf.digest for path, leaf in found.items()} == {path: leaf.digest for path, leaf in expected.items()}
    pairs = zip(resumed.entries, resumed.entries[1:], strict=False)
    assert all(one[2]["next"] is other[0] for one, other in pairs)
    assert resumed.entries[-1][2]["next"] is resumed.last
