"""Why a run is not deterministic, tried: one thing around it is held still, and it is done twice.

Where both then do the same, that thing was it. What is held still is no state of the run, so no transplant can show it:
the seeds of the global generators, Python's hashes, the number of threads, torch's choice of algorithms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session
from dora_repro.trace import first_divergence


@dataclass(frozen=True)
class Experiment:
    """What is held still.

    Attributes:
        told: what it means where both runs are then the same.
        job: fields of the job that are other; environment: variables of its process that are.
    """

    told: str
    job: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


EXPERIMENTS = (
    Experiment(
        "nothing seeds the global generators: with torch, numpy and random seeded before it is built, it comes again",
        job={"seeded": True},
    ),
    Experiment(
        "it hangs on Python's hashes, as the order of a set of names does: with PYTHONHASHSEED=0 it comes again; sort "
        "what comes out of a set",
        environment={"PYTHONHASHSEED": "0"},
    ),
    Experiment(
        "it hangs on how threads share the work: with one (OMP_NUM_THREADS=1) it comes again",
        job={"threads": 1},
        environment={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    ),
    Experiment(
        "an operator is not deterministic: with torch.use_deterministic_algorithms(True) it comes again",
        job={"deterministic": True},
        environment={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    ),
)


def steadied(session: Session, job: Job) -> str:
    """What made a side come again, in words; empty where none of the experiments did, and where there is one
    interpreter only, which has its hashes and its threads already."""
    if session.in_process:
        return ""
    for number, experiment in enumerate(EXPERIMENTS):
        folders = (session.folder / f"steadied-{number}-{turn}" for turn in ("once", "twice"))
        jobs = [replace(job, folder=folder, **experiment.job) for folder in folders]
        try:
            with session.with_environment(experiment.environment):
                one, other = (session.run("with its surroundings held still", each) for each in jobs)
        except SideStopped:
            continue
        if one.failure is None and other.failure is None and first_divergence(one.trace, other.trace) is None:
            return experiment.told
    return ""
