"""Experiments on a run that is not deterministic: each fixes what it says, and the first that helps is the finding."""

import contextlib
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from dora_repro.explain.logs import determinism
from dora_repro.explain.logs.determinism import EXPERIMENTS, source_of_nondeterminism
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session
from dora_repro.sides.side import perform
from dora_repro.trace import Effect, Step, Trace
from tests import runs


def trace_of(value: int) -> Trace:
    return Trace([Step(1, None, (), (Effect("forward", "loss", bytes([value])),), {})])


class Surroundings:
    """A session whose sides differ from each other unless the condition that `helps` tests is fixed."""

    in_process = False
    folder = Path("nowhere")

    def __init__(self, helps, fails=None):
        self._helps, self._fails = helps, fails
        self.environment, self.done = {}, []

    @contextlib.contextmanager
    def with_environment(self, environment):
        self.environment = environment
        yield
        self.environment = {}

    def run(self, side, job):
        self.done.append((job, self.environment))
        held = self._helps(job, self.environment)
        failure = {"error": "RuntimeError"} if self._fails and self._fails(job) else None
        return types.SimpleNamespace(trace=trace_of(0 if held else len(self.done)), failure=failure)


HELPS = {
    "seeds": lambda job, environment: job.seeded,
    "hashes": lambda job, environment: environment.get("PYTHONHASHSEED") == "0",
    "threads": lambda job, environment: job.threads == 1 and environment.get("OMP_NUM_THREADS") == "1",
    "algorithms": lambda job, environment: job.deterministic,
}


@pytest.mark.parametrize(("index", "name"), list(enumerate(HELPS)), ids=HELPS)
def test_the_experiment_that_makes_a_run_reproducible_is_the_finding_and_later_ones_are_not_done(index, name):
    session = Surroundings(HELPS[name])
    assert source_of_nondeterminism(session, Job(Path("job"), 3, threads=2), 2) == EXPERIMENTS[index].finding
    assert len(session.done) == 2 * index + 4
    assert [job.steps for job, _ in session.done[-4:]] == [2, 2, 3, 3]
    assert len({job.folder for job, _ in session.done}) == len(session.done)
    # One thing at a time.
    held = [(job.seeded, job.deterministic, job.threads == 1, "PYTHONHASHSEED" in env) for job, env in session.done]
    assert all(sum(things) == 1 for things in held)


def test_where_nothing_helps_there_is_no_finding():
    assert source_of_nondeterminism(Surroundings(lambda job, environment: False), Job(Path("job"), 3), 2) == ""


def test_two_short_runs_that_are_the_same_by_chance_are_no_finding():
    session = Surroundings(lambda job, environment: job.steps == 2)
    assert source_of_nondeterminism(session, Job(Path("job"), 3), 2) == ""
    assert len(session.done) == 3 * len(EXPERIMENTS)


def test_two_sides_that_raise_alike_are_not_reproducible():
    raising = Surroundings(HELPS["algorithms"], fails=lambda job: job.deterministic)
    assert source_of_nondeterminism(raising, Job(Path("job"), 3), 2) == ""


def test_a_side_that_is_stopped_ends_its_experiment_alone(monkeypatch):
    session = Surroundings(HELPS["hashes"])
    run = session.run

    def stopped(side, job):
        if job.seeded:
            raise SideStopped("no end")
        return run(side, job)

    monkeypatch.setattr(session, "run", stopped)
    assert source_of_nondeterminism(session, Job(Path("job"), 3), 2) == EXPERIMENTS[1].finding


def test_one_interpreter_has_its_hashes_already(tmp_path):
    with Session(runs.Plain, in_process=True, timeout=60, on_event=lambda *_: None, folder=tmp_path) as session:
        assert source_of_nondeterminism(session, Job(tmp_path / "job", 2), 1) == ""


class OrderOfASet(runs.Plain):
    """Its loss depends on the order of a set of strings."""

    def __init__(self):
        super().__init__()
        self.order = "".join({"a", "b", "c", "d", "e", "f", "g", "h"})
        with torch.no_grad():
            self.model[0].weight[0, 0] = float(int(self.order, 18))


def test_the_order_of_a_set_is_found_in_interpreters_of_their_own(tmp_path):
    with Session(OrderOfASet, in_process=False, timeout=120, on_event=lambda *_: None, folder=tmp_path) as session:
        finding = source_of_nondeterminism(session, Job(tmp_path / "job", 2), 1)
    assert finding == EXPERIMENTS[1].finding and "PYTHONHASHSEED" in finding


def test_a_side_seeds_and_asks_for_deterministic_algorithms_before_it_builds(tmp_path, monkeypatch):
    asked, drawn = [], []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)

    class Drawing(runs.Plain):
        def __init__(self):
            drawn.append((np.random.rand(), torch.rand(()).item()))
            super().__init__()

    for name in ("one", "other"):
        perform(Drawing, Job(tmp_path / name, 1, seeded=True))
    assert drawn[0] == drawn[1] and asked == []
    perform(Drawing, Job(tmp_path / "deterministic", 1, deterministic=True))
    assert asked == [True] and drawn[2] != drawn[1]


def test_each_experiment_changes_something():
    job = Job(Path("job"), 3)
    assert all(each.fix(job) != job or each.environment for each in determinism.EXPERIMENTS)
