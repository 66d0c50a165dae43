"""What a run holds half done, and no snapshot can put back: iterators of loaders, suspended Python generators.

They can be had by doing what the run did, from its beginning; all state around them can then be made another's.
"""

from collections.abc import Collection, Mapping

from dora_repro.state.restoring import world
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.torch_objects import LOADER_ITERATOR
from dora_repro.state.walk import walk


def suspended(leaves: Collection[str], uncaptured: Mapping[str, str]) -> dict[str, str]:
    """Path -> what it is, the outermost alone: an iterator in the frame of a generator is the generator's.

    Args:
        leaves, uncaptured: of a snapshot, or of a walk.
    """
    held = _held(leaves, uncaptured)
    return {path: told for path, told in held.items() if not any(path.startswith(f"{other}/") for other in held)}


def stand_alike(one: Snapshot, other: Snapshot) -> bool:
    """Whether two runs hold the same half-done things at the same place, as far as can be seen: iterators after as many
    batches, generators at the same instruction."""
    return _places(one) == _places(other)


def _places(snapshot: Snapshot) -> dict[str, object]:
    held = _held(snapshot, snapshot.uncaptured)
    frames = (path for path in held if f"{path}/instruction" in snapshot)
    return held | {path: snapshot[f"{path}/instruction"].digest for path in frames}


def _held(leaves: Collection[str], uncaptured: Mapping[str, str]) -> dict[str, str]:
    held = {path: told for path, told in uncaptured.items() if told.startswith(LOADER_ITERATOR)}
    for path in leaves:
        frame, _, last = path.rpartition("/")
        if last == "instruction" and f"{frame}/line" in leaves:
            held[frame] = "suspended generator"
    return held


def restore_around(snapshot: Snapshot, roots: Mapping[str, object]) -> dict[str, str]:
    """Make all of a run's state that of a snapshot, but for what it holds half done and what lies inside that.

    Returns:
        path -> reason for what could not be put back, as `Snapshot.restore`.
    """
    live = walk(roots)
    kept = suspended(live, live.uncaptured)
    inside = tuple(f"{path}/" for path in kept)
    paths = dict.fromkeys((*snapshot, *live, *world()))
    return snapshot.restore(roots, [path for path in paths if path not in kept and not path.startswith(inside)])
