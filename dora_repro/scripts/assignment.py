"""What a launched script is recorded for: plain data in a file, whose path the process finds in its environment."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

VARIABLE = "DORA_REPRO_JOB"  # names the file; `boot/sitecustomize.py` reads it, too
DEPTH = "DORA_REPRO_DEPTH"  # how many recorded processes are around this one

# What a recorded process leaves in the folder of its launch.
STEPS = "steps.jsonl"  # the trace, a line a step
FILES = "files.jsonl"  # what it wrote and read
FIRST = "load.pt"  # the state before the first training forward pass
END = "end.pt"  # the state when it ended
ABOUT = "about.json"  # what it was, and how far it came
PROCESS = "process.json"  # which process it is
KILLED = "killed.json"  # that it killed itself, as it was told
MISSING = "missing.json"  # what could not be put in, and why
STOPPED = "stopped.json"  # that it ended itself, since it differs
ROUND, AT_ROUND = "round.json", "round.pt"  # which round was met, and the state when it began
OBJECTS = "round-objects.pkl"  # objects as they were then, whole
LINES = "lines.json"  # what became of advised lines that it was given to run
FORKED = "forked.json"  # that a process trained which was made by os.fork(), and is not recorded
OTHER = "saved_state"  # what lines call the checkpoint where a variable of the script's is called `state`
BATCHES = "batches.pkl"  # what the loader gave, from the training forward pass of a step on
ANCHOR = ".anchor"  # added to the name of a state: what was known of the loader then


def before_step(number: int, backwards: int = 0) -> str:
    """The file of the state before the training forward pass of a step; or, inside its accumulation window, before the
    one that follows so many backward passes."""
    return f"before-step-{number}.pt" if not backwards else f"in-step-{number}-after-{backwards}.pt"


def of_rank(name: str) -> str:
    """The name of what this process leaves or is given, where the first rank has `name`: `killed-14-rank1`."""
    rank = os.environ.get("RANK", "0")
    return name if rank == "0" else f"{name}-rank{rank}"


@dataclass(frozen=True)
class Given:
    """State of the uninterrupted run, put into the resumed one.

    Attributes:
        state: the snapshot to take leaves from; what was known of the loader then lies beside it.
        leaves: paths of the leaves, put in before the first training forward pass.
        generators: names of global generators that are put back where the loader's iterator is made and first asked.
        batches: the file of the batches to give in place of the loader's; None for its own.
        own: number of batches that the loader gives by itself before those.
        in_hand: number of batches that the resumed run had fetched for its first step.
        since: whether the loader's iterator was begun after the save, so that what its samplers hold is as saved then.
        draws: put back all generators by which the loader's order was drawn.
        used: number of batches that the loader passes over before it gives any: the uninterrupted run had used them.
        objects: the file of objects that the resumed run lacks, whole; None for none.
    """

    state: Path
    leaves: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    batches: Path | None = None
    own: int = 0
    in_hand: int = 0
    since: bool = False
    draws: bool = False
    used: int = 0
    objects: Path | None = None

    @property
    def of_this_rank(self) -> "Given":
        """The same for this process: each rank has had its own state, generators and batches.

        Where that of another rank is not known, the first one's is put in without generators: these are its own.
        """
        name = of_rank(self.state.stem)
        if name == self.state.stem:
            return self
        batches = self.batches and self.batches.parent.with_name(of_rank(self.batches.parent.name)) / self.batches.name
        own = replace(self, batches=batches if batches is not None and batches.exists() else None)
        state = self.state.with_name(f"{name}{self.state.suffix}")
        if state.exists():
            return replace(own, state=state)
        shared = tuple(path for path in self.leaves if not path.startswith("rng/"))
        return replace(own, leaves=shared, generators=(), draws=False)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Given":
        """The fields as JSON has them."""
        paths = {name: fields[name] and Path(fields[name]) for name in ("state", "batches", "objects")}
        tuples = {name: tuple(fields[name]) for name in ("leaves", "generators")}
        return cls(**{**fields, **paths, **tuples})


@dataclass(frozen=True)
class Round:
    """Where a round of a loop begins (`rounds.py`).

    Attributes:
        file: absolute.
        function: the name of the function with the loop.
        line: its number.
    """

    file: str
    function: str
    line: int


@dataclass(frozen=True)
class Meet:
    """A round at which the state is kept, and put in where some is given.

    Attributes:
        after: the round is the one that follows the save after this step, and is to be found; None where it is known.
        round: the round; None where it is to be found.
        files: paths of the checkpoint's files: the round is met once one of them was read.
        objects: paths of objects that are kept whole there, since the resumed run lacks them; `holder/*` for all
            entries of a list.
        at_update: the save was made for a signal, which is not sent now: it is the round that follows the update.
    """

    after: int | None = None
    round: Round | None = None
    files: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    at_update: bool = False

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Meet":
        """The fields as JSON has them."""
        found = fields["round"] and Round(**fields["round"])
        return cls(fields["after"], found, tuple(fields["files"]), tuple(fields["objects"]), fields["at_update"])


@dataclass(frozen=True)
class GivenLine:
    """An advised line of code.

    Attributes:
        code: the line.
        function: the function whose variables it names, as `program.py` names it; empty for none.
        leaves: paths of what it restores.
        file: of several, the one that it reads in place of what the script read: its path; empty for none.
    """

    code: str
    function: str = ""
    leaves: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True)
class GivenLines:
    """Advised lines, to be run in the script where they would stand in it.

    Attributes:
        save: lines that fill `state` before a checkpoint is written.
        load: lines that read it after it was read.
        state: the name that the checkpoint's dict has in them.
        beside: of what those of save write a file of their own beside, once it was written: the path, which lines call
            `path`; empty where they write none.
        folder: whether that is the folder of the checkpoint, and not a file of it.
        wrote: (file, line) of the calls that write the checkpoint; of several files, the last.
        read: (file, line) of those that read it; of several files, the last.
        files: paths of the checkpoint's files; of several, of that which is read last.
        saved: the file of the uninterrupted run's state when the training goes on, which the lines are to bring back;
            None where it is not compared.
    """

    save: tuple[GivenLine, ...]
    load: tuple[GivenLine, ...]
    state: str
    beside: str
    wrote: tuple[tuple[str, int], ...]
    read: tuple[tuple[str, int], ...]
    files: tuple[str, ...]
    folder: bool = False
    saved: Path | None = None

    @property
    def needs_value(self) -> bool:
        """Whether lines of load name what the script has read, so that this has to be had."""
        name = re.compile(rf"\b{self.state}\b")
        return any(not line.file and name.search(line.code) for line in self.load)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "GivenLines":
        """The fields as JSON has them."""
        lines = {name: tuple(map(_given_line, fields[name])) for name in ("save", "load")}
        saved = fields["saved"] and Path(fields["saved"])
        calls = {name: tuple((file, line) for file, line in fields[name]) for name in ("wrote", "read")}
        return cls(**{**fields, **lines, **calls, "files": tuple(fields["files"]), "saved": saved})


def _given_line(fields: Mapping[str, Any]) -> GivenLine:
    return GivenLine(**{**fields, "leaves": tuple(fields["leaves"])})


@dataclass(frozen=True)
class Assignment:
    """What to do in one launch of a script.

    Attributes:
        folder: where to leave the evidence.
        out: the folder that stands for `{out}`.
        kill_after: kill the process when this many steps are done and the next has made its update; None for never.
        signal: send it this signal then, and let it end by itself; None: SIGKILL.
        keep_first: keep the state before the first training forward pass.
        keep_saved: keep the state before the training forward pass that follows each write of a checkpoint.
        keep_at: keep the state before the training forward passes of these steps.
        keep_batches: store the batches, from the training forward pass of this step on; None for none.
        given: state to put in before the first training forward pass; None for none.
        lines: advised lines to run; None for none.
        meet: the round at which to keep the state, and to put in what is given; None for none.
        expected: the trace to compare with after each step: the process ends itself at the first difference; None to go
            on to the end.
        start: the step that the first one follows in that trace.
        depth: how many recorded processes are around the one that is meant; None where that is not known yet.
    """

    folder: Path
    out: Path
    kill_after: int | None = None
    signal: int | None = None
    keep_first: bool = False
    keep_saved: bool = False
    keep_at: tuple[int, ...] = ()
    keep_batches: int | None = None
    given: "Given | None" = None
    lines: GivenLines | None = None
    meet: Meet | None = None
    expected: Path | None = None
    start: int = 0
    depth: int | None = None

    def write(self, path: Path) -> None:
        """Write it where the process will read it."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Assignment":
        """Read what `write` wrote."""
        fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        paths = {name: fields[name] and Path(fields[name]) for name in ("folder", "out", "expected")}
        given = fields["given"] and Given.from_dict(fields["given"])
        lines = fields["lines"] and GivenLines.from_dict(fields["lines"])
        meet = fields["meet"] and Meet.from_dict(fields["meet"])
        read = {"keep_at": tuple(fields["keep_at"]), "given": given, "lines": lines, "meet": meet}
        return cls(**{**fields, **paths, **read})
