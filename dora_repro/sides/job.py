"""What one side of a check is asked to do: plain data, which travels as a line of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The name that `save(path)` and `load(path)` are given, in a folder of their own. As with the study's
# `epoch{N}_dora_params.pth`, it says what the file itself may not hold.
CHECKPOINT = "step{}.pt"
OBJECTS = "objects.pkl"  # objects that a resumed run lacks, in the folder of a save


@dataclass(frozen=True)
class Transplant:
    """State of another run, put into one that has been loaded, before its first step.

    Attributes:
        state: the snapshot to take leaves from, such as `save-5/before.pt` of the reference.
        leaves: paths of the leaves to take.
        streams: what the other run was fed, step by step (`recording/replay.py`); None where it is not needed.
        batches: hand out the other run's batches in place of what the loaders give; needs `streams`.
        draws: set all generators to the other run's at the beginning of each step; needs `streams`.
        objects: the file of the objects that a resumed run lacks (`state/objects.py`); None where it lacks none.
        around: the snapshot of a resumed run after loading. The run is then not loaded but does the steps up to the
            save itself, and gets this state around the iterators that it holds, with the leaves on top of it.
        late: paths of objects that the run makes in its first step: leaves inside these are put in as soon as one of
            them is there.
        passed_over: number of batches that the run reads in its first step before it gets the other's.
        begun: with `around`: the run does one step and not all up to the save, so that its loop has begun; leaves that
            are variables of the loop are put into it.
    """

    state: Path
    leaves: tuple[str, ...] = ()
    streams: Path | None = None
    batches: bool = False
    draws: bool = False
    objects: Path | None = None
    around: Path | None = None
    begun: bool = False
    late: tuple[str, ...] = ()
    passed_over: int = 0

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON can hold them."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Transplant":
        """The transplant that `to_dict` took apart; lists of JSON become tuples again."""
        paths = {name: fields[name] and Path(fields[name]) for name in ("state", "streams", "objects", "around")}
        tuples = {name: tuple(fields[name]) for name in ("leaves", "late")}
        return cls(**{**fields, **paths, **tuples})


@dataclass(frozen=True)
class Job:
    """One side's work.

    Attributes:
        folder: where to put the evidence; must not exist yet.
        steps: number of the last optimizer step to do.
        saves: steps after which to save.
        load: the checkpoint to resume from; None for a run from the beginning.
        start: the step after which the checkpoint was saved.
        keep: (step, phase, leaf) of the one effect whose value to store.
        values: globs of trainable parameters whose values to store at every step.
        threads: number of intra-op threads; None for torch's own choice.
        streams: store the batches and generators of every step after this one, to feed another run with.
        frozen: store frozen parameters by value at the saves, not by digest alone.
        objects: paths of objects to store whole at the saves, for runs that lack them.
        late: paths of objects to look for in the first step: as soon as one of them is there that was not after
            loading, the state is stored.
        draws: (first, last) step in which to log who draws random numbers; with 0 as the first, while loading too.
        operators: the step of which to log every operator.
        transplant: state to put into the run after loading.
        seeded: seed the global generators before the run is built.
        deterministic: allow torch deterministic algorithms only.
    """

    folder: Path
    steps: int
    saves: tuple[int, ...] = ()
    load: Path | None = None
    start: int = 0
    keep: tuple[int, str, str] | None = None
    values: tuple[str, ...] = ()
    threads: int | None = None
    streams: int | None = None
    frozen: bool = False
    objects: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    draws: tuple[int, int] | None = None
    operators: int | None = None
    transplant: Transplant | None = None
    seeded: bool = False
    deterministic: bool = False

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON can hold them."""
        load = str(self.load) if self.load else None
        transplant = self.transplant.to_dict() if self.transplant else None
        return {**vars(self), "folder": str(self.folder), "load": load, "transplant": transplant}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Job":
        """The job that `to_dict` took apart; lists of JSON become tuples again."""
        tuples = {name: tuple(fields[name]) for name in ("saves", "values", "objects", "late")}
        pairs = {name: tuple(fields[name]) if fields[name] else None for name in ("keep", "draws")}
        load = Path(fields["load"]) if fields["load"] else None
        transplant = Transplant.from_dict(fields["transplant"]) if fields["transplant"] else None
        paths = {"folder": Path(fields["folder"]), "load": load}
        return cls(**{**fields, **tuples, **pairs, **paths, "transplant": transplant})
