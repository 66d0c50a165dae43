"""A folder that a check was told to keep, opened again: its reports whole, and both runs at every moment stored.

Reading it runs nothing of what was checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import cast

from dora_repro.checks.keeping import SCRIPT, Kept
from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.checks.rereading import from_json
from dora_repro.checks.running import drift_of
from dora_repro.comparison.stepwise import Leaves
from dora_repro.contracts import Json
from dora_repro.errors import BadInput
from dora_repro.printable import named, one_line
from dora_repro.scripts import assignment
from dora_repro.scripts.aligning import may_be_checkpoint
from dora_repro.scripts.files import read_ledger
from dora_repro.sides.evidence import STEPS, Evidence
from dora_repro.sides.result import NAME as RESULT
from dora_repro.sides.result import Result, from_fields
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Trace, read_appended
from dora_repro.wording import counted


def evidence(folder: str | Path) -> "KeptCheck":
    """Open the folder that a check was told to keep (`--keep FOLDER`, `folder=FOLDER`), to go on with it.

    Args:
        folder: that folder.

    Raises:
        BadInput: no check has kept it, its check did not come to an end, it is of another version, or files of it are
            missing or damaged.

    Example:
        ::

            report = dora_repro.check(Run, steps=6, save_at=3, folder="evidence")
            kept = dora_repro.evidence("evidence")  # later, in another process
            print(kept.result)
    """
    place = Path(folder).absolute()
    kept = Kept.read(place)
    return KeptCheck(place, kept, tuple(KeptReport(place, kept, index) for index in range(len(kept.answers))))


@dataclass(frozen=True, repr=False)
class KeptCheck:
    """A check whose evidence was kept.

    Attributes:
        folder: where it is.
        kept: what the check has left on itself.
        reports: one for each resumed run, in order.
    """

    folder: Path
    kept: Kept
    reports: tuple["KeptReport", ...]

    @property
    def result(self) -> Report | Reports:
        """What the check returned."""
        reports = tuple(each.report for each in self.reports)
        return Reports(self.kept.title, reports) if self.kept.several else reports[0]

    @property
    def first(self) -> "KeptReport":
        """The first report with something to explain; the first of all where there is none."""
        wrong = (each for each in self.reports if each.report.verdict in (Verdict.DIFFERENT, Verdict.LATENT))
        return next(wrong, self.reports[0])

    def __repr__(self) -> str:
        reports = "" if len(self.reports) == 1 else f"{counted(len(self.reports), 'report')}, "
        return f"KeptCheck({self.kept.title}: {reports}{self.result.verdict})"


class KeptReport:
    """One report, with the evidence that it rests on.

    Args:
        folder: of the check.
        kept: what the check has left on itself.
        index: place of the report among those of the check.

    Attributes:
        folder: as given.
        kept: as given.
        index: as given.
        trial: what a trial has to know; empty where none can be made.
        reference: what the uninterrupted side left; None where the check came to no comparison.
        resumed: what the resumed side left; None likewise.
        report: the report, with the traces and values of both sides.

    Raises:
        BadInput: files of it are missing or damaged.
    """

    def __init__(self, folder: Path, kept: Kept, index: int):
        answer = kept.answers[index]
        self.folder, self.kept, self.index, self.trial = folder, kept, index, answer.trial
        places = {name: _name(place, folder) for name, place in answer.places.items()}
        self._killed = places.get("killed")
        self.reference = self._side(places.get("reference"), places.get("steps", STEPS))
        self.resumed = self._side(places.get("resumed"), STEPS)
        self.report = self._whole(answer.report)

    def _side(self, name: str | None, steps: str) -> Evidence | None:
        if name is None:
            return None
        side = Evidence(self.folder / name, steps)
        for file in (RESULT, steps):
            _require(side.folder / file)
        _require_whole(side)
        return side

    def _whole(self, report: Report) -> Report:
        """The report with what lies in files of its own."""
        reference, resumed = self.reference, self.resumed
        if reference is None or resumed is None:
            return report
        for name in self._moments(report):
            _require(self.folder / name)
        return replace(
            report, reference=reference.trace, resumed=resumed.trace, drift=drift_of(reference, resumed)
        )  # fmt: skip

    def _moments(self, report: Report) -> tuple[Path, ...]:
        """The states that every comparison rests on."""
        assert self.reference is not None and self.resumed is not None
        saved = self.reference.folder / f"save-{report.save_at}" / "before.pt"
        raised_before = self.resumed.result["where"] in ("build", "load")
        return (saved,) if raised_before else (saved, self.resumed.folder / "load.pt")

    @cached_property
    def killed(self) -> Trace | None:
        """What the killed run of a script did; None for a run object, whose reference goes on."""
        path = self.folder / self._killed / assignment.STEPS if self._killed is not None else None
        return read_appended(path) if path is not None and path.exists() else None

    @cached_property
    def states(self) -> Mapping[int, tuple[Snapshot, Snapshot]]:
        """Step -> the state of the uninterrupted and of the resumed run after it, where both were stored: where the
        one was saved and the other had loaded, and at the end of both."""
        reference, resumed, at = self.reference, self.resumed, self.report.save_at
        if reference is None or resumed is None or resumed.loaded_or_none is None:
            return {}
        found = {at: (reference.at_save(at), resumed.loaded)}
        last, other = reference.end_or_none, resumed.end_or_none
        done = reference.result["step"]
        if last is not None and other is not None and resumed.result["step"] == done != at:
            found[done] = (last, other)
        return found

    @property
    def stored(self) -> tuple[Mapping[int, Leaves], Mapping[int, Leaves]]:
        """The leaves of the uninterrupted and of the resumed run by step: whole states (`states`), and at other steps
        the parameters, where the check was given `values`."""
        drift = self.report.drift
        expected: dict[int, Leaves] = {} if drift is None else {step: drift.expected[step] for step in drift.steps}
        actual: dict[int, Leaves] = {} if drift is None else {step: drift.actual[step] for step in drift.steps}
        for step, (one, other) in self.states.items():
            expected[step], actual[step] = one, other
        return dict(sorted(expected.items())), dict(sorted(actual.items()))

    @cached_property
    def saves(self) -> tuple[int, ...]:
        """The steps after which the uninterrupted run saved."""
        if self.reference is None:
            return ()
        if self.kept.kind != SCRIPT:
            return tuple(sorted(map(int, self.reference.result["saves"])))
        entries = read_ledger(self.reference.folder / assignment.FILES)
        return tuple(sorted({e["step"] for e in entries if e["kind"] == "wrote" and may_be_checkpoint(e["path"])}))

    def __repr__(self) -> str:
        return f"KeptReport({self.report.title}: {self.report.summary})"


def _name(place: str, folder: Path) -> str:
    """The name of something in the folder.

    Raises:
        BadInput: it leads out of it.
    """
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts:
        raise BadInput(f"{named(folder)} names {place!r}, which is not in it: make the check again with --keep")
    return place


def _require_whole(side: Evidence) -> None:
    """Refuse a side of which the result is not what a side writes.

    Raises:
        BadInput: its `result.json` is not.
    """
    try:
        result = from_json(Result, cast(Json, side.result))
        for step, changed in result["saves"].items():
            int(step)
            tuple(map(from_fields, changed))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        path = named(side.folder / RESULT)
        raise BadInput(f"{path} is not whole ({one_line(str(error))}): make the check again with --keep") from None


def _require(path: Path) -> None:
    """Refuse evidence of which a file is gone.

    Raises:
        BadInput: there is no such file.
    """
    if not path.is_file():
        raise BadInput(f"{named(path)} is gone, on which the report rests: make the check again with --keep")
