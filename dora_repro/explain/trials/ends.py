"""How a run ended, beside the reference: whether leaves are alike, and how far parameters and losses are apart."""

from collections.abc import Iterable

from dora_repro.comparison.leaves import compare_leaf
from dora_repro.sides.evidence import Evidence
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
    """Largest difference of a trained parameter that both states have; None where one of them cannot be measured."""
    largest = 0.0
    for path, leaf in actual.items():
        if leaf.role != "parameter" or not leaf.kept or path not in expected:
            continue
        difference = compare_leaf(path, expected[path], leaf)
        if difference is None:
            continue
        if difference.max_abs is None:
            return None
        largest = max(largest, difference.max_abs)
    return largest


def loss_distance(reference: Evidence, trace: Trace) -> float | None:
    """Absolute difference of the losses of the last step; None where a run has none in that step."""
    ours, theirs = (None if step is None else step.loss for step in _last_steps(trace, reference))
    return None if ours is None or theirs is None else abs(theirs - ours)


def same_options(reference: Evidence, trace: Trace) -> tuple[str, ...]:
    """Group options that were in the last step as the reference had them."""
    ours, theirs = (_last_options(step) for step in _last_steps(trace, reference))
    return tuple(path for path, digest in ours.items() if theirs.get(path) == digest)


def _last_steps(trace: Trace, reference: Evidence) -> tuple[Step | None, Step | None]:
    """The last step of a run, and the reference's of that number; None for either that is not there."""
    if not trace.steps:
        return None, None
    return trace.steps[-1], reference.trace.step(trace.steps[-1].number)


def _last_options(step: Step | None) -> dict[str, bytes]:
    """Each group option of a step, as it was recorded last."""
    effects = step.effects if step is not None else ()
    return {effect.leaf: effect.digest for effect in effects if unnumbered(effect.phase) == "schedule"}
