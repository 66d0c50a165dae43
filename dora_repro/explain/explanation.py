"""The answer to "why": causes, each with its evidence. Plain frozen results."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dora_repro.explain.advice.fitted import in_names_of, is_import
from dora_repro.explain.advice.handed_over import MORE
from dora_repro.explain.trials.search_result import OBJECT
from dora_repro.explain.trials.trial import BEYOND, Lines, TrialResult
from dora_repro.sides.places import Place

_UNSAFE = "weights_only=False"


@dataclass(frozen=True)
class Cause:
    """One part of what made the resumed run differ.

    Attributes:
        name: a leaf's path, or what the paths of several have in common (`optimizer/*/exp_avg`); `data/batches`,
            `data/iterators`, `rng/draws`, `run/exception`.
        leaves: paths of the leaves.
        role: role of the leaves (`moment`, `generator`, …); `object` for one object with all that it holds; empty for
            what is no leaf.
        how: what became of them, in words: "not in the checkpoint", "lost; in the checkpoint".
        necessary: whether nothing restores exact resume without them; None where that was not tried.
        without: result of putting everything back but these: how much they matter by themselves.
        alone: result of putting these alone back.
        save: lines of code to add after save().
        load: lines of code to add after load().
        advice: sentences on what the lines do not say.
        file: for a checkpoint of several files, the one that the lines of load read; empty for that at `path`.
        beside: code for the path of the file that the lines write and read, where no key can be added to the
            checkpoint; empty where they fill its `state`.
        filled: the dict that the lines fill and read, where it is no `state` of the user's.
        restored: leaves besides its own that the lines restore: of what is no state, those that it comes from.
        late: path of the object that all leaves lie in, where the resumed run makes it in its first step: its lines of
            load belong there.
        taken_from: the leaf of which a function took its rows for the next step, or the function that makes it after
            loading; empty where neither did. It has no lines: what it comes from has them.
    """

    name: str
    leaves: tuple[str, ...]
    role: str = ""
    how: str = ""
    necessary: bool | None = None
    without: TrialResult | None = None
    alone: TrialResult | None = None
    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    file: str = ""
    beside: str = ""
    filled: str = "state"
    restored: tuple[str, ...] = ()
    taken_from: str = ""
    late: str = ""

    @property
    def is_state(self) -> bool:
        """Whether it is state that was lost, and not data, draws, iterators or an exception."""
        return self.name not in BEYOND and self.name != "run/exception"

    @property
    def is_whole(self) -> bool:
        """Whether it is one object, with all that it holds."""
        return self.role == OBJECT

    def __str__(self) -> str:
        count = f"{len(self.leaves)} × " if len(self.leaves) > 1 and not self.is_whole else ""
        return f"{count}{self.name}" + (f" ({self.how})" if self.how else "")


def in_order(causes: Iterable[Cause]) -> list[Cause]:
    """Causes in the order in which their lines belong."""
    return sorted(causes, key=lambda cause: (cause.role == "generator", cause.role != "structure"))


@dataclass(frozen=True)
class TrialRecord:
    """One trial as a report shows it.

    Attributes:
        put_back: what was put back, in words.
        leaves: number of leaves put back.
        result: the result of the trial.
        aim: what the trial did where its outcome is `same`, in words.
    """

    put_back: str
    leaves: int
    result: TrialResult
    aim: str = "restores exact resume"


@dataclass(frozen=True)
class Named:
    """How a dict is given a name where a script writes it without one.

    Attributes:
        name: the name.
        instead: what the lines stand in place of, in words.
        head: lines that give it the name.
        tail: lines that then write it.
    """

    name: str
    instead: str
    head: tuple[str, ...]
    tail: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a resumed run differs.

    Attributes:
        causes: the parts of one set that restores exact resume when it is put back; empty where none was found.
        proof: one sentence: what was tried, and what came of it.
        proved: whether the set is 1-minimal: with any one part left out, it does not restore exact resume.
        confirmed: True where a fresh process with the causes put back did what the reference did; False where there
            are no causes, since what trials found was not confirmed; None where no trial was done.
        confirmation_missing: leaves of the causes that could not be put back in that process: path -> reason. Never
            show `confirmed` without them.
        lines_tried: result of running the lines of save and load in place of a transplant; None where they were not
            run: a cause has no lines, or lines that belong before an iterator which it has.
        places: where the lines of save and those of load go; None where that is not known.
        script: of a script, the lines that save and load its checkpoint (`train.py:9, in save()`), empty where one is
            not known; None for a run with save() and load(), or a function.
        named: of a script, how what it saves is given the name that the lines of save fill; None where it has one, or
            none can be given.
        ran_before: of a script, before which lines of it those of load ran; none where they did not run.
        in_block: of a script, whether that is right after the `if` in which it loads, at whose end they belong.
        function: the training function that the lines are of, and were run in; empty for a run with save() and load().
        other: patterns of another set that restores exact resume as well, where a part is not necessary.
        harmless: leaves that also differed after loading, and whose loss has no effect on the remaining steps once
            the causes are put back: neither this set nor `other` needs them.
        unexplained: why no captured state explains the difference; empty where `causes` do.
        look_at: what was ruled out, and where to look next, a sentence each.
        keys: what `load_state_dict` was given and ignored, or lacked, a sentence each.
        draws: who drew random numbers in one run and not in the other, a sentence each.
        operator: the first operator with equal inputs and different output, in words; empty where there is none.
        trials: every trial done, in order.
        steps: number of steps that all trials took together.
        seconds: wall time, in seconds.
        stopped: why the search ended early: `interrupted`, `budget`; empty where it did not.
    """

    causes: tuple[Cause, ...] = ()
    proof: str = ""
    proved: bool = False
    confirmed: bool | None = None
    confirmation_missing: dict[str, str] = field(default_factory=dict)
    lines_tried: TrialResult | None = None
    places: tuple[Place | None, Place | None] = (None, None)
    script: tuple[str, str] | None = None
    named: Named | None = None
    ran_before: tuple[str, ...] = ()
    in_block: bool = False
    function: str = ""
    other: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    unexplained: str = ""
    look_at: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    operator: str = ""
    trials: tuple[TrialRecord, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    stopped: str = ""

    @property
    def lines(self) -> Lines:
        """What to add to save and load, each line once: imports first, then what a run is made of, which state is
        loaded into, and generators last, since what else is loaded may draw."""
        causes = in_order(self.causes)
        save = [*dict.fromkeys(line for cause in causes for line in cause.save)]
        load = [*dict.fromkeys((cause.file, line) for cause in causes for line in cause.load)]
        beside = next((cause.beside for cause in causes if cause.beside and cause.save), "")
        if beside:
            unsafe = any(_UNSAFE in sentence for cause in causes if cause.save for sentence in cause.advice)
            written = in_names_of(self.places[0], (f"{MORE} = {{}}", f"torch.save({MORE}, {beside})"))
            read = in_names_of(self.places[1], (f"{MORE} = torch.load({beside}{f', {_UNSAFE}' if unsafe else ''})",))
            save = [*dict.fromkeys((*written[:-1], *save)), written[-1]]
            load = [*dict.fromkeys((*(("", line) for line in read), *load))]
        filled = next((cause.filled for cause in causes if cause.filled not in ("state", MORE)), "state")
        save.sort(key=lambda line: not is_import(line))
        load = [*dict.fromkeys((file * (not is_import(line)), line) for file, line in load)]
        load.sort(key=lambda read: not is_import(read[1]))
        late = [line for cause in causes if cause.late for line in (*cause.save, *cause.load)]
        if late and beside:  # all of what one file holds is read together
            late = [*save, *(line for _, line in load)]
        late = [line for line in late if not is_import(line)]
        return Lines(tuple(save), tuple(load), filled, self.places, tuple(dict.fromkeys(late)))

    @property
    def leaves(self) -> tuple[str, ...]:
        """All leaves of all causes."""
        return tuple(leaf for cause in self.causes for leaf in cause.leaves)
