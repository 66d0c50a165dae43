"""Launching the resume command of a check again: during the check, and from the evidence that was kept of it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dora_repro.scripts.anchors import Anchor
from dora_repro.scripts.assignment import ANCHOR, AT_ROUND, FIRST, OBJECTS, Meet
from dora_repro.scripts.sides import round_met
from dora_repro.scripts.trials import AtRound, ScriptTrials
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


def met_round(
    place: Workplace, trials: ScriptTrials, both: Sides, kill_after: int, files: Sequence[str], objects: Sequence[str]
) -> AtRound | None:
    """The round of the script's loop that follows the save, with the state of both runs at it; launches each once.

    Args:
        place: launches the commands.
        trials: of the resumed side.
        both: the uninterrupted side, and the resumed one.
        kill_after: the step after which the run was killed.
        files: names of the checkpoint's files in `{out}`.
        objects: paths of objects that the resumed run lacks.

    Returns:
        None where there is no such round, or one of the runs does not come by there.
    """
    steps = both.reference.folder / both.reference.steps
    launches = place.at_round(kill_after, files, objects, both.save_at, steps)
    if launches is None:
        return None
    reference, resumed = launches
    found = round_met(reference)
    if found is None:
        return None
    paths = tuple(os.path.realpath(place.out / name) for name in files)
    states = reference.folder / AT_ROUND, resumed.folder / AT_ROUND
    kept = reference.folder / OBJECTS
    whole = kept if kept.exists() else None
    return AtRound(found, *states, Meet(None, found, paths), trials.judged(resumed), whole)


def _saved(both: Sides) -> Path:
    return both.reference.folder / f"save-{both.save_at}" / "before.pt"
