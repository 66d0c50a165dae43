"""Variables of modules that a run keeps things in: which are taken for state, and how they come back."""

import random
import types

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.state import module_variables
from dora_repro.state.module_variables import variables_of
from dora_repro.state.snapshot import Snapshot, run_roots

GENERATOR = np.random.default_rng(0)
SHUFFLE = random.Random(0)
NET = nn.Linear(2, 2)
CONSTANTS = [1, 2, 3]
TABLE = {"rate": 0.1}
DROPPED, STATIC = random.Random(2), random.Random(3)
UNUSED = random.Random(1)
GLOBAL = np.random.mtrand._rand
seen: list[int] = []
best: dict[str, float] = {}
mean = torch.zeros(2)
count = 0


class Meter:
    def __init__(self):
        self.total = 0.0


meter = Meter()


def augment(x):
    return x + GENERATOR.normal()


class Base:
    def helper(self):
        return [SHUFFLE.random() for _ in range(2)]


class Run(Base):
    def __init__(self):
        self.model = nn.Linear(2, 2)

    def step(self):
        global count
        count += 1
        seen.append(count)
        best["loss"] = augment(CONSTANTS[0]) * TABLE["rate"] + GLOBAL.rand()
        mean.mul_(0.9)
        meter.total += NET(mean).sum().item()
        return best["loss"]

    @torch.no_grad()
    def validate(self):
        return DROPPED.random()

    @staticmethod
    def drawn():
        return STATIC.random()

    @property
    def nothing(self):
        return later  # noqa: F821  # a name that is nowhere


def test_what_may_change_is_state_and_what_is_only_read_is_not():
    assert set(variables_of(Run)) == {
        f"globals.{name}"
        for name in (
            "GENERATOR", "SHUFFLE", "DROPPED", "STATIC", "NET", "seen", "best", "mean", "count", "meter",
        )
    }  # fmt: skip


def test_items_that_are_set_tell_the_container_and_nothing_else_of_the_line():
    names = {"a", "b", "c", "d", "e", "f", "key", "of"}
    code = """def step():
    a[key] = b[0] + c
    d[key[0]][of(key)] = 1
    e[key] += b[1]
    del f[key]
    c.x[0] = 2
"""
    namespace = {name: [] for name in names}
    exec(code, namespace)
    used = module_variables.names_of(namespace["step"])
    assert set(used) == names and {name for name, kept in used.items() if kept} == {"a", "d", "e", "f"}


def test_they_are_captured_and_put_back(restored_globals):
    run = Run()
    before = Snapshot.capture(run_roots(run))
    assert "globals.NET/weight" in before and "globals.meter/total" in before
    run.step(), run.helper()
    after = Snapshot.capture(run_roots(run))
    changed = {path for path in after if path not in before or after[path].digest != before[path].digest}
    assert changed >= {"globals.GENERATOR", "globals.SHUFFLE", "globals.seen", "globals.best/loss", "globals.count"}
    assert before.restore(run_roots(run)) == {}
    assert (count, seen, best) == (0, [], {})
    assert after.restore(run_roots(run)) == {}
    assert (count, seen, list(best)) == (1, [1], ["loss"])


@pytest.fixture
def restored_globals():
    before = Snapshot.capture(run_roots(Run()))
    yield
    before.restore(run_roots(Run()))


def test_those_of_another_module_have_its_name(monkeypatch):
    other = types.ModuleType("helpers")
    exec("import random\nDRAWS = random.Random(5)\ndef draw(): return DRAWS.random()", vars(other))
    monkeypatch.setitem(globals(), "draw", other.draw)

    class Elsewhere:
        def step(self):
            return draw()  # noqa: F821  # the test puts it there

    assert set(variables_of(Elsewhere)) == {"globals.helpers.DRAWS"}


def test_what_is_the_runs_own_too_is_named_as_its_own(monkeypatch):
    """As in a script whose functions name the model that the run was given."""
    own = Run()
    own.model, own.zoo = NET, {"meter": meter}
    paths = Snapshot.capture(run_roots(own))
    assert paths["globals.NET"].value == "= model" and paths["model/weight"].role == "parameter"
    assert paths["zoo/meter"].value == "= globals.meter"  # two of one depth: the shorter way gives the name


def test_libraries_are_left_alone():
    """Their modules have caches and registries by the hundred, none of which is the run's."""

    class Uses:
        def step(self):
            torch.nn.functional.relu(torch.ones(1))
            np.random.default_rng(0)
            return pytest.approx(1.0)

    assert variables_of(Uses) == {} and not module_variables._is_users(torch.nn.functional.relu)
    assert variables_of(nn.Linear) == {}


def test_a_run_with_components_names_all_that_is_its_state():
    class Named(Run):
        def components(self):
            return {"model": self.model}

    assert set(run_roots(Named())) == {"model"}
