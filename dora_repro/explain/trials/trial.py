"""One trial: what is put into a resumed run, and whether that restores exact resume. Plain data, no process."""

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dora_repro.sides.places import Place, read_place
from dora_repro.trace import Divergence

# Named as leaves are: what can be tried, and is no leaf.
DATA, DRAWS, ITERATORS = "data/batches", "rng/draws", "data/iterators"
# The control of `ITERATORS`: a run that did the steps up to the save, with all of the resumed run's state, its missing
# iterators included. It must do what the resumed run did, or iterators are not what makes the difference.
CONTROL = "data/iterators, begun anew"
# Not put back but gone through: a run whose training loop has begun, so that its variables can be set. It does one step
# in a run of its own, and gets the resumed run's state around the loop.
LOOP = "loop/begun"
# Nor is this: what lies in objects that the run makes in its first step is put into these as soon as they are there.
LATE = "load/late objects"
# Beside `DATA`: the run passes over some of its own batches before it gets those of the reference.
PASSED = "data/passed over"
# Of a script whose loader began its epoch anew: it gives its first batches to nobody, until it is where it had been.
POSITION = "data/position"
BEYOND = frozenset({DATA, DRAWS, ITERATORS, CONTROL, LOOP, LATE, PASSED, POSITION})


class Outcome(enum.StrEnum):
    """What came of a trial, compared with the reference."""

    SAME = "same"  # every remaining effect is the reference's, and so is what had to be at the end
    DIFFERENT = "different"
    UNRESOLVED = "unresolved"  # it raised where the resumed run had not, or its process died


@dataclass(frozen=True)
class Lines:
    """Advised lines of code that bring lost state back.

    Attributes:
        save: lines that fill `state` after save().
        load: (file, line) of those that read `state` after load(). The file is the one that is `state` to the line:
            empty for the one at `path` (and what the lines of save filled), else its name relative to that one.
        state: the name that `state` has in the lines.
        places: where the lines of save and those of load go, which says what names they have; None where that is not
            known, and they have those that all advice is written with.
        late: those lines, of save and of load, that need objects which the run makes in its first step.
    """

    save: tuple[str, ...] = ()
    load: tuple[tuple[str, str], ...] = ()
    state: str = "state"
    places: tuple[Place | None, Place | None] = (None, None)
    late: tuple[str, ...] = ()

    def of_late_objects(self, late: bool) -> "Lines":
        """The lines that need objects which are made late, or all the others; either with what they import."""

        def wanted(line: str) -> bool:
            return (line in self.late) is late or line.startswith(("import ", "from "))

        save = tuple(filter(wanted, self.save))
        load = tuple((file, line) for file, line in self.load if wanted(line))
        return Lines(save, load, self.state, self.places)


def _lines(fields: Mapping[str, Any]) -> Lines:
    places = read_place(fields["places"][0]), read_place(fields["places"][1])
    load = tuple(map(tuple, fields["load"]))
    return Lines(tuple(fields["save"]), load, fields["state"], places, tuple(fields["late"]))


@dataclass(frozen=True)
class Trial:
    """What is put into a resumed run after loading.

    Attributes:
        names: paths of leaves to take from the reference; `DATA` and `DRAWS` stand for its batches and its generators
            at the beginning of each step, `ITERATORS` for what it held half done at the save. `CONTROL` alone asks
            whether a run does what the resumed one did, not the reference. With `LOOP` among them, the variables of
            suspended functions can be; with `LATE`, leaves of late objects are. With `PASSED`, the
            batches that it reads first are its own; with `POSITION`, its loader passes over those that were used.
        to_the_end: do all steps, also after one that differs, and measure how far the runs have drifted by then.
        lines: code that brings the leaves back in place of a transplant.
        beside: leaves that are put back besides, where there are lines: what a function had taken for its next step.
    """

    names: frozenset[str]
    to_the_end: bool = False
    lines: Lines | None = None
    beside: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "names": sorted(self.names), "beside": sorted(self.beside)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Trial":
        """Read what `to_dict` wrote."""
        given = fields["lines"]
        lines = given and _lines(given)
        return cls(frozenset(fields["names"]), fields["to_the_end"], lines, frozenset(fields["beside"]))


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        outcome: whether the trial's run did what the reference did.
        divergence: the first differing effect; None where there is none, or the trial raised before one.
        steps: number of steps done.
        parameter_distance: largest absolute difference between a trained parameter and the reference's at the end;
            None unless the trial went to the end.
        loss_distance: absolute difference of the last step's losses; None likewise.
        failed: leaves that could not be put in: path -> reason.
        error: what the trial raised; None where it did not.
        options: paths of group options that were the reference's in the last step; empty unless the trial went to the
            end, and did more than one step.
        ended: whether the trial went to the end and measured there, asked to or not: one that differs in the last step
            alone is as good as one that goes on after a difference.
    """

    outcome: Outcome
    divergence: Divergence | None = None
    steps: int = 0
    parameter_distance: float | None = None
    loss_distance: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    options: tuple[str, ...] = ()
    ended: bool = False

    @property
    def restores(self) -> bool:
        """Whether what was put back restores exact resume."""
        return self.outcome is Outcome.SAME

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrialResult":
        """Read what `to_dict` wrote; other keys, as those of the message it travelled in, are passed over."""
        own = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        divergence = own["divergence"] and Divergence(**own["divergence"])
        options = tuple(own.get("options", ()))
        return cls(**{**own, "outcome": Outcome(own["outcome"]), "divergence": divergence, "options": options})
