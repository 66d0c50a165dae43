"""Launching the resume command of a check again: during the check, and from the evidence that was kept of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dora_repro.scripts.anchors import Anchor
from dora_repro.scripts.assignment import ANCHOR, FIRST
from dora_repro.scripts.trials import ScriptTrials
from dora_repro.scripts.workplace import Workplace
from dora_repro.sides.evidence import Sides


@dataclass(frozen=True)
class Again:
    """What the trials of a kill have to know besides its evidence.

    Attributes:
        kill_after: the step after which the run was killed.
        step: the step that the resumed run goes on from.
        at_end: leaves that must be the uninterrupted run's at the end as well.
        depths: command -> how deep among the processes that it starts the one is that is judged.
    """

    kill_after: int
    step: int
    at_end: tuple[str, ...] = ()
    depths: Mapping[str, int | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "at_end": list(self.at_end)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Again":
        """What `to_dict` took apart."""
        return cls(**{**fields, "at_end": tuple(fields["at_end"])})


def trials_of(place: Workplace, both: Sides, kill_after: int, at_end: tuple[str, ...]) -> ScriptTrials:
    """What runs trials of a resumed side.

    Args:
        place: launches the commands.
        both: the uninterrupted side, and the resumed one.
        kill_after: the step after which the run was killed.
        at_end: leaves that must be the uninterrupted run's at the end as well.
    """
    first = both.resumed.folder / f"{FIRST}{ANCHOR}"
    steps = both.reference.folder / both.reference.steps
    return ScriptTrials(
        both,
        _saved(both),
        Anchor.read(first) if first.exists() else Anchor(None),
        lambda trial: place.trial(trial, kill_after, both.save_at, steps),
        lambda: place.batches(both.save_at),
        at_end,
    )


def _saved(both: Sides) -> Path:
    return both.reference.folder / f"save-{both.save_at}" / "before.pt"
