"""What one side of a check is asked to do: plain data, which travels as a line of JSON."""

from dataclasses import dataclass
from pathlib import Path

CHECKPOINT = "step{}.pt"  # the name that `save(path)` and `load(path)` are given, in a folder of their own: as with the
# study's `epoch{N}_dora_params.pth`, it tells a caller what the file itself may not hold


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
    """

    folder: Path
    steps: int
    saves: tuple[int, ...] = ()
    load: Path | None = None
    start: int = 0
    keep: tuple[int, str, str] | None = None
    values: tuple[str, ...] = ()
    threads: int | None = None

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {**vars(self), "folder": str(self.folder), "load": str(self.load) if self.load else None}

    @classmethod
    def from_dict(cls, fields: dict) -> "Job":
        keep = tuple(fields["keep"]) if fields["keep"] else None
        load = Path(fields["load"]) if fields["load"] else None
        folder = Path(fields["folder"])
        lists = {name: tuple(fields[name]) for name in ("saves", "values")}
        return cls(**{**fields, **lists, "folder": folder, "load": load, "keep": keep})
