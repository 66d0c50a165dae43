"""The state at the save and the state after loading, with what the audits of both say of each leaf: plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dora_repro.difference import LeafDifference, Setting
from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.advice.data_sources import differing_sources
from dora_repro.explain.advice.functions import function_of_run
from dora_repro.explain.advice.position import loaders_of
from dora_repro.explain.audit.loaded import audit_load
from dora_repro.explain.audit.lookup import SaveStatus
from dora_repro.explain.audit.saved import SaveAudit, audit_save
from dora_repro.sides.evidence import Sides
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.overlay import through_aliases
from dora_repro.state.snapshot import Snapshot


@dataclass(frozen=True)
class Audited:
    """Two states that differ, beside the checkpoint between them.

    Attributes:
        saved: the reference's state at the save; what only the resumed run has is in it by its other name.
        loaded: the resumed run's state after loading.
        save: what became of each leaf in the checkpoint.
        load: path of a leaf that differs -> what became of it while loading, in words.
        keys: the keys that leaves have in the checkpoint.
        ahead: generators that the resumed run has drawn from since they had the reference's state.
        settings: path -> plain value that no step changes, and that the resumed run was told or set otherwise.
        marks: leaves that mark a resume.
        loaders: paths of the run's loaders.
        data_sources: what differs inside a loader, or in what it reads.
        function: the function that is the whole run, which saves and loads by itself; empty where a run has these
            methods.
    """

    saved: Snapshot
    loaded: Snapshot
    save: SaveAudit
    load: Mapping[str, str]
    keys: CheckpointKeys
    ahead: frozenset[str]
    settings: Mapping[str, Setting]
    marks: frozenset[str]
    loaders: tuple[str, ...]
    data_sources: tuple[str, ...]
    function: str

    @property
    def drawn_since_stored(self) -> dict[str, int]:
        """Generator -> number of draws from the state that the checkpoint has of it to the save."""
        apart = {path: found.draws or 0 for path, found in self.save.leaves.items()}
        return {path: -draws for path, draws in apart.items() if draws < 0}

    def shown(self, status: SaveStatus) -> SaveStatus:
        """What became of a leaf in the checkpoint, with keys as the user knows them."""
        near = status.near and self.keys.shown(status.near)
        return replace(status, keys=tuple(map(self.keys.shown, status.keys)), near=near)


def audit(
    saved: Snapshot,
    loaded: Snapshot,
    sides: Sides,
    differences: tuple[LeafDifference, ...],
    settings: Iterable[Setting] = (),
    set_by_load: Iterable[str] = (),
    written: Iterable[SavedLeaf] = (),
) -> Audited:
    """Hold two states against each other and against the checkpoint.

    Args:
        saved: the reference's state at the save.
        loaded: the resumed run's state after loading.
        sides: the reference and the resumed side, which has a checkpoint.
        differences: differences of the two states.
        settings: as of `Audited`.
        set_by_load: leaves that mark a resume.
        written: leaves as they may have been when the checkpoint was written, if that was before `saved`.

    Raises:
        ValueError: the resumed side has no checkpoint.
    """
    load = sides.resumed_job.load
    if load is None:
        raise ValueError("the resumed side has no checkpoint")
    saved = through_aliases(saved, [difference.path for difference in differences if difference.path not in saved])
    alone = load.is_file() and len(list(load.parent.iterdir())) == 1
    save_audit = audit_save(saved, load if alone else load.parent, written)
    function = function_of_run(saved)
    return Audited(
        saved=saved,
        loaded=loaded,
        save=save_audit,
        load=audit_load(saved, loaded, differences),
        keys=CheckpointKeys(save_audit, saved, load, alone, bool(function)),
        ahead=frozenset(each.path for each in differences if each.draws is not None and each.draws > 0),
        settings={setting.path: setting for setting in settings},
        marks=frozenset(set_by_load),
        loaders=tuple(loaders_of(saved)),
        data_sources=tuple(differing_sources(saved, differences)),
        function=function,
    )
