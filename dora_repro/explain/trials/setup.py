"""What all trials of an explanation have in common: where its evidence lies, and what they read of that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dora_repro.sides.evidence import Evidence
from dora_repro.state.snapshot import Snapshot


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of an explanation have in common.

    Attributes:
        load: path of the checkpoint.
        start: the step after which it was saved.
        steps: the last step to do.
        reference: folder of the reference's evidence.
        resumed: folder of the resumed side's evidence.
        saved: snapshot of the reference at the save point, frozen parameters included where they matter.
        objects: objects that the resumed side lacked, whole; None where it lacked none.
        streams: what the reference was fed; None where it was not recorded.
        threads: number of intra-op threads; None for torch's own choice.
        at_end: leaves that must be the reference's at the end as well.
        late: paths of objects that the resumed run makes in its first step.
        passed_over: number of batches that it passes over in that step.
        raised: whether the resumed side raised, so that a trial that raises is no surprise.
    """

    load: str
    start: int
    steps: int
    reference: str
    resumed: str
    saved: str
    objects: str | None = None
    streams: str | None = None
    threads: int | None = None
    at_end: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    passed_over: int = 0
    raised: bool = False

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrialSetup":
        """The setup with these fields, whose tuples may have become lists on the way."""
        return cls(**{**fields, "at_end": tuple(fields["at_end"]), "late": tuple(fields.get("late", ()))})

    def within(self, folder: Path) -> dict[str, Any]:
        """The fields as JSON can hold them, their paths relative to a folder."""
        fields = asdict(self)
        return {**fields, **{name: _relative(fields[name], folder) for name in _PATHS}}

    @classmethod
    def below(cls, folder: Path, fields: Mapping[str, Any]) -> "TrialSetup":
        """The setup that `within` took apart, in a folder that may be elsewhere by now."""
        return cls.from_dict({**fields, **{name: fields[name] and str(folder / fields[name]) for name in _PATHS}})


_PATHS = ("load", "reference", "resumed", "saved", "objects", "streams")


def _relative(path: str | None, folder: Path) -> str | None:
    return None if path is None else Path(path).relative_to(folder).as_posix()


@dataclass(frozen=True)
class Inputs:
    """What all trials of an explanation read, and none of them changes.

    Attributes:
        reference: evidence of the reference.
        resumed: evidence of the resumed side.
        loaded: the resumed side's state after loading.
        saved: the reference's state at the save point.
    """

    reference: Evidence
    resumed: Evidence
    loaded: Snapshot
    saved: Snapshot

    @classmethod
    def read(cls, setup: TrialSetup) -> "Inputs":
        """Read them from the files that a setup names."""
        resumed = Evidence(Path(setup.resumed))
        return cls(Evidence(Path(setup.reference)), resumed, resumed.loaded, Snapshot.read(setup.saved))


_read_before: dict[TrialSetup, Inputs] = {}


def read_beforehand(setup: TrialSetup) -> None:
    """Read what all trials need, the reference's trace included: forks of this process need not read it again."""
    inputs = _read_before[setup] = Inputs.read(setup)
    _ = inputs.reference.trace


def inputs_of(setup: TrialSetup) -> Inputs:
    """What trials need: as it was read beforehand, or else read now."""
    return _read_before.get(setup) or Inputs.read(setup)
