"""A resumed run, compared; and what is left beside the evidence of several, where that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dora_repro.checks.keeping import FACTORY, OBJECT, Answer, Kept, Origin
from dora_repro.checks.report import Report, Reports
from dora_repro.checks.request import Request
from dora_repro.errors import BadInput
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.pickling import pickled
from dora_repro.sides.session import Session


@dataclass(frozen=True)
class Resumed:
    """A resumed run, compared.

    Attributes:
        report: what came of it.
        evidence: what it left; its parent's where it did not finish.
        finished: whether it left any.
        setup: what trials of it have in common; None where nothing differs, or its evidence is not kept.
    """

    report: Report
    evidence: Evidence
    finished: bool = True
    setup: TrialSetup | None = None

    def titled(self, title: str) -> "Resumed":
        return replace(self, report=replace(self.report, title=title))


def keep(session: Session, request: Request, done: Sequence[Resumed], *, several: bool) -> Reports:
    """All reports; what is needed to go on with them is left beside their evidence, where that is kept."""
    reports = Reports(request.title, tuple(each.report for each in done))
    if request.folder is None:
        return reports
    factory = session.factory or _sent(request)
    if factory:
        (session.folder / FACTORY).write_bytes(factory)
    asked = {"steps": request.steps, "save_at": list(request.points), "control": request.control}
    asked |= {"ignore": list(request.ignore), "tolerance": request.tolerance, "timeout": request.timeout}
    answers = tuple(_answer(each, session.folder, bool(factory)) for each in done)
    Kept(OBJECT, request.title, several, asked, Origin.here(), answers).write(session.folder)
    return reports


def _answer(resumed: Resumed, folder: Path, launchable: bool) -> Answer:
    places = {"reference": "reference"}
    if resumed.finished:
        places["resumed"] = resumed.evidence.folder.name
    trial = resumed.setup.within(folder) if resumed.setup is not None and launchable else {}
    return Answer(resumed.report, places, trial)


def _sent(request: Request) -> bytes:
    """The factory of a check that sent it nowhere (`in_process`); empty where it cannot be sent."""
    try:
        return pickled(request.factory)
    except BadInput:
        return b""
