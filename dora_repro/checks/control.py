"""The control: no accusation before a side, repeated, did the same again."""

from dataclasses import dataclass, replace

from dora_repro.checks import judge
from dora_repro.checks.report import Control
from dora_repro.comparison.leaves import compare_leaf
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.session import Session
from dora_repro.trace import Divergence

NOT_RUN = Control()


@dataclass(frozen=True)
class Controlled:
    """What repeating told.

    Attributes:
        findings: with the values at the divergence, which only the repeats keep.
        control, notes: for the report.
        repeat: the reference, repeated; None where it was not.
        unlike: the side that did something else when it was repeated: `reference`, `resumed`, or empty.
    """

    findings: judge.Findings
    control: Control = NOT_RUN
    notes: tuple[str, ...] = ()
    repeat: Evidence | None = None
    unlike: str = ""


def controlled(
    session: Session, sides: Sides, findings: judge.Findings, how: str, for_trials: bool = False
) -> Controlled:
    """Repeat the reference where any byte differs, and the resumed side before it is accused.

    Args:
        how: `auto`, `always` or `never`, as for `check`.
        for_trials: have the repeat of the reference keep what trials put into a resumed run: what it was fed, and
            frozen parameters where they differ.

    Raises:
        SideStopped: a repeat left no result.
    """
    notes: list[str] = []
    if how == "never":
        return Controlled(findings)
    if findings.save_changed and findings.divergence is None:
        findings = _ask_without_saving(session, sides, findings, notes)
    if how == "auto" and not findings.any_byte:
        return Controlled(findings, notes=tuple(notes))
    session.expect(2 if findings.any_byte else 1)
    keep = _value_wanted(findings.divergence)
    job = replace(sides.reference_job, keep=keep)
    if for_trials:
        frozen = any(difference.by_digest for difference in findings.lost)
        job = replace(job, streams=sides.save_at, frozen=frozen)
    reference = session.repeat("reference, repeated", job)
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
    side_unlike = ""
    for side, first, again in pairs:
        found = judge.repeat_difference(first, again)
        if found is None:
            continue
        if judge.no_later(found, findings.divergence, sides.reference.trace, sides.save_at):
            side_unlike = side_unlike or side
            unlike = unlike or found
        else:
            notes.append(f"not deterministic later on: the {side} side, repeated, first differs at {found}")
    control = Control(tuple(side for side, _, _ in pairs), unlike is None, unlike, noise)
    return Controlled(findings, control, tuple(notes), reference, side_unlike)


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
