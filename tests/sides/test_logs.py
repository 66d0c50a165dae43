"""Draws and operators are logged in the steps that a job names, and nowhere else."""

from dora_repro.sides.evidence import Evidence
from dora_repro.sides.job import Job
from dora_repro.sides.logs import DRAWS, OPERATORS
from dora_repro.sides.side import perform
from dora_repro.state import rng
from tests import runs


def did(job: Job) -> Evidence:
    with rng.undisturbed():
        perform(runs.Plain, job)
    return Evidence(job.folder)


def test_nothing_is_logged_that_was_not_asked_for(tmp_path):
    evidence = did(Job(tmp_path / "side", 2))
    assert evidence.draws == [] and evidence.operators == []
    assert not (evidence.folder / DRAWS).exists() and not (evidence.folder / OPERATORS).exists()


def test_draws_are_logged_from_the_first_to_the_last_step(tmp_path):
    draws = did(Job(tmp_path / "side", 4, draws=(2, 3))).draws
    assert {draw.where for draw in draws} == {"step 2", "step 3"}


def test_with_zero_as_the_first_step_loading_is_logged_too(tmp_path):
    saved = did(Job(tmp_path / "reference", 1, saves=(1,)))
    job = Job(tmp_path / "resumed", 2, load=saved.checkpoint(1), start=1, draws=(0, 2))
    assert did(job).draws[0].where == "load"
    later = Job(tmp_path / "later", 2, load=saved.checkpoint(1), start=1, draws=(2, 2))
    assert {draw.where for draw in did(later).draws} == {"step 2"}


def test_the_operators_of_one_step_are_logged(tmp_path):
    once = did(Job(tmp_path / "one", 3, operators=2)).operators
    assert once and any(operator.module.startswith("model") for operator in once)
    assert len(did(Job(tmp_path / "other", 3, operators=3)).operators) == len(once)


def test_logging_changes_nothing_of_what_is_done(tmp_path):
    """Its twin, another seed, is seen to change what is done."""
    plain = did(Job(tmp_path / "plain", 3)).trace.steps
    assert did(Job(tmp_path / "logged", 3, draws=(0, 3), operators=2)).trace.steps == plain
    with rng.undisturbed():
        perform(lambda: runs.Plain(seed=1), Job(tmp_path / "seeded", 3))
    assert Evidence(tmp_path / "seeded").trace.steps != plain
