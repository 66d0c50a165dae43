"""The answer to "why": causes, each with its evidence. Plain frozen results."""

from dataclasses import dataclass, field

from dora_repro.explain.trials.trial import BEYOND, Lines, Outcome


@dataclass(frozen=True)
class Cause:
    """One part of what made the resumed run another one.

    Attributes:
        name: what it is: a leaf's path, or what the paths of several have in common (`optimizer/*/exp_avg`);
            `data/batches`, `data/iterators`, `rng/draws`, `run/exception`.
        leaves: the paths.
        role: the part that they play (`moment`, `generator`, …).
        how: what became of them, in words: "not in the checkpoint", "lost; in the checkpoint".
        necessary: whether nothing heals the run without them; None where that was not tried.
        without: what came of putting everything back but these: how much they matter by themselves.
        alone: what came of putting these alone back.
        save, load: lines of code to add; advice: sentences on what they do not say.
        file: of a checkpoint of several files, the one that the lines of load read; empty for that at `path`.
    """

    name: str
    leaves: tuple[str, ...]
    role: str = ""
    how: str = ""
    necessary: bool | None = None
    without: Outcome | None = None
    alone: Outcome | None = None
    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    file: str = ""

    @property
    def is_state(self) -> bool:
        """Whether it is state that was lost, and not data, draws, iterators or an exception."""
        return self.name not in BEYOND and self.name != "run/exception"

    def __str__(self) -> str:
        count = f"{len(self.leaves)} × " if len(self.leaves) > 1 else ""
        return f"{count}{self.name}" + (f" ({self.how})" if self.how else "")


@dataclass(frozen=True)
class TrialTold:
    """One trial as it is shown: what was put back, in words, and what came of it; `aim` is said where it `heals`."""

    put_back: str
    leaves: int
    outcome: Outcome
    aim: str = "heals"


@dataclass(frozen=True)
class Explanation:
    """Why a resumed run differs.

    Attributes:
        causes: the parts of one set that heals when it is put back; empty where none was found.
        proof: one sentence: what was tried, and what came of it.
        proved: whether the set is 1-minimal: with any one part left out, it does not heal.
        confirmed: whether a fresh process with these put back did what the reference did; None where it did not
            finish.
        confirmation_missing: leaves of the causes that could not be put back in that process: path -> reason. Never
            show `confirmed` without them.
        lines_tried: what came of the lines of save and load, run in the place of a transplant; None where they were
            not: a cause has no lines, or such as need another class.
        other: another set that heals as well, where a part is not necessary.
        harmless: leaves that also differed after loading, and whose loss has no effect on the remaining steps once
            the causes are put back: neither this set nor `other` needs them.
        unexplained: why nothing that was captured explains it; empty where something does.
        look_at: what was ruled out, and where to look next, a sentence each.
        keys: what `load_state_dict` was given and left out, or lacked, a sentence each.
        draws: who drew random numbers in one run and not in the other, a sentence each.
        operator: the first operator with equal inputs and another output.
        trials: all that were done, in order.
        steps: that all trials took together.
        seconds: wall time.
        stopped: why the search ended early: `interrupted`, `budget`; empty where it did not.
    """

    causes: tuple[Cause, ...] = ()
    proof: str = ""
    proved: bool = False
    confirmed: bool | None = None
    confirmation_missing: dict[str, str] = field(default_factory=dict)
    lines_tried: Outcome | None = None
    other: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    unexplained: str = ""
    look_at: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    operator: str = ""
    trials: tuple[TrialTold, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    stopped: str = field(default="")

    @property
    def lines(self) -> Lines:
        """What to add to save and load, each line once; generators last, since what else is loaded may draw."""
        causes = sorted(self.causes, key=lambda cause: cause.role == "generator")
        save = (line for cause in causes for line in cause.save)
        load = ((cause.file, line) for cause in causes for line in cause.load)
        return Lines(tuple(dict.fromkeys(save)), tuple(dict.fromkeys(load)))

    @property
    def leaves(self) -> tuple[str, ...]:
        """All leaves of all causes."""
        return tuple(leaf for cause in self.causes for leaf in cause.leaves)
