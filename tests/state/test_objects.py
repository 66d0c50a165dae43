"""Objects that one run has and another lacks are made in the other, tied to what it has; what cannot be is named."""

import collections
import dataclasses
import pickle
import random
import sys
import threading
import types

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.state import objects
from dora_repro.state.objects import Objects
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.suspended import objects_lost


class Run:
    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.made = None
        self.held = {}
        self.listed = []


class Norm:
    def __init__(self):
        self.mean, self.count = torch.arange(3.0), 4


class Slotted:
    __slots__ = ("count", "mean")

    def __init__(self):
        self.mean, self.count = torch.arange(3.0), 4


class Partial:
    """Its pickle leaves its count out, and makes one anew."""

    def __init__(self):
        self.mean, self.count = torch.arange(3.0), 4

    def __getstate__(self):
        return {"mean": self.mean}

    def __setstate__(self, state):
        self.__dict__.update(state, count=0)


@dataclasses.dataclass(frozen=True)
class Data:
    mean: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(3.0))
    draws: random.Random = dataclasses.field(default_factory=lambda: random.Random(5))
    torch_draws: torch.Generator = dataclasses.field(default_factory=lambda: torch.Generator().manual_seed(3))


class Steps(collections.defaultdict):
    pass


def closure():
    count = Norm()

    def count_up():
        count.count += 1

    return count_up


WHOLE = {
    "a class": Norm,
    "slots": Slotted,
    "a partial pickle": Partial,
    "a frozen dataclass with an array and generators": Data,
    "a dict of a class, with a factory": lambda: Steps(list, {"a": [torch.ones(2)]}),
    "a generator": lambda: np.random.default_rng(4),
    "a closure": closure,
    "a module": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)),
    "an object in an object": lambda: collections.UserDict(a=Norm()),
}
PLACES = {
    "an attribute": lambda run, item: setattr(run, "made", item),
    "a new attribute": lambda run, item: setattr(run, "newly", item),
    "an entry": lambda run, item: run.held.update(norm=item),
    "an item": lambda run, item: run.listed.append(item),
    "optimizer state": lambda run, item: run.optimizer.state[run.model.weight].update(norm=item),
}


def restored(reference, resumed, whole=True):
    """(what could not be put back, the state afterwards, the state that was wanted)."""
    saved = Snapshot.capture(run_roots(reference))
    lost = objects_lost(saved, Snapshot.capture(run_roots(resumed)))
    objects = Objects.taken(run_roots(reference), lost)
    failed = saved.restore(run_roots(resumed), ("*",), pickle.loads(pickle.dumps(objects)) if whole else None)
    return failed, Snapshot.capture(run_roots(resumed)), saved


def same(one, other):
    paths = {path for path in (*one, *other) if not path.startswith("rng/")}
    equal = all(path in one and path in other and one[path].digest == other[path].digest for path in paths)
    return equal and one.forms == other.forms


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", WHOLE)
def test_an_object_is_made_wherever_it_is_missing(what, place):
    reference, resumed = Run(), Run()
    PLACES[place](reference, WHOLE[what]())
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)


@pytest.mark.parametrize("what", ["a class", "a module", "a frozen dataclass with an array and generators"])
def test_without_the_objects_it_is_not_and_every_leaf_of_it_is_named(what):
    reference, resumed = Run(), Run()
    reference.made = WHOLE[what]()
    failed, now, saved = restored(reference, resumed, whole=False)
    assert not same(now, saved)
    assert {path for path in saved if path.startswith(("made/", "made."))} <= set(failed)


def test_an_object_of_another_class_is_replaced():
    class Other(Norm):
        pass

    reference, resumed = Run(), Run()
    reference.made, resumed.made = Norm(), Other()
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved) and type(resumed.made) is Norm


def test_what_an_object_shares_with_its_run_is_that_of_the_other_run():
    def holder(run):
        made = Norm()
        made.weight, made.model, made.run = run.model.weight, run.model, run
        made.inside = {"again": made, "random": random._inst}
        run.made = made

    reference, resumed = Run(), Run()
    holder(reference)
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)
    made = resumed.made
    assert made.weight is resumed.model.weight and made.model is resumed.model and made.run is resumed
    assert made.inside["again"] is made and made.inside["random"] is random._inst


def test_a_small_tensor_that_it_shares_with_what_is_lost_as_well_comes_by_value():
    reference, resumed = Run(), Run()
    reference.made = Norm()
    reference.latest = [reference.made.mean]  # the shorter path: the norm's mean goes by this name
    failed = restored_at(reference, resumed, "made")
    assert resumed.made.mean.tolist() == reference.made.mean.tolist() and not hasattr(resumed, "latest")
    assert set(failed) <= {"made/mean"}, "which is no longer another name of something"
    resumed = Run()
    resumed.latest = [torch.zeros(3)]
    restored_at(reference, resumed, "made")
    assert resumed.made.mean is resumed.latest[0], "but where it is there, it is that one"


def restored_at(reference, resumed, path):
    """What of one lost object could not be put back."""
    saved, loaded = (Snapshot.capture(run_roots(run)) for run in (reference, resumed))
    objects = Objects.taken(run_roots(reference), objects_lost(saved, loaded))
    chosen = [leaf for leaf in {**saved, **loaded} if leaf == path or leaf.startswith(f"{path}/")]
    return saved.restore(run_roots(resumed), chosen, objects)


