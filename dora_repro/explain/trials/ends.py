"""How a run ended, beside the reference: whether leaves are alike, and how far parameters and losses are apart."""

from collections.abc import Iterable

import torch

from dora_repro.sides.evidence import Evidence
from dora_repro.state.distance import distance
from dora_repro.state.forms import differing_forms
from dora_repro.state.key_order import differing_orders
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Step, Trace, unnumbered


def same_leaves(one: Snapshot, other: Snapshot, paths: Iterable[str]) -> bool:
    """Whether two snapshots have the same bytes and forms at all these paths, or both have nothing there."""
    paths = tuple(paths)
    if any(_digest(one, path) != _digest(other, path) for path in paths):
        return False
    by_form = (*differing_forms(one, other), *differing_orders(one, other))
    return not {path for path, _, _ in by_form}.intersection(paths)


def _digest(snapshot: Snapshot, path: str) -> bytes | None:
    return snapshot[path].digest if path in snapshot else None


def parameter_distance(expected: Snapshot, actual: Snapshot) -> float | None:
    """Largest difference of a trained parameter of two states; None where they cannot be compared."""
    largest = 0.0
    for path, leaf in actual.items():
        other = expected.get(path)
        if leaf.role != "parameter" or not leaf.kept or other is None or leaf.digest == other.digest:
            continue
        size = _largest_difference(other.value, leaf.value)
        if size is None:
            return None
        largest = max(largest, size)
    return largest


def _largest_difference(expected: object, actual: object) -> float | None:
    """Largest absolute difference of two tensors of one form; None for anything else."""
    if not isinstance(expected, torch.Tensor) or not isinstance(actual, torch.Tensor):
        return None
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return None
    size = distance(expected, actual)
    return None if size is None else size.max_abs


def loss_distance(reference: Evidence, trace: Trace) -> float | None:
    """Absolute difference of the losses of the last step; None where a run has none in that step."""
    if not trace.steps:
        return None
    theirs, ours = reference.trace.step(trace.steps[-1].number), trace.steps[-1].loss
    if theirs is None or theirs.loss is None or ours is None:
        return None
    return abs(theirs.loss - ours)


def same_options(reference: Evidence, trace: Trace) -> tuple[str, ...]:
    """Group options that were in the last step as the reference had them."""
    step = trace.steps[-1]
    theirs = reference.trace.step(step.number)
    ours, expected = (_last_options(one) for one in (step, theirs))
    return tuple(path for path, digest in ours.items() if expected.get(path) == digest)


def _last_options(step: Step | None) -> dict[str, bytes]:
    """Each group option of a step, as it was recorded last."""
    effects = step.effects if step is not None else ()
    return {effect.leaf: effect.digest for effect in effects if unnumbered(effect.phase) == "schedule"}
