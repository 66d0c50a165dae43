"""What a side left in its folder (`side.py` says what), read when it is asked for."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dora_repro.checkpoint import reading
from dora_repro.difference import LeafDifference
from dora_repro.recording import drawing, operators
from dora_repro.recording.drawing import Draw
from dora_repro.recording.operators import Operator
from dora_repro.recording.recorder import Values
from dora_repro.sides import logs
from dora_repro.sides.job import CHECKPOINT, Job
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

    @property
    def loaded_or_none(self) -> Snapshot | None:
        """None where it raised before it was loaded, or never loaded."""
        return self.loaded if (self.folder / "load.pt").exists() else None

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

    @property
    def loading(self) -> list[dict]:
        """What `load_state_dict` was given and left out (`recording/load_calls.py`)."""
        return self.result["loading"]

    @property
    def libraries(self) -> dict[str, str]:
        """The training libraries that the run uses, each with the attribute that shows it."""
        return self.result["libraries"]

    @property
    def streams(self) -> Path:
        """Where the batches and generators of its steps are, if they were kept."""
        return self.folder / "streams.pkl"

    @cached_property
    def draws(self) -> list[Draw]:
        """Who drew random numbers, where that was logged."""
        path = self.folder / logs.DRAWS
        return drawing.read(path) if path.exists() else []

    @cached_property
    def operators(self) -> list[Operator]:
        """The operators of one step, where they were logged."""
        path = self.folder / logs.OPERATORS
        return operators.read(path) if path.exists() else []

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


@dataclass(frozen=True)
class Sides:
    """A reference and a run resumed from it, each with the job that made it."""

    reference: Evidence
    reference_job: Job
    resumed: Evidence
    resumed_job: Job

    @property
    def save_at(self) -> int:
        return self.resumed_job.start
