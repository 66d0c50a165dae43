"""Variables of modules that a run keeps things in: which are taken for state, and how they come back."""

import functools
import importlib
import importlib.util
import linecache
import random
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.state import module_variables
from dora_repro.state.attributes import is_users_module
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
    every = module_variables.names_of(namespace["step"])
    used = {name: kept for name, kept in every.items() if "." not in name}
    assert every["c.x"] is True  # which is state where `c` is
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


HELPERS = """
import enum, functools, random
COUNT, READ, LIMIT, TABLE = 0, 3, [1, 2], {}
DRAWS = random.Random(0)

def scaled(loss):
    global COUNT
    COUNT += 1
    return loss / COUNT * READ + len(LIMIT)

def drawn():
    return DRAWS.random()

def counted(function):
    def wrapper(*args):
        global WRAPPED
        WRAPPED += 1
        return function(*args)
    return wrapper

def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args):
        TABLE["calls"] = TABLE.get("calls", 0) + 1
        return function(*args)
    return wrapper

WRAPPED = 0

class Helper:
    calls, limit, log = 0, 3, []

    def __call__(self):
        Helper.calls += self.limit
        return scaled(1.0)

class Color(enum.Enum):
    RED = 1

    def drawn(self):
        return scaled(1.0)

class Counted:
    made, colors = 0, Color.RED

    @classmethod
    def make(cls):
        cls.made += 1
        return cls()

class Base:
    seen = 0

    def note(self):
        type(self).seen += 1

class Calls:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __get__(self, run, kind):
        return functools.partial(self, run)

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)

helper = Helper()
"""


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """A package of a user's with two modules, and a library that is installed."""
    package, library = tmp_path / "own_package", tmp_path / "site-packages" / "own_library"
    package.mkdir(), library.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text(HELPERS)
    (package / "sub.py").write_text("from . import helpers as other\ndef f(): return other.scaled(1.0)\n")
    (library / "__init__.py").write_text(
        "import random\nfrom . import inner\nSTATE = 0\ncounts = []\nown = random.Random(1)\n"
    )
    (library / "inner.py").write_text("import random\nrng = random.Random(1)\ndef draw(): return rng.random()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    yield importlib.import_module("own_package.helpers")
    for name in [name for name in sys.modules if name.startswith(("own_package", "own_library"))]:
        del sys.modules[name]
    module_variables._named_by.cache_clear()
    is_users_module.cache_clear()


def run_of(text, tmp_path, **held):
    """A run of a module of this text, with what it holds."""
    (tmp_path / "of_run.py").write_text(text)
    linecache.checkcache()
    spec = importlib.util.spec_from_file_location("of_run", tmp_path / "of_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = module.Run()
    vars(run).update(held)
    return run


def globals_of(run):
    return {name.removeprefix("globals.").removeprefix("own_package.") for name in run_roots(run) if "globals." in name}


THROUGH = {  # what a run's module says -> the variables that are state
    "import own_package.helpers\nclass Run:\n def step(self): own_package.helpers.scaled(1.0)": {"helpers.COUNT"},
    "from own_package import helpers as h\nclass Run:\n def step(self): h.scaled(1.0)": {"helpers.COUNT"},
    "from own_package.helpers import scaled\nclass Run:\n def step(self): scaled(1.0)": {"helpers.COUNT"},
    "from own_package import sub\nclass Run:\n def step(self): sub.f()": {"helpers.COUNT"},
    "class Run:\n def step(self):\n  from own_package import helpers\n  helpers.scaled(1.0)": {"helpers.COUNT"},
    "class Run:\n def step(self):\n  import own_package.helpers as h\n  h.COUNT += 1": {"helpers.COUNT"},
    "from own_package import helpers\nclass Run:\n def step(self): helpers.COUNT += 1": {"helpers.COUNT"},
    "from own_package import helpers\nclass Run:\n def step(self): helpers.LIMIT.append(1)": {"helpers.LIMIT"},
    "from own_package import helpers\nclass Run:\n def step(self): helpers.TABLE[0] = 1": {"helpers.TABLE"},
    "from own_package import helpers\nclass Run:\n def step(self): helpers.DRAWS.random()": {"helpers.DRAWS"},
    "from own_package import helpers\nclass Run:\n def step(self): helpers.drawn()": {"helpers.DRAWS"},
    "from own_package import helpers\nclass Run:\n def step(self): print(helpers.READ, helpers.LIMIT)": set(),
    "from own_package import helpers\nclass Run:\n def step(self): helpers.Helper()": {
        "helpers.Helper.calls", "helpers.COUNT",
    },
    "from own_package import helpers\nclass Run:\n def step(self): helpers.helper()": {
        "helpers.helper", "helpers.Helper.calls", "helpers.COUNT",
    },
    "from own_package import helpers\nclass Run:\n def step(self): helpers.Helper.calls += 1": {
        "helpers.Helper.calls", "helpers.COUNT",
    },
    "from own_package import helpers\nclass Run:\n def step(self): helpers.Counted.make()": {"helpers.Counted.made"},
    "from own_package import helpers\nclass Run(helpers.Base):\n def step(self): self.note()": {"helpers.Base.seen"},
    "from own_package import helpers\nclass Run:\n @helpers.counted\n def step(self): pass": {"helpers.WRAPPED"},
    "from own_package import helpers\nclass Run:\n @helpers.wrapped\n def step(self): pass": {"helpers.TABLE"},
    "import functools\nfrom own_package import helpers\nscale = functools.partial(helpers.scaled, 2.0)\n"
    "class Run:\n def step(self): scale()": {"helpers.COUNT"},
    "class Run:\n count = 0\n def step(self): type(self).count += 1": {"Run.count"},
    "class Run:\n def step(self): pass": set(),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), THROUGH.items())
def test_variables_are_found_through_modules_classes_and_decorators(text, expected, helpers, tmp_path):
    assert globals_of(run_of(text, tmp_path)) == expected


LATE = {  # what a step makes that was not there, or was a base's -> the variables after it
    "from own_package import helpers\nclass Run(helpers.Base):\n def step(self): self.note()": {
        "helpers.Base.seen": 0, "Run.seen": 1,
    },
    "from own_package import helpers\nclass Run(helpers.Base):\n def step(self): Run.seen = Run.seen + 1": {
        "helpers.Base.seen": 0, "Run.seen": 1,
    },
    "from own_package import helpers\nclass Own(helpers.Counted): pass\nclass Run:\n def step(self): Own.make()": {
        "helpers.Counted.made": 0, "Own.made": 1,
    },
    "class Run:\n def step(self):\n  global last\n  last = 1": {"last": 1},
}  # fmt: skip


@pytest.mark.parametrize(("text", "after"), LATE.items())
def test_what_a_step_makes_is_there_once_it_is_and_can_be_put_where_it_is_not(text, after, helpers, tmp_path):
    run = run_of(text, tmp_path)
    assert globals_of(run) == {name for name, value in after.items() if value == 0}
    run.step()
    late = next(f"globals.{name}" for name, value in after.items() if value == 1)
    roots = run_roots(run)
    assert {name.removeprefix("globals.").removeprefix("own_package."): roots[name] for name in roots} == after

    del roots[late]
    assert late not in run_roots(run)
    run_roots(run)[late] = 7
    assert run_roots(run)[late] == 7
    assert late not in vars(run)


HELD = {  # what a run holds, of the helpers -> the variables that are state
    "a function": (lambda h: h.scaled, {"helpers.COUNT"}),
    "a partial": (lambda h: functools.partial(h.scaled, 1.0), {"helpers.COUNT"}),
    "a closure": (lambda h: (lambda: h.scaled)(), {"helpers.COUNT"}),
    "a function in a list in a dict": (lambda h: {"of": [h.scaled]}, {"helpers.COUNT"}),
    "an object": (lambda h: h.Helper(), {"helpers.Helper.calls", "helpers.COUNT"}),
    "a bound method": (lambda h: h.Helper().__call__, {"helpers.Helper.calls", "helpers.COUNT"}),
    "an object in an object": (
        lambda h: types.SimpleNamespace(inner=h.Helper()),
        {"helpers.Helper.calls", "helpers.COUNT"},
    ),
    "a class": (lambda h: h.Counted, {"helpers.Counted.made"}),
    "a number": (lambda h: h.READ, set()),
}


@pytest.mark.parametrize(("make", "expected"), HELD.values(), ids=HELD)
def test_the_code_of_what_a_run_holds_is_read(make, expected, helpers, tmp_path):
    run = run_of("class Run:\n def step(self): self.held()\n", tmp_path)
    assert globals_of(run) == set()
    run.held = make(helpers)
    assert globals_of(run) == expected


def test_they_come_back_in_modules_and_classes(helpers, tmp_path):
    step = " def step(self):\n  helpers.Helper()()\n  Run.count += 1"
    text = f"from own_package import helpers\nclass Run:\n count = 0\n{step}"
    run = run_of(text, tmp_path)
    before = Snapshot.capture(run_roots(run))
    run.step()
    assert (helpers.COUNT, helpers.Helper.calls, type(run).count) == (1, 3, 1)
    after = Snapshot.capture(run_roots(run))
    assert before.restore(run_roots(run)) == {}
    assert (helpers.COUNT, helpers.Helper.calls, type(run).count) == (0, 0, 0)
    assert after.restore(run_roots(run), ["globals.own_package.helpers.COUNT"]) == {}
    assert (helpers.COUNT, helpers.Helper.calls, type(run).count) == (1, 0, 0)


def test_a_decorator_that_is_an_object_is_state(helpers, tmp_path):
    run = run_of("from own_package import helpers\nclass Run:\n @helpers.Calls\n def step(self): pass", tmp_path)
    before = Snapshot.capture(run_roots(run))
    run.step()
    after = Snapshot.capture(run_roots(run))
    assert [path for path in after if after[path].digest != before[path].digest] == ["step/calls"]


def test_of_a_library_generators_alone_are_state_and_the_rest_is_listed(helpers, tmp_path):
    text = "import own_library\nclass Run:\n def step(self):\n  own_library.inner.draw()\n  own_library.STATE = 1"
    run = run_of(text, tmp_path)
    assert globals_of(run) == {"own_library.inner.rng", "own_library.own"}
    captured = Snapshot.capture(run_roots(run))
    assert captured.uncaptured["globals.own_library"] == "a library: of its variables, generators alone"
    assert captured["globals.own_library.inner.rng"].role == "generator"


def test_well_known_libraries_are_not_listed():
    assert not [path for path in Snapshot.capture(run_roots(Run())).uncaptured if "globals" in path]


def test_what_the_kit_put_in_the_place_of_torchs_functions_is_no_part_of_a_run(tmp_path):
    """A script that is recorded calls `torch.save` through the kit's own, which uses the kit's caches."""
    text = "from dora_repro.scripts.calls import call_of as save\nclass Run:\n def step(self): save(None)"
    captured = Snapshot.capture(run_roots(run_of(text, tmp_path)))
    assert not [path for path in (*captured, *captured.uncaptured) if "dora_repro" in path]
