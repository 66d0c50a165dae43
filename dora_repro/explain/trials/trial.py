"""One trial: what is put into a resumed run, and how far it then goes the reference's way. Plain data."""

from dataclasses import asdict, dataclass, field

# Named as leaves are: what can be tried, and is no leaf.
DATA, DRAWS, ITERATORS = "data/batches", "rng/draws", "data/iterators"
# The control of `ITERATORS`: a run that did the steps up to the save, with all of the resumed run's state, its missing
# iterators included. It must do what the resumed run did, or iterators are not what makes the difference.
CONTROL = "data/iterators, begun anew"
BEYOND = frozenset({DATA, DRAWS, ITERATORS, CONTROL})


@dataclass(frozen=True)
class Lines:
    """Lines of code that are to bring lost state back, as they are advised.

    Attributes:
        save: those that fill `state` after save(); load: those that read it after load(), each with the name of the
            file that is `state` to it: empty for the one at `path` (and what the lines of save filled), else as it
            lies beside that one.
    """

    save: tuple[str, ...] = ()
    load: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Trial:
    """What is put into a resumed run after loading.

    Attributes:
        names: paths of leaves to take from the reference; `DATA` and `DRAWS` stand for its batches and its generators
            at the beginning of each step, `ITERATORS` for what it held half done at the save. `CONTROL` alone asks
            whether a run does what the resumed one did, not the reference.
        to_the_end: do all steps, also after one that differs, and measure how far apart the runs are then.
        lines: code that is to bring the leaves back in the place of a transplant.
    """

    names: frozenset[str]
    to_the_end: bool = False
    lines: Lines | None = None

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "names": sorted(self.names)}

    @classmethod
    def from_dict(cls, fields: dict) -> "Trial":
        lines = fields["lines"] and Lines(tuple(fields["lines"]["save"]), tuple(map(tuple, fields["lines"]["load"])))
        return cls(frozenset(fields["names"]), fields["to_the_end"], lines)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        heals: every effect of the remaining steps is the reference's, and so is what had to be at the end; None where
            there is no verdict (the trial raised where the resumed run had not, or its process died).
        first: (step, phase, leaf) of the first differing effect.
        steps: that were done.
        apart: the largest absolute difference between a trained parameter and the reference's at the end, loss that
            of the last step's losses; None unless it went to the end.
        failed: leaves that could not be put in, and why.
        error: what it raised.
    """

    heals: bool | None
    first: tuple[int, str, str] | None = None
    steps: int = 0
    apart: float | None = None
    loss: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Outcome":
        first = tuple(fields["first"]) if fields["first"] else None
        return cls(**{**{name: fields[name] for name in cls.__dataclass_fields__}, "first": first})
