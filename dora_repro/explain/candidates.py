"""What a search for the cause begins with: what is to be explained, and which leaves may be put back for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from dora_repro.alignment.divergence import first_divergence
from dora_repro.difference import LeafDifference, Setting
from dora_repro.sides.evidence import Sides
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import position_of
from dora_repro.trace import Divergence


@dataclass(frozen=True)
class Discrepancy:
    """What is to be explained.

    Attributes:
        divergence: where the runs first differ; where all effects are equal, a leaf that differs at the end.
        lost: what differs right after loading.
        changed: what `save()` changed, where that is the first difference.
        at_end: leaves that are lost at the end, where the steps alone do not tell.
        noise: leaves that differ between any two runs.
        set_by_load: leaves that mark a resume: no loss, though they may have an effect.
        settings: plain values that no step changes, and that the resumed run was told or set otherwise.
        raised: whether the resumed side raised.
    """

    divergence: Divergence
    lost: tuple[LeafDifference, ...] = ()
    changed: tuple[LeafDifference, ...] = ()
    at_end: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    set_by_load: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    raised: bool = False


def phase_of(sides: Sides, discrepancy: Discrepancy) -> str:
    """The phase of the first differing effect, which tells the likely candidates."""
    effect = first_divergence(sides.reference.trace, sides.resumed.trace, sides.save_at)
    return (effect or discrepancy.divergence).phase


def candidates_of(discrepancy: Discrepancy, saved: Snapshot, iterators: tuple[str, ...]) -> Iterator[LeafDifference]:
    """What differs after loading, but for noise, and for leaves in whose place the reference has iterators: these
    cannot be put back by path."""
    inside = tuple(f"{path}/" for path in iterators)
    for difference in discrepancy.lost:
        path = difference.path
        suspended_there = path in iterators or (difference.kind == "missing" and path.startswith(inside))
        if difference.kind == "unexpected" and path in discrepancy.set_by_load:
            continue  # the file that it read, and the like: what the reference never had is not put back as missing
        if path not in discrepancy.noise and not suspended_there and path not in saved.uncaptured:
            yield difference


def only_resumed(discrepancy: Discrepancy) -> Iterator[LeafDifference]:
    """What the resumed run alone has, as a mark of its resume or a setting: removed where nothing else restores it."""
    for difference in discrepancy.lost:
        marks = difference.kind == "unexpected" and difference.path in discrepancy.set_by_load
        if marks and difference.path not in discrepancy.noise:
            yield difference


def variables_of(discrepancy: Discrepancy, saved: Snapshot, iterators: tuple[str, ...]) -> Iterator[LeafDifference]:
    """Variables of suspended functions that the resumed run does not have yet: its own have not begun."""
    inside, positions = tuple(f"{path}/" for path in iterators), position_of(saved)
    for difference in discrepancy.lost:
        path = difference.path
        if path.startswith(inside) and path not in positions and difference.kind == "missing":
            if path not in discrepancy.noise and path in saved and saved[path].kept and saved[path].role != "alias":
                yield difference


def had_same_batches(sides: Sides, until: Divergence) -> bool:
    """Whether both sides had the same batches, and had any, up to where they first differ."""
    seen = False
    for step in sides.resumed.trace.steps:
        theirs = sides.reference.trace.step(step.number)
        if theirs is None or step.number > until.step:
            continue
        one, other = ([e.digest for e in each.effects if e.phase.startswith("batch")] for each in (theirs, step))
        if one != other:
            return False
        seen = seen or bool(one)
    return seen


def batch_in_hand(sides: Sides, candidates: tuple[LeafDifference, ...], saved: Snapshot) -> tuple[str, ...]:
    """The candidates that are the batch which the reference had drawn for its next step."""
    drawn = sides.reference.result["in_hand"].get(str(sides.save_at), [])
    paths = (difference.path for difference in candidates)
    return tuple(path for path in paths if path in saved and saved[path].digest.hex() in drawn)
