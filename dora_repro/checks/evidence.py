"""What a side left in its folder (`side.py` says what), read when it is asked for."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dora_repro.checkpoint import reading
from dora_repro.checks.job import CHECKPOINT
from dora_repro.comparison import LeafDifference
from dora_repro.recording.recorder import Values
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Trace


@dataclass(frozen=True)
class Evidence:
    """What a side left in its folder, read when it is asked for."""

    folder: Path

    @cached_property
    def result(self) -> dict:
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8"))

    @cached_property
    def trace(self) -> Trace:
        path = self.folder / "trace.jsonl"
        return Trace.read(path) if path.exists() else Trace()

    @cached_property
    def loaded(self) -> Snapshot:
        return Snapshot.read(self.folder / "load.pt")

    @cached_property
    def end(self) -> Snapshot:
        return Snapshot.read(self.folder / "end.pt")

    @cached_property
    def outputs(self) -> Snapshot | None:
        path = self.folder / "outputs.pt"
        return Snapshot.read(path) if path.exists() else None

    @property
    def histories(self) -> dict[str, list]:
        """The lists of numbers that it held at the end, by path."""
        if not (self.folder / "end.pt").exists():
            return {}
        held = {
            path: leaf.value for path, leaf in self.end.items() if leaf.role == "memory" and type(leaf.value) is list
        }
        return {path: list(value) for path, value in held.items() if value and {*map(type, value)} <= {int, float}}

    @cached_property
    def values(self) -> Values | None:
        """Trainable parameters by step and path; None where none were asked for."""
        path = self.folder / "values.pt"
        return reading.read(path) if path.exists() else None

    @cached_property
    def kept(self) -> SavedLeaf | None:
        path = self.folder / "kept.pt"
        return Snapshot.read(path).get("kept") if path.exists() else None

    def at_save(self, step: int) -> Snapshot:
        """Everything the side held when it saved after `step`."""
        return Snapshot.read(self.folder / f"save-{step}" / "before.pt")

    def checkpoint(self, step: int) -> Path:
        """What `save()` had written when it returned."""
        return self.folder / f"save-{step}" / "first" / CHECKPOINT.format(step)

    def changed_by_save(self, step: int) -> tuple[LeafDifference, ...]:
        return tuple(
            LeafDifference(**{**entry, "at": tuple(entry["at"])}) for entry in self.result["saves"].get(str(step), [])
        )

    @property
    def failure(self) -> dict | None:
        return self.result["failure"]
