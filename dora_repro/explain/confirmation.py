"""Confirm a cause: it is put back once more in a fresh process, which must do what the reference did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dora_repro.alignment.divergence import first_divergence
from dora_repro.explain.trials.ends import same_leaves
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.explain.trials.trial import BEYOND, DATA, DRAWS, ITERATORS, LATE, LOOP, PASSED
from dora_repro.sides.evidence import Sides
from dora_repro.sides.job import Transplant
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session
from dora_repro.state.paths import few


@dataclass(frozen=True)
class Confirmation:
    """What a fresh process did with a cause put back.

    Attributes:
        same: whether it did what the reference did; None where it did not finish.
        missing: leaves of the cause that could not be put back there: path -> reason.
    """

    same: bool | None
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuted:
    """A set that restored exact resume in trials, and was not confirmed: no cause.

    Attributes:
        names: what was put back, as of `Trial.names`.
        confirmation: what a fresh process did with it.
    """

    names: frozenset[str]
    confirmation: Confirmation

    def in_words(self) -> str:
        """One sentence."""
        begin = f"no cause: with {few(self.names)} put back the run went the reference's way once"
        if self.confirmation.same is None:
            return f"{begin}, and did not finish when repeated"
        missing = [f"`{path}` ({reason})" for path, reason in self.confirmation.missing.items()]
        more = f", where {', '.join(missing[:3])} could not be put back" if missing else ""
        return f"{begin}, and did not when repeated{more}"


def confirm(
    session: Session, sides: Sides, setup: TrialSetup, names: Iterable[str], at_end: Sequence[str]
) -> Confirmation:
    """Put a set back in a fresh process, and compare what it does with the reference.

    Args:
        session: runs the process.
        sides: the reference and the resumed side.
        setup: what the trials had in common.
        names: the leaves, and what else is put back, as of `Trial.names`.
        at_end: leaves that must be the reference's at the end as well.
    """
    names = frozenset(names)
    given = Transplant(
        state=Path(setup.saved),
        leaves=tuple(sorted(names - BEYOND)),
        streams=Path(setup.streams) if setup.streams else None,
        batches=DATA in names,
        draws=DRAWS in names,
        objects=Path(setup.objects) if setup.objects else None,
        around=sides.resumed.folder / "load.pt" if names & {ITERATORS, LOOP} else None,
        begun=LOOP in names,
        late=setup.late if LATE in names else (),
        passed_over=setup.passed_over if PASSED in names else 0,
    )
    job = replace(sides.resumed_job, saves=(), values=(), transplant=given)
    try:
        again = session.repeat("resumed, with the cause put back", job)
    except SideStopped:
        return Confirmation(None)
    missing = {path: reason for path, reason in again.result["not_transplanted"].items() if path in names}
    if again.failure is not None or first_divergence(sides.reference.trace, again.trace, sides.save_at) is not None:
        return Confirmation(False, missing)
    return Confirmation(same_leaves(again.end, sides.reference.end, at_end), missing)
