"""Why a run is not deterministic, found by experiment: one condition is fixed, and the run is done twice.

Where both then do the same, that condition was the source. These conditions are no state of the run, so no transplant
can show them: the seeds of the global generators, hash order, the number of threads, torch's choice of algorithms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dora_repro.alignment.divergence import first_divergence
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session


@dataclass(frozen=True)
class Experiment:
    """One condition, fixed.

    Attributes:
        finding: what it means where both runs are then the same.
        fix: sets the condition in a job.
        environment: variables of the process that set it.
    """

    finding: str
    fix: Callable[[Job], Job] = lambda job: job
    environment: Mapping[str, str] = field(default_factory=dict)


EXPERIMENTS = (
    Experiment(
        "Nothing seeds the global generators: with torch, numpy and random seeded before the run is built, it is "
        "reproducible.",
        fix=lambda job: replace(job, seeded=True),
    ),
    Experiment(
        "The result depends on hash order (iterating over a set?): with PYTHONHASHSEED=0 it is reproducible.",
        environment={"PYTHONHASHSEED": "0"},
    ),
    Experiment(
        "The result depends on the number of threads: with OMP_NUM_THREADS=1 it is reproducible.",
        fix=lambda job: replace(job, threads=1),
        environment={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    ),
    Experiment(
        "An operator is nondeterministic: with torch.use_deterministic_algorithms(True) the result is reproducible.",
        fix=lambda job: replace(job, deterministic=True),
        environment={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    ),
)


def source_of_nondeterminism(session: Session, job: Job) -> str:
    """Return the finding of the first experiment that makes a side reproducible; empty where none does.

    Empty too where the session has one interpreter only, whose hash seed and threads are fixed already.
    """
    if session.in_process:
        return ""
    for number, experiment in enumerate(EXPERIMENTS):
        folders = (session.folder / f"determinism-{number}-{turn}" for turn in ("once", "twice"))
        jobs = [experiment.fix(replace(job, folder=folder)) for folder in folders]
        try:
            with session.with_environment(experiment.environment):
                one, other = (session.run("with one condition fixed", each) for each in jobs)
        except SideStopped:
            continue
        if one.failure is None and other.failure is None and first_divergence(one.trace, other.trace) is None:
            return experiment.finding
    return ""
