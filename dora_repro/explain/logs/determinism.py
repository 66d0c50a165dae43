"""Why a run is not deterministic, found by experiment: one condition is fixed, and the run is done twice.

Where both then do the same, and two more that do all steps, that condition was the source: two short runs may be the
same by chance. These conditions are no state of the run, so no transplant can show them: the seeds of the global
generators, hash order, the number of threads, torch's choice of algorithms.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dora_repro.alignment.divergence import first_divergence
from dora_repro.explain.logs.compared import up_to
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session
from dora_repro.trace import Trace


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


def source_of_nondeterminism(session: Session, job: Job, step: int) -> str:
    """Return the finding of the first experiment that makes a side reproducible; empty where none does.

    Empty too where the session has one interpreter only, whose hash seed and threads are fixed already.

    Args:
        session: runs the side again.
        job: the job of the side.
        step: the first step in which a repeat of it differed.
    """
    if session.in_process:
        return ""
    for number, experiment in enumerate(EXPERIMENTS):
        with session.with_environment(experiment.environment), contextlib.suppress(SideStopped):
            before: Trace | None = None
            for turn, steps in enumerate((up_to(job, step), up_to(job, step), job, job)):
                folder = session.folder / f"determinism-{number}-{turn}"
                side = session.run("with one condition fixed", experiment.fix(replace(steps, folder=folder)))
                if side.failure is not None or (before is not None and first_divergence(before, side.trace)):
                    break
                before = side.trace
            else:
                return experiment.finding
    return ""
