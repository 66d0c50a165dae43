"""What one side of a check is asked to do: plain data, which travels as a line of JSON."""

from dataclasses import dataclass
from pathlib import Path

CHECKPOINT = "step{}.pt"  # the name that `save(path)` and `load(path)` are given, in a folder of their own: as with the
# study's `epoch{N}_dora_params.pth`, it tells a caller what the file itself may not hold


@dataclass(frozen=True)
class Transplant:
    """State of another run, put into one that has been loaded, before its first step.

    Attributes:
        state: a snapshot to take leaves from, as `save-5/before.pt` of the reference.
        leaves: their paths.
        streams: what another run was fed, step by step (`recording/replay.py`); None to leave this one's own.
        batches: hand out the other's batches in place of what the loaders give.
        draws: set all generators to the other's at the beginning of each step.
        around: the snapshot of a resumed run after loading. The run is then not loaded but does the steps up to the
            save itself, and gets this state around the iterators that it holds; the leaves on top of it.
    """

    state: Path
    leaves: tuple[str, ...] = ()
    streams: Path | None = None
    batches: bool = False
    draws: bool = False
    around: Path | None = None

    def to_dict(self) -> dict[str, object]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, fields: dict) -> "Transplant":
        paths = {name: fields[name] and Path(fields[name]) for name in ("state", "streams", "around")}
        return cls(**{**fields, **paths, "leaves": tuple(fields["leaves"])})


@dataclass(frozen=True)
class Job:
    """One side's work.

    Attributes:
        folder: where the evidence goes; made anew.
        steps: the last optimizer step to do.
        saves: steps after which to save.
        load: the checkpoint to resume from, and `start` the step after which it was saved.
        keep: (step, phase, leaf) of the one effect whose value is wanted.
        values: globs of trainable parameters whose values at every step are wanted.
        threads: number of intra-op threads; None for torch's own choice.
        streams: keep the batches and the generators of every step after this one, for another run to be fed.
        frozen: keep frozen parameters by value at the saves, not by digest alone.
        draws: (first, last) step in which to log who draws random numbers; with 0 as the first, while loading too.
        operators: log every operator of this step.
        transplant: what is put into the run after loading.
        seeded: seed the global generators before the run is built; deterministic: allow torch no algorithm that is not.
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
    draws: tuple[int, int] | None = None
    operators: int | None = None
    transplant: Transplant | None = None
    seeded: bool = False
    deterministic: bool = False

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it."""
        load = str(self.load) if self.load else None
        transplant = self.transplant.to_dict() if self.transplant else None
        return {**vars(self), "folder": str(self.folder), "load": load, "transplant": transplant}

    @classmethod
    def from_dict(cls, fields: dict) -> "Job":
        keep = tuple(fields["keep"]) if fields["keep"] else None
        load = Path(fields["load"]) if fields["load"] else None
        folder = Path(fields["folder"])
        transplant = Transplant.from_dict(fields["transplant"]) if fields["transplant"] else None
        lists = {name: tuple(fields[name]) for name in ("saves", "values")}
        lists["draws"] = tuple(fields["draws"]) if fields["draws"] else None
        return cls(**{**fields, **lists, "folder": folder, "load": load, "keep": keep, "transplant": transplant})
