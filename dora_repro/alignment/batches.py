"""What loaders hand out, and what modules make of it that only prepare data: a step uses it, now or later."""

from collections import Counter
from collections.abc import Container, Iterable
from itertools import groupby
from operator import attrgetter

from dora_repro.trace import Effect, Step, Trace, numbered, unnumbered


def is_batch(leaf: str) -> bool:
    """Whether a leaf is of a batch, as a loader handed it out."""
    return leaf == "batch" or leaf.startswith("batch/")


def is_read(leaf: str, prepared: Container[str]) -> bool:
    """Whether a leaf is of a batch, or of what a module made of one that only prepares data."""
    return is_batch(leaf) or unnumbered(leaf) in prepared


def prepared_in(*traces: Trace) -> frozenset[str]:
    """Leaves of the modules that only prepare data, in any step of the traces."""
    return frozenset(leaf for trace in traces for step in trace.steps for leaf in step.prepared)


def had_same_data(expected: Trace, actual: Trace) -> bool:
    """Whether one of two runs was handed all that the other was, whenever that was."""
    start = actual.steps[0].number
    theirs, ours = _handed_out(expected.steps), _handed_out(actual.steps)
    return not (ours - theirs and _handed_out(step for step in expected.steps if step.number >= start) - ours)


def _handed_out(steps: Iterable[Step]) -> set[tuple[tuple[str, bytes], ...]]:
    """The batches of some steps."""
    found = set()
    for step in steps:
        for _, effects in groupby(step.effects, attrgetter("phase")):
            batch = tuple((effect.leaf, effect.digest) for effect in effects)
            if is_batch(batch[0][0]):
                found.add(batch)
    return found


def without_read(effects: Iterable[Effect], prepared: Container[str]) -> list[Effect]:
    """The effects without what loaders handed out, and what prepared it; phases and leaves are numbered anew, and
    forward calls between which only a batch came are one phase."""
    kept: list[Effect] = []
    count: Counter[str] = Counter()
    leaves: Counter[str] = Counter()
    before = ""
    for phase, event in groupby(effects, attrgetter("phase")):
        found = [effect for effect in event if not is_read(effect.leaf, prepared)]
        if not found:
            continue
        name = unnumbered(phase)
        if not name == before == "forward":
            count[name] += 1
            leaves.clear()
        before = name
        for effect in found:
            leaf = unnumbered(effect.leaf)
            leaves[leaf] += 1
            kept.append(Effect(numbered(name, count[name]), numbered(leaf, leaves[leaf]), effect.digest))
    return kept
