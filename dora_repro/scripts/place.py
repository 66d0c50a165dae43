"""Where a recorded process leaves its evidence: the folder of its launch, or one beside it."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from dora_repro.contracts import Value
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Anchor
from dora_repro.sides.environment import environment
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Step, TraceWriter


class Lines(Protocol):
    """What takes the steps of a process as they are done."""

    def step(self, step: Step) -> None:
        """Add a step."""

    def close(self, finished: bool, unseen: Iterable[str]) -> None:
        """Add the end: as of `Trace`."""


class Place:
    """The folder of a process that trains. It is made when it begins to: what is written before lies elsewhere.

    Args:
        launch: the folder of the launch.
        path: the folder of this process: another one for other ranks.
        depth: how many recorded processes are around this one.
        meant: whether the process is the one that is judged, and no helper of it.

    Attributes:
        path: the folder that it has taken.
        whole: whether what is judged when the process has ended is kept: its last state, its batches, what it is.
    """

    whole = True

    def __init__(self, launch: Path, path: Path, depth: int, meant: bool):
        self._launch, self._depth, self._meant = launch, depth, meant
        self._taken = False
        self._frozen: dict[str, bytes] = {}  # digests of frozen parameters when they were first kept
        self.path = path

    def claim(self) -> None:
        """Take the folder of this launch, or one beside it where another process of it trains, too."""
        beside = self.path.with_name(f"{self.path.name}-process{os.getpid()}")
        try:
            self.path = self.path if self._meant else beside
            self.path.mkdir(parents=True)
        except FileExistsError:
            self.path = beside
            self.path.mkdir(parents=True)
        self._taken = True
        self.write(assignment.PROCESS, {"pid": os.getpid(), "depth": self._depth, "argv": sys.argv})

    def lines(self, start: dict[str, bytes]) -> Lines:
        """Begin to take steps; `start` has the digests of the memory before the first, by path."""
        return TraceWriter(self.path / assignment.STEPS, start)

    def keep(self, name: str, roots: dict[str, Value], anchor: Anchor) -> None:
        """Keep the state as it is now, and what is known of the loader beside it.

        Frozen parameters are kept by their digests, until they are seen to differ from those that were kept first: then
        they are an average of a model, or the like.
        """
        state = Snapshot.capture(roots)
        frozen = {path: leaf.digest for path, leaf in state.items() if leaf.role == "parameter" and not leaf.kept}
        moved = {path for path, found in frozen.items() if self._frozen.setdefault(path, found) != found}
        (Snapshot.capture(roots, moved=moved) if moved else state).write(self.path / name)
        anchor.write(self.path / f"{name}{assignment.ANCHOR}")

    def end(self, roots: dict[str, Value] | None, about: Callable[[], dict[str, Any]]) -> None:
        """The process ends by itself.

        Args:
            roots: of its state; None where it has not trained.
            about: returns what it says of itself.
        """
        self.write(assignment.ABOUT, about())

    def leave(self, name: str, about: dict[str, Any]) -> None:
        """Leave word beside the folder of the launch, before this process trains or after; later words add to it."""
        path = self._launch.with_name(f"{self._launch.name}.{name}")
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**known, **about}), encoding="utf-8")

    def write(self, name: str, about: dict[str, Any]) -> None:
        """Write a file of plain data."""
        folder = self.path if self._taken else self._launch.with_name("untrained")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(about), encoding="utf-8")

    def fail(self, error: BaseException) -> None:
        """Leave word for the launcher of what went wrong in recording."""
        self._launch.parent.mkdir(parents=True, exist_ok=True)
        place = self._launch.with_name(f"{self._launch.name}.{os.getpid()}.error")
        place.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


def about_process() -> dict[str, Any]:
    """What tells one process of a launch from the others, and what it ran in."""
    rank = os.environ.get("RANK")
    return {"argv": sys.argv, "pid": os.getpid(), "rank": rank, "environment": environment()}
