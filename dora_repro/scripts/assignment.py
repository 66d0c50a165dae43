"""What a launched script is recorded for: plain data in a file, whose path the process finds in its environment."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "DORA_REPRO_JOB"  # names the file; `boot/sitecustomize.py` reads it, too

# What a recorded process leaves in the folder of its launch.
STEPS = "steps.jsonl"  # the trace, a line a step
FILES = "files.jsonl"  # what it wrote and read
FIRST = "load.pt"  # the state before the first training forward pass
END = "end.pt"  # the state when it ended
ABOUT = "about.json"  # what it was, and how far it came
KILLED = "killed.json"  # that it killed itself, as it was told
AT = "before-step-{}.pt"  # the state before the training forward pass of a step


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
    """

    folder: Path
    out: Path
    kill_after: int | None = None
    keep_first: bool = False
    keep_saved: bool = False
    keep_at: tuple[int, ...] = ()

    def write(self, path: Path) -> None:
        """Write it where the process will read it."""
        fields = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        path.write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Assignment":
        """Read what `write` wrote."""
        fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        paths = {name: Path(fields[name]) for name in ("folder", "out")}
        return cls(**{**fields, **paths, "keep_at": tuple(fields["keep_at"])})
