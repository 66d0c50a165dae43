"""A job travels as a line of JSON and comes out the same."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dora_repro.sides.job import Job, Transplant

TRANSPLANT = Transplant(
    state=Path("/evidence/save-2/before.pt"),
    leaves=("optimizer/w/step", "rng/torch.cpu"),
    streams=Path("/evidence/streams.pkl"),
    batches=True,
    draws=True,
    objects=Path("/evidence/save-2/objects.pkl"),
    begun=True,
    around=Path("/evidence/load.pt"),
    late=("optimizer",),
    passed_over=2,
)
FULL = Job(
    folder=Path("/evidence/resumed"),
    steps=7,
    saves=(3, 5),
    load=Path("/evidence/step2.pt"),
    start=2,
    keep=(4, "update", "model/w"),
    values=("model/*",),
    threads=3,
    streams=2,
    frozen=True,
    objects=("held/norm",),
    late=("optimizer",),
    draws=(0, 3),
    operators=4,
    transplant=TRANSPLANT,
    seeded=True,
    deterministic=True,
)
JOBS = {
    "bare": Job(Path("/evidence/reference"), 3),
    "full": FULL,
    "leaves alone": replace(FULL, transplant=Transplant(Path("/evidence/before.pt"), ("a",))),
}


def sent(job: Job) -> Job:
    return Job.from_dict(json.loads(json.dumps(job.to_dict())))


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_is_the_same_after_its_journey(job):
    assert sent(job) == job
    assert hash(sent(job)) == hash(job)  # tuples again, not lists: repeats are looked up by their job


@pytest.mark.parametrize("name", [field.name for field in fields(Job)])
def test_every_field_of_a_job_travels(name):
    default = replace(FULL, **{name: getattr(Job(Path("/elsewhere"), 1), name)})
    assert default != FULL and sent(default) == default


@pytest.mark.parametrize("name", [field.name for field in fields(Transplant)])
def test_every_field_of_a_transplant_travels(name):
    default = replace(TRANSPLANT, **{name: getattr(Transplant(Path("/elsewhere")), name)})
    assert default != TRANSPLANT and sent(replace(FULL, transplant=default)).transplant == default
