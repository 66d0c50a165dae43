"""What runs a trial from evidence that was kept: a run object is built and loaded anew, a script launched anew.

The evidence is read and not written to. A script must find what the killed run had left at the path that `{out}` had:
while a trial is running, a copy of that is there, beside the evidence, and is gone when the trial is over.
"""

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from dora_repro.checks.keeping import FACTORY, NAME, SCRIPT
from dora_repro.errors import BadInput
from dora_repro.explain.explaining import WORKER
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.explain.trials.trial import Outcome, Trial, TrialResult
from dora_repro.kept.opening import KeptReport
from dora_repro.scripts.again import Again, trials_of
from dora_repro.scripts.commands import Command
from dora_repro.scripts.request import ScriptRequest
from dora_repro.scripts.workplace import Workplace
from dora_repro.sides.evidence import Sides
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.protocol import OnEvent
from dora_repro.sides.session import Session

RunTrial: TypeAlias = Callable[[Trial], TrialResult]


@contextmanager
def what_tries(report: KeptReport, scratch: Path, on_event: OnEvent) -> Iterator[RunTrial]:
    """What runs trials of a report.

    Args:
        report: with evidence and something to explain.
        scratch: an empty folder for what the trials leave.
        on_event: called with each event of a trial.

    Raises:
        BadInput: no trial can be made from this evidence, with the reason.
    """
    if report.kept.kind == SCRIPT:
        yield _launches(report, scratch, on_event)
        return
    setup = TrialSetup.below(report.folder, report.trial)
    factory = (report.folder / FACTORY).read_bytes()
    timeout = float(report.kept.asked["timeout"])
    with Session(factory, in_process=False, timeout=timeout, on_event=on_event, folder=scratch / "session") as session:
        with session.answering(WORKER, asdict(setup)) as answer:

            def run_trial(trial: Trial) -> TrialResult:
                try:
                    return TrialResult.from_dict(answer(trial.to_dict()))
                except SideStopped as stopped:
                    return TrialResult(Outcome.UNRESOLVED, error=str(stopped))

            yield run_trial


def _launches(report: KeptReport, scratch: Path, on_event: OnEvent) -> RunTrial:
    """What launches the resume command of a script."""
    assert report.reference is not None and report.resumed is not None  # there is a trial to be made
    asked, again = report.kept.asked, Again.from_dict(report.trial)
    resume = None if asked["resume"] is None else Command(asked["resume"], "--resume")
    timeout = float(asked["timeout"])
    request = ScriptRequest(Command(asked["run"], "--run"), resume, timeout=timeout, on_event=on_event)
    place = Workplace(request, report.folder, scratch)
    place.depths.update(again.depths)
    steps, start = report.report.steps, again.step
    both = Sides(
        report.reference,
        Job(report.reference.folder, steps, (start,)),
        report.resumed,
        Job(report.resumed.folder, steps, start=start),
    )
    launched = trials_of(place, both, again.kill_after, again.at_end)

    def run_trial(trial: Trial) -> TrialResult:
        with _alone(report.folder, place.out):
            return launched(trial)

    return run_trial


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    """Let no other trial be at work in the folder meanwhile: all of them need the same path.

    Raises:
        BadInput: one is, or the folder cannot be written to.
    """
    with (folder / NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"another trial is at work in {folder}: wait until it is over") from None
        try:
            out.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise
            raise BadInput(
                f"a trial launches the script with {{out}} at {out}, and that folder cannot be made: {error.strerror}"
            ) from None
        yield
