"""What is half done in a run, where no snapshot can put it: iterators of loaders, suspended Python generators.

Variables of a generator that has begun can be set (`frames.py`); where it stands cannot. Doing what the run did, from
its beginning, brings it there; all state around it can then be put back from a snapshot.
"""

from collections.abc import Collection, Mapping

from dora_repro.state.frames import INSTRUCTION, LINE
from dora_repro.state.items import Roots
from dora_repro.state.objects import Objects, lost_objects
from dora_repro.state.restoring import world
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.torch_objects import LOADER_ITERATOR
from dora_repro.state.walk import walk

GENERATOR = "suspended generator"


def suspended(leaves: Collection[str], uncaptured: Mapping[str, str]) -> dict[str, str]:
    """Path -> what it is, the outermost alone: an iterator in the frame of a generator belongs to the generator.

    Args:
        leaves: paths of a snapshot or a walk.
        uncaptured: path -> type of what it could not capture.
    """
    every = _half_done(leaves, uncaptured)
    return {path: what for path, what in every.items() if not any(path.startswith(f"{other}/") for other in every)}


def stand_alike(one: Snapshot, other: Snapshot) -> bool:
    """Whether the same things are half done in two runs, at the same place as far as can be seen: iterators after the
    same number of batches, generators at the same instruction."""
    return _places(one) == _places(other)


def _places(snapshot: Snapshot) -> dict[str, str | bytes]:
    iterators = _half_done(snapshot, snapshot.uncaptured)
    frames = (path for path in iterators if f"{path}/{INSTRUCTION}" in snapshot)
    return {**iterators, **{path: snapshot[f"{path}/{INSTRUCTION}"].digest for path in frames}}


def _half_done(leaves: Collection[str], uncaptured: Mapping[str, str]) -> dict[str, str]:
    every = {path: what for path, what in uncaptured.items() if what.startswith(LOADER_ITERATOR)}
    for path in leaves:
        frame, _, last = path.rpartition("/")
        if last == INSTRUCTION and f"{frame}/{LINE}" in leaves:
            every[frame] = GENERATOR
    return every


def position_of(leaves: Collection[str]) -> frozenset[str]:
    """The leaves that say where suspended generators stand, among the paths of a snapshot or walk."""
    frames = [path for path, what in _half_done(leaves, {}).items() if what == GENERATOR]
    return frozenset(f"{frame}/{name}" for frame in frames for name in (LINE, INSTRUCTION))


def restore_around(
    snapshot: Snapshot, roots: Roots, objects: Objects | None = None, inside: Collection[str] = ()
) -> dict[str, str]:
    """Put back all of a snapshot, but for what is half done and what lies inside that.

    Args:
        snapshot: what the run's state is to be.
        roots: name -> live object.
        objects: objects that the run may lack, whole.
        inside: paths of variables of suspended functions that are to be put back all the same.

    Returns:
        path -> reason for what could not be put back, as `Snapshot.restore`.
    """
    live = walk(roots)
    left_alone = suspended(live, live.uncaptured)
    within = tuple(f"{path}/" for path in left_alone)
    around = (path for path in (*snapshot, *live, *world()) if path not in left_alone and not path.startswith(within))
    return snapshot.restore(roots, list(dict.fromkeys((*around, *inside))), objects)


def objects_lost(saved: Snapshot, loaded: Snapshot) -> tuple[str, ...]:
    """The paths of objects that the resumed run lacks after loading and no snapshot can build, the outermost alone."""
    left_alone = (*suspended(saved, saved.uncaptured), *saved.uncaptured)
    return lost_objects(saved, saved.leaves, saved.kinds, loaded, left_alone)
