"""What a report lists as lost: of all that differs right after loading, what says something about the run."""

from dora_repro.checks.report import Report, Verdict
from dora_repro.difference import LeafDifference


def what_was_lost(report: Report) -> list[LeafDifference]:
    """What differs right after loading and may matter; nothing where no effect differs."""
    if report.divergence is None and report.verdict is not Verdict.INCONCLUSIVE:
        return []
    return significant(report)


def significant(report: Report) -> list[LeafDifference]:
    """What differs right after loading, less what says nothing.

    Gradients left over from the last step are missing in any new run: they are listed only where gradients differ
    first. A list that only grows is a history, until it is a cause; noise is never listed; what load() set to mark
    the resume, and what the resumed run was told otherwise, are listed apart.
    """
    causes = report.explanation.leaves if report.explanation is not None else ()
    aside = report.set_aside
    left_out = {*aside.bookkeeping, *aside.noise, *aside.set_by_load}
    told = {setting.path for setting in report.configuration}
    phase = report.divergence.phase if report.divergence is not None else ""
    if not (phase.startswith("backward") or "backward" in report.unseen):
        left_out.update(each.path for each in report.lost if each.role == "gradient" and each.kind == "missing")
    return [
        each for each in report.lost if each.path not in told and (each.path not in left_out or each.path in causes)
    ]
