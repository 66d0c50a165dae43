"""A walk over Python objects: everything that holds state is a leaf, everything else is listed, nothing raises."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import enum
import functools
import io
import itertools
import logging
import os
import random
import subprocess
import sys
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple

import fsspec
import numpy as np
import pytest
import torch

from dora_repro.state.digest import digest
from dora_repro.state.members import MAX_MEMBERS
from dora_repro.state.walk import walk
from dora_repro.state.walker import MAX_DEPTH, MAX_ITEMS
from tests.state.worlds import changed, digests, look


class Holder:
    def __init__(self, **held):
        self.__dict__.update(held)


Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Progress:
    best: float = 1.0
    history: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    size: int = 3
    weights: torch.Tensor = dataclasses.field(default_factory=lambda: torch.ones(2))


@dataclasses.dataclass(slots=True)
class Slotted:
    step: int = 0


class Slots:
    __slots__ = ("__hidden", "count", "unset")

    def __init__(self):
        self.count = 1
        self.__hidden = 2


class MoreSlots(Slots):
    __slots__ = ("extra",)


class Mode(enum.Enum):
    WARM = "warm"
    COLD = "cold"


# --- what is a leaf ----------------------------------------------------------------------------------------------


def test_plain_values_lists_and_dicts():
    found = look(run={"lr": 0.1, "history": [1, 2.0], "nested": {"best": None, "name": "x"}, "pair": (1, 2)})
    assert found == {
        "run/lr": 0.1,
        "run/history": [1, 2.0],
        "run/pair": (1, 2),
        "run/nested/best": None,
        "run/nested/name": "x",
    }


def test_a_list_of_numbers_is_one_leaf_and_a_list_of_tensors_is_not():
    found = look(a=[3, 1, 2], b=[torch.zeros(1), 2], c=[[1, 2], [3]], d=deque([1, 2], maxlen=3))
    assert found["a"] == [3, 1, 2] and found["c"] == [[1, 2], [3]] and found["d"] == [1, 2]
    assert sorted(found) == ["a", "b/0", "b/1", "c", "d"]


def test_odd_keys_have_paths_of_their_own():
    weight = torch.zeros(2)
    keys = {1: "int", "1": "text", (1, "a"): 2, None: 3, "a/b": 4, "a~b": 5, Mode.WARM: 6, 1.5: 7, weight: 8}
    found = look(d={**keys, torch.ones(1): 9})
    assert found == {
        "d/1": "int",
        "d/1#2": "text",
        "d/(1, 'a')": 2,
        "d/None": 3,
        "d/a~1b": 4,
        "d/a~0b": 5,
        "d/Mode.WARM": 6,
        "d/1.5": 7,
        "d/Tensor": 8,
        "d/Tensor#2": 9,
    }


def test_names_with_separators_do_not_run_into_others():
    found = look(**{"a/b": 1, "a": {"b": 2}})
    assert found == {"a~1b": 1, "a/b": 2}


def test_containers_of_containers_that_read_the_same_stay_apart():
    found = look(d={1: {"x": torch.zeros(1)}, "1": {"x": torch.ones(1)}})
    assert sorted(found) == ["d/1#2/x", "d/1/x"]


def test_objects_dataclasses_slots_namedtuples_and_enums():
    found = look(
        o=Holder(count=1, inner=Holder(name="n")),
        p=Progress(),
        f=Frozen(),
        s=Slotted(4),
        m=MoreSlots(),
        t=Point(1, torch.zeros(1)),
        e=Mode.COLD,
        n=types.SimpleNamespace(a=1),
    )
    expected = {"o/count": 1, "o/inner/name": "n", "p/best": 1.0, "p/history": [], "f/size": 3, "s/step": 4}
    assert expected.items() <= found.items()
    assert {"f/weights", "m/count", "t/x", "t/y", "e", "n/a"} <= found.keys()
    assert "m/unset" not in found and "m/extra" not in found
    assert found["m/_Slots__hidden"] == 2


def test_subclasses_of_containers_are_read_by_their_base_and_by_their_attributes():
    class History(list):
        def __iter__(self):
            raise RuntimeError

        def __len__(self):
            raise RuntimeError

    class Table(dict):
        def items(self):
            raise RuntimeError

        def __iter__(self):
            raise RuntimeError

    history, table = History([1, 2]), Table(a=1)
    history.best = 3
    table.hits = 4
    found = look(h=history, t=table, o=OrderedDict(a=1), d=defaultdict(int, {"b": 2}), c=collections.Counter("aa"))
    assert found == {"h": [1, 2], "h/best": 3, "t/a": 1, "t/hits": 4, "o/a": 1, "d/b": 2, "c/a": 2}


def test_values_of_ones_own_classes_over_numbers_and_text_are_seen():
    class Loss(float):
        pass

    class Name(str):
        pass

    assert changed({"r": (r := {"x": Loss(1.0)})}, lambda: r.update(x=Loss(2.0))) == {"r/x"}
    assert look(n=Name("a")) == {"n": "a"}


def test_numpy_arrays_and_scalars():
    found = look(a=np.arange(3), s=np.float32(1.5), o=np.array(["x", "yy"], dtype=object), m=np.array([object()]))
    assert found["a"].tolist() == [0, 1, 2] and found["s"] == 1.5 and found["o/(items)"] == ["x", "yy"]
    assert "m" not in found
    assert walk({"m": np.array([object()])}).uncaptured == {"m/0": "object"}


def test_sets_are_leaves_where_their_members_have_text():
    found = walk({"p": {1, 2}, "e": {Mode.WARM, Mode.COLD}, "f": frozenset("ab")})
    assert found["p"].value == {1, 2} and found["f"].value == frozenset("ab")
    assert found["e"].value == {"members": ["Mode.COLD", "Mode.WARM"]}
    many = {Holder(x=number) for number in range(MAX_MEMBERS + 1)}
    assert "of 1001 items" in walk({"o": many}).uncaptured["o"]


# --- functions ---------------------------------------------------------------------------------------------------


def test_a_closure_is_read_and_followed():
    def counter():
        count = 0

        def increase():
            nonlocal count
            count += 1

        return increase

    increase = counter()
    assert changed({"f": increase}, increase) == {"f/count"}


def test_attributes_and_mutable_defaults_of_functions_are_read():
    def remember(x, unused=1, seen=[]):  # noqa: B006  # the trap itself
        seen.append(x)
        remember.calls = getattr(remember, "calls", 0) + 1

    remember(0)
    assert changed({"f": remember}, lambda: remember(1)) == {"f/seen=", "f/calls"}


def test_partials_methods_and_lambdas():
    class Sampler:
        def __init__(self):
            self.position = 0

        def advance(self, by=1):
            self.position += by

    sampler = Sampler()
    roots = {"p": functools.partial(sampler.advance, by=2), "m": sampler.advance, "l": lambda: sampler.advance()}
    assert changed(roots, sampler.advance) == {"l/sampler/position"}
    assert look(**roots)["m/self"] == "= l/sampler"
    assert look(p=functools.partial(max, 1, key=None))["p/args"] == (1,)


def test_the_same_function_under_two_names_is_no_alias_but_an_object_is():
    shared = Holder(x=1)
    found = look(a=len, b=len, f=os.path.join, g=os.path.join, s=shared, t=shared, u=(1, 2), v=(1, 2))
    assert found["t"] == "= s" and found["f/name"] == found["g/name"]
    assert not any(str(found[path]).startswith("= ") for path in found if path != "t")


# --- generators and iterators ------------------------------------------------------------------------------------


def test_a_suspended_generator_is_read_with_its_position_its_locals_and_its_loops():
    def train():
        total = 0
        for number in [5, 6, 7]:
            total += number
            yield total

    loop = train()
    roots = {"loop": loop}
    assert changed(roots, lambda: next(loop)) >= {"loop/(line)", "loop/(instruction)", "loop/total", "loop/number"}
    assert changed(roots, lambda: next(loop)) == {"loop/total", "loop/number", "loop/loop.0/left"}
    next(loop), next(loop, None)
    assert look(loop=loop) == {"loop": "finished generator"}


def test_delegation_to_another_generator_is_followed():
    def inner():
        yield from [1, 2, 3]

    def outer():
        yield from inner()

    loop = outer()
    next(loop)
    assert changed({"loop": loop}, lambda: next(loop)) == {"loop/inner()/loop.0/left"}


ITERATORS = {
    "list": lambda: iter([1, 2, 3]),
    "list of objects": lambda: iter([torch.zeros(1), torch.ones(1), torch.ones(2)]),
    "tuple": lambda: iter((1, 2, 3)),
    "text": lambda: iter("abc"),
    "other text": lambda: iter("äöü"),
    "bytes": lambda: iter(b"abc"),
    "range": lambda: iter(range(3)),
    "long range": lambda: iter(range(10**12)),
    "backwards": lambda: reversed([1, 2, 3]),
    "dict": lambda: iter({1: 2, 3: 4, 5: 6}),
    "set": lambda: iter({1, 2, 3}),
    "enumerate": lambda: enumerate([1, 2, 3]),
    "zip": lambda: zip([1, 2, 3], [4, 5, 6], strict=True),
    "map": lambda: map(str, [1, 2, 3]),
    "filter": lambda: filter(None, [1, 2, 3]),
    "cycle": lambda: itertools.cycle([1, 2, 3]),
    "chain": lambda: itertools.chain([1, 2], [3, 4]),
    "count": lambda: itertools.count(3),
    "islice": lambda: itertools.islice([1, 2, 3, 4], 3),
    "cycle of a list's iterator": lambda: itertools.cycle(iter([1, 2, 3])),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
def test_the_position_of_an_iterator_is_seen_and_not_moved(make):
    iterator, bare = make(), make()
    roots = {"it": iterator}
    before = digests(roots)
    assert before == digests(roots) == digests({"it": bare})
    assert digest(next(iterator)) == digest(next(bare))
    after = digests(roots)
    assert after != before
    assert after == digests({"it": bare})
    assert digest(next(iterator)) == digest(next(bare))


# --- private generators ------------------------------------------------------------------------------------------


def test_private_generators_are_found_wherever_they_hang():
    class Augment:
        def __init__(self):
            self.rng = random.Random(1)
            self.pool = [np.random.default_rng(2), {"t": torch.Generator()}]
            self.bits = np.random.PCG64(3)

        def __call__(self):
            self.rng.random(), self.pool[0].random(), torch.rand(1, generator=self.pool[1]["t"])

    augment = Augment()
    roots = {"run": {"transforms": [functools.partial(augment.__call__)]}}
    paths = changed(roots, augment)
    assert sorted(path.rpartition("self/")[2] for path in paths) == ["pool/0", "pool/1/t", "rng"]
    found = walk(roots)
    assert {found[path].role for path in paths} == {"generator"}


def test_what_a_seed_sequence_has_spawned_is_state():
    generator = np.random.default_rng(1)
    assert changed({"g": generator}, lambda: generator.spawn(2)) == {"g/spawned"}


def test_a_generator_without_state_is_listed():
    assert list(walk({"s": random.SystemRandom()}).uncaptured) == ["s"]


# --- identity ----------------------------------------------------------------------------------------------------


def test_cycles_and_self_references_come_to_an_end():
    one, two = Holder(), Holder()
    one.other, two.other, one.me = two, one, one
    ring: list = [torch.zeros(1)]
    ring.append(ring)
    found = look(one=one, ring=ring, pair=(one, [two]))
    assert found["one/me"] == "= one" and found["one/other/other"] == "= one" and found["ring/1"] == "= ring"


def test_the_shortest_way_gives_the_name_and_the_others_are_aliases():
    shared = {"x": 1}
    found = look(a={"deep": {"down": shared}}, z=shared)
    assert found == {"z/x": 1, "a/deep/down": "= z"}


def test_tensors_over_the_same_bytes_are_one_leaf():
    base = torch.arange(6.0)
    found = look(a=base, b=base.detach(), c=base.view(6), d=base.clone(), e=base[:3], f=base.view(2, 3))
    assert {path for path, value in found.items() if isinstance(value, str)} == {"b", "c"}
    empty = look(a=torch.zeros(0), b=torch.zeros(0))
    assert not any(isinstance(value, str) for value in empty.values())


def test_whether_something_is_shared_is_seen():
    roots = {"run": {"a": [torch.zeros(1)], "b": None}}
    roots["run"]["b"] = roots["run"]["a"]
    assert changed(roots, lambda: roots["run"].update(b=[torch.zeros(1)])) == {"run/b", "run/b/0"}


def test_deep_chains_and_long_containers_are_listed():
    chain = head = Holder()
    for _ in range(MAX_DEPTH + 5):
        chain.next = Holder()
        chain = chain.next
    found = walk(
        {"chain": head, "many": [Holder() for _ in range(MAX_ITEMS + 1)], "numbers": list(range(MAX_ITEMS + 1))}
    )
    assert len(found.uncaptured) == 2 and f"of {MAX_ITEMS + 1} items" in found.uncaptured["many"]
    assert "levels deep" in found.uncaptured["chain" + "/next" * MAX_DEPTH]
    assert len(found["numbers"].value) == MAX_ITEMS + 1
    big = OrderedDict((i, i) for i in range(MAX_ITEMS + 1))
    assert look(big=big)["big"] == dict(big)


# --- what hangs on classes ---------------------------------------------------------------------------------------


def test_lists_and_generators_that_hang_on_a_class_are_state():
    class Trainer:
        history: list = []  # noqa: RUF012  # the trap itself
        rng = random.Random(1)
        LIMIT = 5

        def __init__(self):
            self.count = 0

    one, two = Trainer(), Trainer()
    assert changed({"one": one}, lambda: two.history.append(1)) == {"one/history"}
    assert changed({"one": one}, two.rng.random) == {"one/rng"}
    two.history = []
    assert look(two=two)["two/history"] == []


# --- what is listed ----------------------------------------------------------------------------------------------


def make_plumbing() -> dict:
    held = Holder()
    return {
        "lock": threading.Lock(),
        "rlock": threading.RLock(),
        "event": threading.Event(),
        "condition": threading.Condition(),
        "semaphore": threading.Semaphore(),
        "thread": threading.Thread(),
        "file": io.BufferedWriter(io.BytesIO()),
        "logger": logging.getLogger("x"),
        "files": fsspec.filesystem("file"),
        "memory": fsspec.filesystem("memory"),
        "module": random,
        "weak": weakref.ref(Holder()),
        "proxy": weakref.proxy(held),
        "code": make_plumbing.__code__,
        "pool": concurrent.futures.ThreadPoolExecutor(1),
        "loop": asyncio.new_event_loop(),
        "object": object(),
        "keep": held,
    }


def test_plumbing_is_listed_with_its_type_and_never_walked():
    plumbing = make_plumbing()
    found = walk({"run": plumbing})
    plumbing["loop"].close()
    expected = {f"run/{name}" for name in plumbing} - {"run/keep"}
    assert found.uncaptured.keys() == expected
    assert not found.leaves
    assert found.uncaptured["run/lock"] == "_thread.lock" and found.uncaptured["run/module"] == "module random"


def test_a_class_is_the_same_by_its_name():
    found = walk({"kind": Holder, "reads": {"int": int, "layer": torch.nn.Linear}})
    assert {path: leaf.value for path, leaf in found.items()} == {
        "kind/name": f"{__name__}.Holder",
        "reads/int/name": "int",
        "reads/layer/name": "torch.nn.modules.linear.Linear",
    }
    assert {leaf.role for _, leaf in found.items()} == {"structure"} and not found.uncaptured


def test_a_function_of_c_is_told_by_name_and_a_bound_one_by_its_object_too():
    own = random.Random(3)
    found = walk({"size": len, "draw": own.random, "gelu": torch._C._nn.gelu})
    assert found["size/name"].value == "builtins.len" and found["gelu/name"].value.endswith("gelu")
    assert found["draw/self"].role == "generator" and not found.uncaptured
    before = found["draw/self"].value
    own.random()
    assert walk({"draw": own.random})["draw/self"].value != before


def test_a_global_generator_that_an_object_holds_is_no_other_one():
    """scikit-learn's check_random_state(None) gives numpy's: its state is told once, as a global one."""
    holders = {"a": np.random.mtrand._rand, "b": torch.default_generator, "c": random.shuffle}
    found = walk(holders)
    assert found["a"].value == "the global generator rng/numpy"
    assert found["b"].value == "the global generator rng/torch.cpu"
    assert found["c/self"].value == "the global generator rng/python"
    assert {leaf.role for leaf in found.leaves.values()} == {"structure"}


def test_a_progress_bar_is_plumbing():
    from tqdm import tqdm

    with tqdm(total=3, file=io.StringIO()) as bar:
        assert walk({"bar": bar}).uncaptured == {"bar": "tqdm.std.tqdm"}


# --- what must not be touched ------------------------------------------------------------------------------------


class Untouchable:
    """Raises whatever is done to it."""

    def __init__(self):
        object.__setattr__(self, "count", 1)

    def refuse(self, *_):
        raise RuntimeError("touched")

    __getattr__ = __getattribute__ = __setattr__ = __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __str__ = refuse
    __hash__ = __call__ = __next__ = __getitem__ = __contains__ = __reduce__ = __dir__ = __format__ = refuse
    __class__ = property(refuse)
    broken = property(refuse)


class NoDict:
    @property
    def __dict__(self):
        raise RuntimeError("touched")


class LazyProxy:
    """Wakes when it is asked for anything: like lazily loaded settings."""

    def __init__(self):
        object.__setattr__(self, "woken", 0)

    def __getattr__(self, name):
        object.__setattr__(self, "woken", 1)
        raise AttributeError(name)

    @property
    def __class__(self):
        object.__setattr__(self, "woken", 1)
        return dict


def test_objects_that_raise_are_read_without_touching_them():
    found = walk({"u": Untouchable(), "list": [Untouchable(), 1], "dict": {"k": Untouchable()}, "n": NoDict()})
    assert {path: leaf.value for path, leaf in found.items()} == {
        "u/count": 1,
        "list/0/count": 1,
        "list/1": 1,
        "dict/k/count": 1,
    }
    assert list(found.uncaptured) == ["n"]


def test_a_lazy_proxy_is_not_woken():
    proxy = LazyProxy()
    assert look(p=proxy) == {"p/woken": 0}
    assert look(p=proxy) == {"p/woken": 0}


def test_an_object_that_breaks_its_reader_is_listed_and_the_rest_is_read():
    class Broken(torch.utils.data.DataLoader):
        def __init__(self):
            pass

        @property
        def __dict__(self):
            raise RuntimeError

    class Empty(torch.optim.Optimizer):
        def __init__(self):
            pass

    class Bare(torch.nn.Module):
        def __init__(self):
            pass

    found = walk({"broken": Broken(), "empty": Empty(), "bare": Bare(), "fine": 1})
    assert found["fine"].value == 1
    assert found.uncaptured.keys() == {"broken", "empty", "bare"}


def test_a_walk_changes_nothing_and_draws_nothing():
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    held = {"it": iter([1, 2, 3]), "g": torch.Generator(), "gen": (i for i in range(3)), "d": defaultdict(list)}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for _ in range(2):
        walk(held), walk(held, moving_only=True)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert list(held["it"]) == [1, 2, 3] and list(held["gen"]) == [0, 1, 2] and held["d"] == {}


# --- the same in every process -----------------------------------------------------------------------------------

PROGRAM = """
import random, sys, torch, numpy as np
from dora_repro.state.snapshot import Snapshot, run_roots
torch.manual_seed(0), random.seed(0), np.random.seed(0)
class Thing:
    tags = {"c", "a", "b"}
