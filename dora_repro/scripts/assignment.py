"""What a launched script is recorded for: plain data in a file, whose path the process finds in its environment."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
BATCHES = "batches.pkl"  # what the loader gave, from the training forward pass of a step on
ANCHOR = ".anchor"  # added to the name of a state: what was known of the loader then


def before_step(number: int, backwards: int = 0) -> str:
    """The file of the state before the training forward pass of a step; or, inside its accumulation window, before the
    one that follows so many backward passes."""
    return f"before-step-{number}.pt" if not backwards else f"in-step-{number}-after-{backwards}.pt"


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
    """

    state: Path
    leaves: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    batches: Path | None = None
    own: int = 0
    in_hand: int = 0

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Given":
        """The fields as JSON has them."""
        paths = {name: fields[name] and Path(fields[name]) for name in ("state", "batches")}
        tuples = {name: tuple(fields[name]) for name in ("leaves", "generators")}
        return cls(**{**fields, **paths, **tuples})


@dataclass(frozen=True)
class Assignment:
    """What to do in one launch of a script.

    Attributes:
        folder: where to leave the evidence.
        out: the folder that stands for `{out}`.
        kill_after: kill the process when this many steps are done and the next has made its update; None for never.
        keep_first: keep the state before the first training forward pass.
        keep_saved: keep the state before the training forward pass that follows each write of a checkpoint.
        keep_at: keep the state before the training forward passes of these steps.
        keep_batches: store the batches, from the training forward pass of this step on; None for none.
        given: state to put in before the first training forward pass; None for none.
        expected: the trace to compare with after each step: the process ends itself at the first difference; None to go
            on to the end.
        start: the step that the first one follows in that trace.
        depth: how many recorded processes are around the one that is meant; None where that is not known yet.
    """

    folder: Path
    out: Path
    kill_after: int | None = None
    keep_first: bool = False
    keep_saved: bool = False
    keep_at: tuple[int, ...] = ()
    keep_batches: int | None = None
    given: "Given | None" = None
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
        return cls(**{**fields, **paths, "keep_at": tuple(fields["keep_at"]), "given": given})
