"""What a side left in its folder (`side.py` says what), read when it is asked for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from dora_repro.checkpoint import reading
from dora_repro.contracts import Json
from dora_repro.difference import LeafDifference
from dora_repro.recording import drawing, operators
from dora_repro.recording.drawing import Draw
from dora_repro.recording.operators import Operator
from dora_repro.recording.values import Values
from dora_repro.sides import logs
from dora_repro.sides.job import CHECKPOINT, Job
from dora_repro.sides.places import Place, read_place
from dora_repro.sides.result import Failure, Result, from_fields, read_result
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Trace

STEPS = "trace.jsonl"


@dataclass(frozen=True)
class Evidence:
    """What a side left in its folder.

    Attributes:
        folder: the folder; it must stay as long as anything is still to be read.
        steps: the name of the file of its steps.
    """

    folder: Path
    steps: str = STEPS

    @cached_property
    def result(self) -> Result:
        """How far the side came, what saving changed, what the run raised."""
        return read_result(self.folder)

    @property
    def failure(self) -> Failure | None:
        """What the run raised; None where it did not."""
        return self.result["failure"]

    @property
    def loading(self) -> list[dict[str, Json]]:
        """What `load_state_dict` was given and left out (`recording/load_calls.py`)."""
        return self.result["loading"]

    @property
    def libraries(self) -> dict[str, str]:
        """The training libraries that the run uses, each with the attribute that shows it."""
        return self.result["libraries"]

    @property
    def writers(self) -> list[str]:
        """The functions by which the run's own code writes objects that it has built: `torch.save`."""
        return self.result["writers"]

    def place(self, name: str) -> Place | None:
        """Where lines of advice go: into what saves, what loads, or a function that the run is in, by the path of its
        variables. None where that is not known."""
        return read_place(self.result["places"].get(name))

    @property
    def library_functions(self) -> dict[str, str]:
        """Path of the variables of a function that the run was in when it was saved -> the library that it is of."""
        return self.result["library_functions"]

    @cached_property
    def trace(self) -> Trace:
        """The steps that were recorded; none where the side did not come that far."""
        path = self.folder / self.steps
        return Trace.read(path) if path.exists() else Trace()

    # --- the state at one moment -------------------------------------------------------------------------------------

    @cached_property
    def loaded(self) -> Snapshot:
        """The state right after loading.

        Raises:
            BadInput: the side raised before, or did not load.
        """
        return Snapshot.read(self.folder / "load.pt")

    @property
    def loaded_or_none(self) -> Snapshot | None:
        """The state right after loading; None where the side raised before, or did not load."""
        return self.loaded if (self.folder / "load.pt").exists() else None

    @cached_property
    def when_made(self) -> Snapshot | None:
        """The state in the first step, when objects were there that it made; None where none was looked for, or met."""
        path = self.folder / "made.pt"
        return Snapshot.read(path) if path.exists() else None

    @cached_property
    def end(self) -> Snapshot:
        """The state after the last step.

        Raises:
            BadInput: the side raised before.
        """
        return Snapshot.read(self.folder / "end.pt")

    @property
    def end_or_none(self) -> Snapshot | None:
        """The state after the last step; None where the side raised before."""
        return self.end if (self.folder / "end.pt").exists() else None

    def at_save(self, step: int) -> Snapshot:
        """Everything the side held when it saved after `step`."""
        return Snapshot.read(self.folder / f"save-{step}" / "before.pt")

    # --- what saving did ---------------------------------------------------------------------------------------------

    def checkpoint(self, step: int) -> Path:
        """What `save()` had written when it returned."""
        return self.folder / f"save-{step}" / "first" / CHECKPOINT.format(step)

    def changed_by_save(self, step: int) -> tuple[LeafDifference, ...]:
        """The leaves that `save()` itself changed."""
        return tuple(from_fields(fields) for fields in self.result["saves"].get(str(step), []))

    # --- values ------------------------------------------------------------------------------------------------------

    @cached_property
    def outputs(self) -> Snapshot | None:
        """The outputs after the last step; None where the run has none to give."""
        path = self.folder / "outputs.pt"
        return Snapshot.read(path) if path.exists() else None

    @property
    def histories(self) -> dict[str, list[int | float]]:
        """The lists of numbers that the run held at the end, by path."""
        found = {}
        for path, leaf in (self.end_or_none or {}).items():
            value = leaf.value
            if leaf.role == "memory" and type(value) is list and value and {*map(type, value)} <= {int, float}:
                found[path] = list(value)
        return found

    @cached_property
    def values(self) -> Values | None:
        """Trainable parameters by step and path; None where none were asked for."""
        path = self.folder / "values.pt"
        return cast(Values, reading.read(path)) if path.exists() else None

    @cached_property
    def kept(self) -> SavedLeaf | None:
        """The one effect whose value was asked for; None where it was not met, or none was asked for."""
        path = self.folder / "kept.pt"
        return Snapshot.read(path).get("kept") if path.exists() else None

    # --- logs --------------------------------------------------------------------------------------------------------

    @property
    def streams(self) -> Path:
        """Where the batches and generators of its steps are, if they were stored."""
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


@dataclass(frozen=True)
class Sides:
    """A reference and a run resumed from it.

    Attributes:
        reference: evidence of the uninterrupted run.
        reference_job: the job that made it.
        resumed: evidence of the run that was built anew and loaded.
        resumed_job: the job that made it.
    """

    reference: Evidence
    reference_job: Job
    resumed: Evidence
    resumed_job: Job

    @property
    def save_at(self) -> int:
        """The step after which the checkpoint was saved."""
        return self.resumed_job.start
