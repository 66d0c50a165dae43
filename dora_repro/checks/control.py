"""The control: no accusation before a side, repeated, did the same again."""

from dataclasses import dataclass, replace

from dora_repro.checks import judge
from dora_repro.checks.evidence import Evidence
from dora_repro.checks.job import Job
from dora_repro.checks.report import Control, Divergence
from dora_repro.checks.session import Session
from dora_repro.comparison import compare_leaf


@dataclass(frozen=True)
class Sides:
    """A reference and a run resumed from it, each with the job that made it."""

    reference: Evidence
    reference_job: Job
    resumed: Evidence
    resumed_job: Job

    @property
    def save_at(self) -> int:
        return self.resumed_job.start


def controlled(session: Session, sides: Sides, findings: judge.Findings) -> tuple[judge.Findings, Control, list[str]]:
    """Repeat the reference where any byte differs, and the resumed side before it is accused.

    Returns:
        the findings (with the values at the divergence, which only the repeats keep), what the control told, and notes.

    Raises:
        SideStopped: a repeat left no result.
    """
    how = session.question.control
    notes: list[str] = []
    if how == "never":
        return findings, Control(), notes
    if findings.save_changed and findings.divergence is None:
        findings = _ask_without_saving(session, sides, findings, notes)
    if how == "auto" and not findings.any_byte:
        return findings, Control(), notes
    session.expect(2 if findings.any_byte else 1)
    keep = _value_wanted(findings.divergence)
    reference = session.repeat("reference, repeated", replace(sides.reference_job, keep=keep))
    pairs = [("reference", sides.reference, reference)]
    noise = judge.noise_of(sides.reference, reference)
    if findings.divergence is not None or any(difference.path not in noise for difference in findings.end):
        resumed = session.repeat("resumed, repeated", replace(sides.resumed_job, keep=keep))
        pairs.append(("resumed", sides.resumed, resumed))
        noise = tuple(dict.fromkeys((*noise, *judge.noise_of(sides.resumed, resumed))))
        if keep and reference.kept is not None and resumed.kept is not None:
            size = compare_leaf(keep[2], reference.kept, resumed.kept)
            findings = replace(findings, divergence=replace(findings.divergence, difference=size))
    unlike: Divergence | None = None
    for side, first, again in pairs:
        found = judge.repeat_difference(first, again)
        if found is None:
            continue
        if judge.no_later(found, findings.divergence, sides.reference.trace, sides.save_at):
            unlike = unlike or found
        else:
            notes.append(f"not deterministic later on: the {side} side, repeated, first differs at {found}")
    return findings, Control(tuple(side for side, _, _ in pairs), unlike is None, unlike, noise), notes


def _value_wanted(divergence: Divergence | None) -> tuple[int, str, str] | None:
    if divergence is None or divergence.difference is not None or divergence.kind != "value":
        return None
    return divergence.step, divergence.phase, divergence.leaf


def _ask_without_saving(session: Session, sides: Sides, findings: judge.Findings, notes: list[str]) -> judge.Findings:
    """Whether what `save()` changed of the run's own plain values matters: the reference again, without saving."""
    session.expect(1)
    unsaved = session.repeat("reference, not saving", replace(sides.reference_job, saves=()))
    names = ", ".join(difference.path for difference in findings.save_changed)
    if judge.repeat_difference(sides.reference, unsaved) is None:
        notes.append(f"save() changed {names}: the same steps are done without saving")
        return findings
    first = findings.save_changed[0]
    notes.append(f"save() changed {names}: without saving other steps are done")
    return replace(findings, divergence=Divergence(sides.save_at, "save", first.path, first.kind, first))
