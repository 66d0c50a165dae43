"""The control: a side is repeated before a difference counts against the run."""

from dataclasses import dataclass, replace

from dora_repro.alignment.late_loading import recorded_as
from dora_repro.checks import judge
from dora_repro.checks.findings import Findings
from dora_repro.checks.report import Control
from dora_repro.comparison.leaves import compare_leaf
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.late_objects import may_be_late
from dora_repro.sides.session import Session, sound
from dora_repro.state.parameter_order import reordered
from dora_repro.state.stale_keys import stale_keys
from dora_repro.state.suspended import objects_lost
from dora_repro.trace import Divergence

NOT_RUN = Control()


@dataclass(frozen=True)
class Controlled:
    """What the repeats showed.

    Attributes:
        findings: the findings, with the values at the divergence, which only the repeats keep.
        control: the result for the report.
        notes: further findings for the report, a sentence each.
        repeat: the repeat of the reference; None where it was not repeated.
        resumed: the repeat of the resumed side, with the state in which its late objects were made; None likewise.
        nondeterministic: the side whose repeat differs from its first run: `reference`, `resumed`, or empty.
    """

    findings: Findings
    control: Control = NOT_RUN
    notes: tuple[str, ...] = ()
    repeat: Evidence | None = None
    resumed: Evidence | None = None
    nondeterministic: str = ""


def controlled(session: Session, sides: Sides, findings: Findings, how: str, for_trials: bool = False) -> Controlled:
    """Repeat the reference where any byte differs, and the resumed side before a difference counts against it.

    Args:
        session: runs the repeats.
        sides: both sides, as they ran first.
        findings: what differs between them.
        how: `auto`, `always` or `never`, as for `check`.
        for_trials: have the repeat of the reference keep what trials put into a resumed run: the batches and
            generators of its steps, objects that it lacks, and frozen parameters where they differ.

    Raises:
        SideStopped: a repeat left no result.
    """
    notes: list[str] = []
    if how == "never":
        return Controlled(findings)
    if findings.save_changed and findings.divergence is None:
        findings = _compare_without_saving(session, sides, findings, notes)
    if how == "auto" and not findings.any_byte:
        return Controlled(findings, notes=tuple(notes))
    session.expect(2 if findings.any_byte else 1)
    keep = _value_wanted(findings.divergence)
    job = replace(sides.reference_job, keep=keep)
    late: tuple[str, ...] = ()
    resumed: Evidence | None = None
    if for_trials:
        frozen = any(difference.by_digest for difference in findings.lost)
        loaded = sides.resumed.loaded_or_none
        objects = objects_lost(sides.reference.at_save(sides.save_at), loaded) if loaded is not None else ()
        job = replace(job, streams=sides.save_at, frozen=frozen, objects=objects)
        late = may_be_late(objects, loaded) if loaded is not None else ()
    reference = sound(session.repeat("reference, repeated", job))
    pairs = [("reference", sides.reference, reference)]
    noise = judge.noise_of(sides.reference, reference)
    orders: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    if findings.divergence is not None or any(difference.path not in noise for difference in findings.end):
        job = replace(sides.resumed_job, keep=_of_resumed(keep, findings, sides), late=late)
        resumed = sound(session.repeat("resumed, repeated", job))
        pairs.append(("resumed", sides.resumed, resumed))
        orders = _orders(sides.resumed, resumed) if findings.divergence is not None else ()
        stale = _stale(sides) if findings.divergence is not None else ()
        if not orders and not stale:  # else what differs between the resumed runs is what these make of the file
            noise = tuple(dict.fromkeys((*noise, *judge.noise_of(sides.resumed, resumed))))
        findings = _measured(findings, reference, resumed)
    first_found: Divergence | None = None
    nondeterministic = ""
    for side, first, again in pairs:
        found = judge.repeat_divergence(first, again)
        if found is None or (side == "resumed" and (orders or stale)):
            continue
        if judge.no_later(found, findings.divergence, sides.reference.trace, sides.save_at):
            nondeterministic = nondeterministic or side
            first_found = first_found or found
        else:
            notes.append(f"not deterministic later on: the {side} side, repeated, first differs at {found}")
    if findings.divergence is not None:  # an order that is another one in each process, and does matter
        differing = _orders_of_sides(sides)
        noise = tuple(path for path in noise if path not in differing)
    control = Control(tuple(side for side, _, _ in pairs), first_found is None, first_found, noise, orders, stale)
    return Controlled(findings, control, tuple(notes), reference, resumed, nondeterministic)


def _orders(resumed: Evidence, again: Evidence) -> tuple[str, ...]:
    """The groups whose parameters a resumed run held in another order when it was repeated."""
    one, other = resumed.loaded_or_none, again.loaded_or_none
    return () if one is None or other is None else reordered(one, other)


def _stale(sides: Sides) -> tuple[str, ...]:
    """Dicts whose keys are ids of objects of another process in the resumed side."""
    loaded = sides.resumed.loaded_or_none
    return () if loaded is None else stale_keys(sides.reference.at_save(sides.save_at).kinds, loaded.kinds)


def _orders_of_sides(sides: Sides) -> tuple[str, ...]:
    loaded = sides.resumed.loaded_or_none
    return () if loaded is None else reordered(sides.reference.at_save(sides.save_at), loaded)


def _measured(findings: Findings, reference: Evidence, resumed: Evidence) -> Findings:
    """The findings with the size of the divergence, where both repeats kept its value."""
    divergence = findings.divergence
    if divergence is None or not _value_wanted(divergence) or reference.kept is None or resumed.kept is None:
        return findings
    size = compare_leaf(divergence.leaf, reference.kept, resumed.kept)
    return replace(findings, divergence=replace(divergence, difference=size))


def _value_wanted(divergence: Divergence | None) -> tuple[int, str, str] | None:
    """The (step, phase, leaf) whose value the repeats should keep; None where its size is known or has no meaning."""
    if divergence is None or divergence.difference is not None or divergence.kind != "value":
        return None
    return divergence.step, divergence.phase, divergence.leaf


def _of_resumed(keep: tuple[int, str, str] | None, findings: Findings, sides: Sides) -> tuple[int, str, str] | None:
    """The same, by the names that the resumed side recorded it under."""
    if keep is None or findings.divergence is None:
        return None
    return keep[0], *recorded_as(sides.reference.trace, sides.resumed.trace, findings.divergence)


def _compare_without_saving(session: Session, sides: Sides, findings: Findings, notes: list[str]) -> Findings:
    """Repeat the reference without saving, to see whether the plain values that `save()` changed matter."""
    session.expect(1)
    unsaved = session.repeat("reference, not saving", replace(sides.reference_job, saves=()))
    names = ", ".join(difference.path for difference in findings.save_changed)
    if judge.repeat_divergence(sides.reference, unsaved) is None:
        notes.append(f"save() changed {names}: the steps are the same without saving")
        return findings
    first = findings.save_changed[0]
    notes.append(f"save() changed {names}: the steps differ without saving")
    return replace(findings, divergence=Divergence(sides.save_at, "save", first.path, first.kind, first))