def test_two_that_share_an_object_share_it_again():
    reference, resumed = Run(), Run()
    shared = Norm()
    reference.made = reference.held["norm"] = shared
    reference.held["other"] = other = Partial()
    other.shared = shared
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)
    assert resumed.made is resumed.held["norm"] is resumed.held["other"].shared


class Keeps:
    def __init__(self, held):
        self.held = held


def test_an_object_that_holds_nothing_of_its_own_is_made_all_the_same():
    reference, resumed = Run(), Run()
    for run in (reference, resumed):
        run.place, run.listed = torch.ones(2), [torch.zeros(1)]
    reference.listed += [Keeps(reference.place), Keeps(reference.model)]
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)
    assert resumed.listed[1].held is resumed.place and resumed.listed[2].held is resumed.model


class Locked(Norm):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_what_cannot_be_pickled_is_named_with_the_reason():
    reference, resumed = Run(), Run()
    reference.made = Locked()
    failed, *_ = restored(reference, resumed)
    assert set(failed) == {"made", "made/mean", "made/count"} and resumed.made is None
    assert all("Locked: TypeError: cannot pickle '_thread.lock' object" in reason for reason in failed.values())


def test_a_layer_made_in_a_module_is_made_with_its_parameters():
    reference, resumed = Run(), Run()
    for run in (reference, resumed):
        run.model = nn.Sequential(nn.Linear(3, 2))
        run.model[0].late = None
    reference.model[0].late = nn.Linear(2, 2)
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)
    assert list(resumed.model.state_dict()) == list(reference.model.state_dict())


def test_taking_them_draws_nothing():
    class Draws(Norm):
        def __reduce__(self):
            torch.rand(3), random.random(), np.random.random()
            return Draws, ()

    run = Run()
    run.made = Draws()
    before = torch.get_rng_state(), random.getstate()
    assert Objects.taken(run_roots(run), ("made",)).pickles
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_a_class_of_a_script_is_that_of_the_script_in_another_process_that_runs_it(monkeypatch):
    main = types.ModuleType("__main__")
    exec("import collections\nEntry = collections.namedtuple('Entry', ('state', 'reward'))", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    first, second = Run(), Run()
    first.held["entry"] = main.Entry(torch.ones(2), 3.0)
    taken = Objects.taken(run_roots(first), ["held/entry"])
    again = types.ModuleType("__main__")
    exec("import collections\nEntry = collections.namedtuple('Entry', ('state', 'reward'))", vars(again))
    monkeypatch.setitem(sys.modules, "__main__", again)
    monkeypatch.setattr(objects, "class_of_name", {}.__getitem__)  # that process has never been sent the class
    failed = Snapshot.capture(run_roots(first)).restore(run_roots(second), ["held/*"], taken)
    assert failed == {} and type(second.held["entry"]) is again.Entry and second.held["entry"].reward == 3.0


def local_classes():
    """Classes as a function makes them: each call has its own."""

    class Plain:
        def __init__(self):
            self.mean, self.scale = torch.arange(3.0), lambda x: x * self.count
            self.count = 4

    class Below(Plain):
        __slots__ = ("draws",)

        def __init__(self):
            super().__init__()
            self.draws = random.Random(7)

    @dataclasses.dataclass
    class Data:
        mean: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(3.0))

    kept = collections.namedtuple("Kept", "state reward")
    return {"class": Plain, "subclass": Below, "dataclass": Data, "namedtuple": lambda: kept(torch.ones(2), 3.0)}


@pytest.fixture
def in_another_process(monkeypatch):
    """Nothing that cloudpickle knows of classes has come to the process that makes the objects."""
    yield lambda: monkeypatch.setattr(objects, "class_of_name", {}.__getitem__)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", local_classes())
def test_an_object_of_a_local_class_is_of_the_class_of_the_run_that_gets_it(what, place, in_another_process):
    in_another_process()
    reference, resumed = Run(), Run()
    PLACES[place](reference, local_classes()[what]())
    own = type(local_classes()[what]())
    failed, now, saved = restored(reference, resumed)
    assert not failed and same(now, saved)
    made = [value for value in vars(resumed).values() if type(value).__name__ == own.__name__]
    made += [*resumed.held.values(), *resumed.listed]
    made += [state["norm"] for state in resumed.optimizer.state.values() if "norm" in state]
    assert [type(value) for value in made] == [own]


def test_where_the_class_is_not_there_it_is_made_of_what_it_was(in_another_process, monkeypatch):
    in_another_process()
    monkeypatch.setattr(objects, "youngest", lambda *args, **kwargs: None)
    for what in local_classes():
        reference, resumed = Run(), Run()
        reference.listed += [local_classes()[what](), 5]
        failed, now, saved = restored(reference, resumed)
        assert not failed and same(now, saved) and len(resumed.listed) == 2


def test_a_class_that_can_neither_be_found_nor_made_is_named(in_another_process, monkeypatch):
    in_another_process()

    class Held:
        held = threading.Lock()

    reference, resumed = Run(), Run()
    reference.made = Held()
    reference.made.count = 3
    objects_taken = Objects.taken(run_roots(reference), ("made",))
    monkeypatch.setattr(objects, "youngest", lambda *args, **kwargs: None)
    failed = Snapshot.capture(run_roots(reference)).restore(run_roots(resumed), ("made/*", "made"), objects_taken)
    assert any("Held, is not known in this process" in reason for reason in failed.values())
