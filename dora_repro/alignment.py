"""Where two traces first differ: steps by number, effects in order of execution, memory at the end of each step.

What a loader reads ahead, and what a `load()` that waits for the first step does at its beginning, is no difference.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from operator import attrgetter

from dora_repro.trace import STEP_END, Divergence, Effect, Step, Trace


def first_divergence(expected: Trace, actual: Trace, after: int = 0) -> Divergence | None:
    """The first differing effect of two traces, over the steps after `after`.

    Steps are aligned by number, and effects within a step in order of execution. Steps before the first of `actual`
    (a resumed run) are passed over. A run that says it is over while the other goes on differs at phase `epoch_end`,
    leaf `run/finished`; one that was merely not recorded as far does not.

    Args:
        expected: the first run.
        actual: the second run.
        after: number of the last step to pass over.

    Returns:
        the first difference; None where all effects are equal.
    """
    if actual.steps:
        after = max(after, actual.steps[0].number - 1)
    for step in expected.steps:
        if step.number <= after:
            continue
        if actual.step(step.number) is None:
            return Divergence(step.number, "epoch_end", "run/finished", "missing") if actual.finished else None
        found = first_of_step(expected, actual, step.number)
        if found is not None:
            return found
    last = max(after, expected.steps[-1].number if expected.steps else 0)
    if expected.finished and actual.step(last + 1) is not None:
        return Divergence(last + 1, "epoch_end", "run/finished", "unexpected")
    return None


def without_late_loading(expected: Trace, actual: Trace, step: Step) -> Sequence[Effect]:
    """The effects of a step, without what a `load()` that waits for the first step does at its beginning.

    That is options set to what they were in `expected`, and batches read to be passed over.

    Args:
        expected: the first run.
        actual: the second run.
        step: a step of `actual`; the effects of any but its first are returned as they are.
    """
    if step.number != actual.steps[0].number:
        return step.effects
    effects = _without_late_options(expected.step(step.number - 1), step.effects)
    return _without_skipped_batches(expected.step(step.number), effects)


def _without_late_options(before: Step | None, effects: Sequence[Effect]) -> Sequence[Effect]:
    early = list(takewhile(lambda effect: effect.phase == "schedule", effects))
    if before is None or not early:
        return effects
    options = {effect.leaf: effect.digest for effect in before.effects if effect.phase.startswith("schedule")}
    if any(options.get(effect.leaf) != effect.digest for effect in early):
        return effects
    return _renumbered(effects[len(early) :], "schedule", 1)


def _without_skipped_batches(theirs: Step | None, effects: Sequence[Effect]) -> Sequence[Effect]:
    """The effects without the batches that come before those of the other run's step, if these are equal.

    Nothing worked on them, and what reading them did to generators and positions shows in what comes after.
    """
    if theirs is None:
        return effects
    expected, read = _first_batches(theirs.effects), _first_batches(effects)
    skipped = len(read) - len(expected)
    if skipped <= 0 or read[skipped:] != expected:
        return effects
    return _renumbered(effects[sum(map(len, read[:skipped])) :], "batch", skipped)


def _first_batches(effects: Iterable[Effect]) -> list[list[tuple[str, bytes]]]:
    """The leaves and digests of each batch that a step begins with."""
    batches = takewhile(lambda effect: effect.phase.partition("[")[0] == "batch", effects)
    return [[(effect.leaf, effect.digest) for effect in batch] for _, batch in groupby(batches, attrgetter("phase"))]


def _renumbered(effects: Iterable[Effect], phase: str, less: int) -> tuple[Effect, ...]:
    """The effects with the numbers of a phase reduced by `less`: `schedule[2]` becomes `schedule`."""
    return tuple(replace(effect, phase=_renamed(effect.phase, phase, less)) for effect in effects)


def _renamed(name: str, phase: str, less: int) -> str:
    if not name.startswith(f"{phase}["):
        return name
    number = int(name.removeprefix(f"{phase}[").rstrip("]")) - less
    return phase if number == 1 else f"{phase}[{number}]"


def first_of_step(expected: Trace, actual: Trace, number: int, *, unfinished: bool = False) -> Divergence | None:
    """The first differing effect of one step of two traces; None where all are equal, or one of them lacks the step.

    What a loader hands out is an effect where a step uses it. Where all that a step's modules were given is equal,
    batches that the other run was handed in another step (a loader or a thread looks ahead) are no difference.

    Args:
        expected: the first run.
        actual: the second run.
        number: the number of the step.
        unfinished: the second run goes on: what it was not handed may still come.
    """
    one, other = expected.step(number), actual.step(number)
    if one is None or other is None:
        return None
    theirs, ours = one.effects, without_late_loading(expected, actual, other)
    found = first_in_step(number, theirs, ours)
    if found is None or not _of_loader(found.leaf) or not one.inputs or one.inputs != other.inputs:
        return found
    if not unfinished and not _same_data(expected, actual):
        return found
    return first_in_step(number, _without_batches(theirs), _without_batches(ours))


def _of_loader(leaf: str) -> bool:
    return leaf == "batch" or leaf.startswith("batch/")


def _same_data(expected: Trace, actual: Trace) -> bool:
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
            if _of_loader(batch[0][0]):
                found.add(batch)
    return found


def _without_batches(effects: Iterable[Effect]) -> list[Effect]:
    """The effects without what loaders handed out; phases are numbered anew, and forward calls between which only a
    batch came are one phase."""
    kept: list[Effect] = []
    count: Counter[str] = Counter()
    before = ""
    for phase, event in groupby(effects, attrgetter("phase")):
        found = list(event)
        if _of_loader(found[0].leaf):
            continue
        name = phase.partition("[")[0]
        if not name == before == "forward":
            count[name] += 1
        before = name
        numbered = name if count[name] == 1 else f"{name}[{count[name]}]"
        kept += [replace(effect, phase=numbered) for effect in found]
    return kept


def first_in_step(number: int, expected: Sequence[Effect], actual: Sequence[Effect]) -> Divergence | None:
    """The first differing effect of one step; None where all are equal.

    Args:
        number: the number of the step.
        expected: effects of the first run.
        actual: effects of the second run.
    """
    found = _first_differing(number, *([e for e in effects if e.phase != STEP_END] for effects in (expected, actual)))
    ended = _first_at_step_end(number, expected, actual)
    if found is None or ended is None:
        return found or ended
    return ended if any(_in_order(effects, ended, found) for effects in (expected, actual)) else found


def _first_at_step_end(number: int, expected: Sequence[Effect], actual: Sequence[Effect]) -> Divergence | None:
    """The first parameter that differs at the end of a step; one that is not recorded there is as it was updated."""
    sides = expected, actual
    ends = [{effect.leaf: effect.digest for effect in effects if effect.phase == STEP_END} for effects in sides]
    if ends[0] == ends[1]:
        return None
    updates = [{e.leaf: e.digest for e in effects if e.phase.partition("[")[0] == "update"} for effects in sides]
    for leaf in dict.fromkeys((*ends[0], *ends[1])):
        one, other = (end.get(leaf, update.get(leaf)) for end, update in zip(ends, updates, strict=True))
        if one != other:
            kind = "unexpected" if one is None else "missing" if other is None else "value"
            return Divergence(number, STEP_END, leaf, kind)
    return None


def _updates_in_order(expected: Sequence[Effect], actual: Sequence[Effect]) -> Sequence[Effect]:
    """The actual effects with the parameters of each update in the expected order, where they are the same ones.

    An optimizer that was given a set steps its parameters in another order in each process, to the same values.
    """
    places = {(effect.phase, effect.leaf): index for index, effect in enumerate(expected)}
    ordered: list[Effect] = []
    for phase, block in groupby(actual, attrgetter("phase")):
        effects = [*block]
        if phase.partition("[")[0] == "update" and all((phase, effect.leaf) in places for effect in effects):
            effects.sort(key=lambda effect: places[effect.phase, effect.leaf])
        ordered += effects
    return ordered


def _in_order(effects: Iterable[Effect], one: Divergence, other: Divergence) -> bool:
    """Whether these effects have the leaf of one divergence before that of the other."""
    order = [(effect.phase, effect.leaf) for effect in effects]
    places = [(each.phase, each.leaf) for each in (one, other)]
    return all(place in order for place in places) and order.index(places[0]) < order.index(places[1])


def _same_output(one: Effect, other: Effect) -> bool:
    """Whether two modules returned the same where they go by different names: one that an iterator holds has a path
    only once the iterator was begun."""
    both = one.phase == other.phase and one.digest == other.digest
    return both and one.leaf.startswith("outputs/") and other.leaf.startswith("outputs/")


def _first_differing(number: int, expected: Sequence[Effect], actual: Sequence[Effect]) -> Divergence | None:
    actual = _updates_in_order(expected, actual)
    for one, other in zip(expected, actual, strict=False):
        if one == other or _same_output(one, other):
            continue
        if (one.phase, one.leaf) == (other.phase, other.leaf):
            return Divergence(number, one.phase, one.leaf)
        # Where each is there in the other, too, the order differs: what should come now is missing here.
        known = any((other.phase, other.leaf) == (effect.phase, effect.leaf) for effect in expected)
        if known or all((one.phase, one.leaf) != (effect.phase, effect.leaf) for effect in actual):
            return Divergence(number, one.phase, one.leaf, "missing")
        return Divergence(number, other.phase, other.leaf, "unexpected")
    if len(expected) > len(actual):
        effect = expected[len(actual)]
        return Divergence(number, effect.phase, effect.leaf, "missing")
    if len(actual) > len(expected):
        effect = actual[len(expected)]
        return Divergence(number, effect.phase, effect.leaf, "unexpected")
    return None


def first_memory_divergence(
    expected: Trace, actual: Trace, after: int = 0, skip: Container[str] = ()
) -> Divergence | None:
    """The first step at whose end some memory differs, and the first such leaf; the phase is empty.

    Args:
        expected: the first run.
        actual: the second run.
        after: number of the last step to pass over.
        skip: paths to pass over.

    Returns:
        the first difference; None where all memory is equal.
    """
    theirs = actual.memory()
    other_number, other = next(theirs, (None, {}))
    for number, memory in expected.memory():
        if number <= after or other_number is None:
            continue
        while other_number is not None and other_number < number:
            other_number, other = next(theirs, (None, {}))
        if other_number != number or memory == other:
            continue
        for path in sorted(memory.keys() | other.keys()):
            if memory.get(path) != other.get(path) and path not in skip:
                kind = "missing" if path not in other else "unexpected" if path not in memory else "value"
                return Divergence(number, "", path, kind)
    return None
