"""What a report lists as lost: of all that differs right after loading, what says something about the run."""

from dora_repro.checks.report import Report, Verdict
from dora_repro.difference import LeafDifference


def what_was_lost(report: Report) -> list[LeafDifference]:
    """What differs right after loading and may matter; nothing where no effect differs."""
    if report.divergence is None and report.verdict is not Verdict.INCONCLUSIVE:
        return []
    return significant(report)


def significant(report: Report) -> list[LeafDifference]:
    """What differs right after loading, less what says nothing (`left_out`)."""
    aside = {path for paths in left_out(report).values() for path in paths}
    return [each for each in report.lost if each.path not in aside]


def left_out(report: Report) -> dict[str, list[str]]:
    """Why something that differs right after loading is not listed as lost -> paths; each path once.

    Gradients left over from the last step are missing in any new run: they are listed only where gradients differ
    first. A list that only grows is a history, until it is a cause; noise is never listed; what load() set to mark
    the resume, and what the resumed run was told otherwise, are listed apart. What load() put aside for the first step
    is no loss, until it is a cause.
    """
    causes = set(report.explanation.leaves if report.explanation is not None else ())
    aside = report.set_aside
    phase = report.divergence.phase if report.divergence is not None else ""
    gradients: set[str] = set()
    if not (phase.startswith("backward") or "backward" in report.unseen):
        gradients = {each.path for each in report.lost if each.role == "gradient" and each.kind == "missing"}
    reasons: dict[str, set[str]] = {
        "changed configuration": {setting.path for setting in report.configuration},
        "noise": {*aside.noise} - causes,
        "set while loading": {*aside.set_by_load} - causes,
        "histories": {*aside.bookkeeping} - causes,
        "order of keys": {*aside.reordered} - causes,
        "put aside while loading, and gone by the end": {*aside.put_aside} - causes,
        "gradients of the last step": gradients - causes,
    }
    found: dict[str, list[str]] = {}
    for each in report.lost:
        reason = next((reason for reason, paths in reasons.items() if each.path in paths), "")
        if reason:
            found.setdefault(reason, []).append(each.path)
    return found
