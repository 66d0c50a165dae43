"""Where a run makes objects only in its first step after loading: what is lost of these is what they lack by then.

Right after loading an optimizer that the first step makes is missing, and so is its schedule, whatever `load()` put
aside for them. Compared when they are there, only what was not brought back differs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dora_repro.comparison.leaves import compare
from dora_repro.difference import LeafDifference
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.late_objects import inside
from dora_repro.state.snapshot import Snapshot


@dataclass(frozen=True)
class Late:
    """What a resumed run made in its first step.

    Attributes:
        objects: paths of these objects.
        state: the run's state as soon as the first of them was there.
        candidates: what may be lost: differences from the reference's state at the save.
    """

    objects: tuple[str, ...]
    state: Snapshot
    candidates: tuple[LeafDifference, ...]

    def holder(self, leaves: Iterable[str]) -> str:
        """The late object that all of some leaves lie in; empty where there is none."""
        leaves = tuple(leaves)
        return next((path for path in self.objects if len(inside(leaves, (path,))) == len(leaves) > 0), "")


def late_objects(
    saved: Snapshot, resumed: Evidence | None, candidates: Iterable[LeafDifference], noise: Iterable[str]
) -> Late | None:
    """What a resumed run made in its first step; None where it made nothing that it had lacked, or lost nothing.

    Args:
        saved: the reference's state at the save.
        resumed: the resumed side, run once more, with its late objects looked for.
        candidates: what may be lost by what differs right after loading.
        noise: leaves that differ between any two runs.
    """
    state = None if resumed is None else resumed.when_made
    if resumed is None or state is None:
        return None
    objects = tuple(resumed.result["late"])
    differing = compare(saved, state).differences
    in_late = inside((difference.path for difference in differing), objects)
    still = frozenset(difference.path for difference in differing)
    noise = frozenset(noise)
    found = [difference for difference in differing if difference.path in in_late and difference.path not in noise]
    outside = [each for each in candidates if not inside((each.path,), objects) and each.path in still]
    return Late(objects, state, (*found, *outside)) if found or outside else None