names = ["alpha", "beta", "gamma", "delta"]
if sys.argv[1] == "2":
    names.reverse()
run = Thing()
for name in names:  # attributes set in another order
    setattr(run, name, {"list": [1, Thing()], "set": {"x", "y", "z"}, "value": names.index(name) * 0})
run.keyed = {frozenset({"p", "q"}): 1, Thing: 2, print: 3, 1: 4, "1": 5}
run.shared = run.alpha
run.model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
run.optimizer = torch.optim.AdamW(run.model.parameters())
run.model(torch.ones(3, 2)).sum().backward()
run.optimizer.step()
run.f = lambda: run
shot = Snapshot.capture(run_roots(run))
print(sorted((path, leaf.digest.hex()) for path, leaf in shot.items()), sorted(shot.uncaptured.items()))
"""


def test_paths_and_digests_depend_on_no_process_hash_seed_or_order_of_attributes():
    outputs = []
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]
    assert "optimizer/0.weight/exp_avg" in outputs[0]


class Handler:
    """Is called, and binds an attribute anew when it is loaded."""

    def __init__(self):
        self.saved = [1]

    def __call__(self):
        return self.saved


def wrapping(handler):
    @functools.wraps(handler)
    def wrapper():
        wrapper.calls += 1
        return handler()

    wrapper.calls = 0
    return wrapper


def test_what_wraps_copied_from_an_object_is_no_state_of_the_function():
    handler = Handler()
    wrapper = wrapping(handler)
    before = digests({"handler": handler, "wrapper": wrapper})
    assert "wrapper/saved" not in before and "wrapper/calls" in before and "handler/saved" in before
    handler.saved = [1]  # another list, with the same in it
    assert digests({"handler": handler, "wrapper": wrapper}) == before
    handler.saved, wrapper.calls = [2], 3
    after = digests({"handler": handler, "wrapper": wrapper})
    assert {path for path in after if after[path] != before[path]} == {"handler/saved", "wrapper/calls"}


def test_what_wraps_copied_from_a_function_is():
    def counted():
        return 1

    counted.calls = 3
    assert "wrapper/calls" in digests({"wrapper": wrapping(counted)})
