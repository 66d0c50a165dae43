"""A run is built, loaded, stepped, and given another run's state."""

from dataclasses import replace

import pytest

from dora_repro.recording import hand_overs
from dora_repro.sides.building import build_and_load, build_and_step, transplant
from dora_repro.sides.job import Transplant
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs


class Logged:
    """A run that says what is done to it."""

    said: list[str] = []  # noqa: RUF012  # of all runs of a test, emptied by `said`

    def __init__(self):
        self.said.append("built")

    def step(self):
        self.said.append("step")

    def load(self, path):
        self.said.append(f"loaded {path}")


class Resuming(Logged):
    @classmethod
    def resume(cls, path):
        run = cls()
        cls.said.append(f"resumed {path}")
        return run


@pytest.fixture
def said():
    Logged.said.clear()
    return Logged.said


def test_a_run_is_built_and_then_loaded(said, tmp_path):
    path = tmp_path / "step2.pt"
    assert type(build_and_load(Logged, path, lambda: said.append("loading"))) is Logged
    assert said == ["built", "loading", f"loaded {path}"]


def test_without_a_checkpoint_nothing_is_loaded(said):
    build_and_load(Logged, None, lambda: said.append("loading"))
    build_and_load(Resuming, None, lambda: said.append("loading"))
    assert said == ["built", "built"]


def test_a_factory_that_resumes_builds_and_loads_at_once(said):
    build_and_load(Resuming, "step2.pt", lambda: said.append("loading"))
    assert said == ["loading", "built", "resumed step2.pt"]


class ResumingByLoad(Logged):
    @classmethod
    def resume(cls, path):
        run = cls()
        run.load(path)
        run.load("once more")
        return run


class Fixed(type):
    """Takes no attributes."""

    def __setattr__(cls, name, value):
        raise AttributeError(name)


class ResumingFixed(Logged, metaclass=Fixed):
    resume = classmethod(ResumingByLoad.resume.__func__)


@pytest.mark.parametrize(
    "factory, seen",
    [(Logged, True), (lambda: Logged(), True), (ResumingByLoad, True), (Resuming, False), (ResumingFixed, False)],
)
def test_a_run_is_looked_at_before_it_loads_where_that_moment_is_seen(factory, seen, said):
    run = build_and_load(factory, "file", on_built=lambda run: said.append(f"is a {type(run).__name__}"))
    at = f"is a {type(run).__name__}"
    assert said.count(at) == seen and type(run).load is vars(Logged)["load"]
    assert not seen or said.index(at) == said.index("loaded file") - 1


def test_a_run_is_built_and_stepped_and_a_second_one_loaded_after_it(said):
    build_and_step(Logged, 2, "step2.pt", lambda: said.append("loading"))
    assert said == ["built", "step", "step", "built", "loading", "loaded step2.pt"]


def stepped(run, steps):
    for _ in range(steps):
        run.step()
    return run


@pytest.fixture
def given(tmp_path):
    """What a run of two steps held, to be put into one of none."""
    Snapshot.capture(run_roots(stepped(runs.Plain(), 2))).write(tmp_path / "before.pt")
    return Transplant(tmp_path / "before.pt", ("count", "model/0.weight"))


def digests(run):
    return {path: leaf.digest for path, leaf in Snapshot.capture(run_roots(run)).items()}


def test_the_leaves_that_were_asked_for_are_put_in_and_no_others(given):
    run = runs.Plain()
    before = digests(run)
    assert transplant(run, given) == {}
    wanted, now = Snapshot.read(given.state), digests(run)
    assert {path for path in now if now[path] != before.get(path)} == set(given.leaves)
    assert all(now[path] == wanted[path].digest for path in given.leaves)


def test_no_leaves_leave_the_run_alone(given):
    run = runs.Plain()
    before = digests(run)
    assert transplant(run, replace(given, leaves=())) == {}
    assert digests(run) == before


class Frozen(runs.Plain):
    def __init__(self):
        super().__init__()
        self.model[0].weight.requires_grad_(False)


def test_a_leaf_that_cannot_be_put_in_is_named_with_the_reason(tmp_path):
    other = Frozen()
    other.model[0].weight.mul_(2)
    other.count = 7
    Snapshot.capture(run_roots(other)).write(tmp_path / "before.pt")  # frozen parameters by digest alone
    run = Frozen()
    failed = transplant(run, Transplant(tmp_path / "before.pt", ("model/0.weight", "count")))
    assert list(failed) == ["model/0.weight"] and failed["model/0.weight"]
    assert run.count == 7


def test_all_state_but_what_is_half_done_can_be_put_around_it(given, tmp_path):
    Snapshot.capture(run_roots(stepped(runs.Plain(), 5))).write(tmp_path / "load.pt")
    run = runs.Plain()
    assert transplant(run, replace(given, around=tmp_path / "load.pt")) == {}
    below, above, now = Snapshot.read(tmp_path / "load.pt"), Snapshot.read(given.state), digests(run)
    for path in ("count", "model/0.weight"):
        assert now[path] == above[path].digest != below[path].digest
    assert now["model/0.bias"] == below["model/0.bias"].digest != above["model/0.bias"].digest


@pytest.mark.parametrize("build", [lambda factory: build_and_load(factory, None), lambda f: build_and_step(f, 1, None)])
def test_who_fills_queues_is_noted_before_a_run_is_built(build, said, monkeypatch):
    monkeypatch.setattr(hand_overs, "install", lambda: said.append("noted"))
    build(Logged)
    assert said[:2] == ["noted", "built"]
    said.clear()
    build_and_load(Resuming, "there")
    assert said[:2] == ["noted", "built"]
