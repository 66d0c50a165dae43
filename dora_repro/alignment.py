"""Where two traces first differ: steps by number, effects in order of execution, memory at the end of each step.

What a loader reads ahead, and what a `load()` that waits for the first step does at its beginning, is no difference.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, takewhile
from operator import attrgetter

from dora_repro.trace import FINISHED, STEP_END, Divergence, Effect, Recorded, Step, Trace, numbered, unnumbered


class _Both:
    """Two traces, and what is told by all of their steps: looked for once, where it is asked for.

    Args:
        expected: the first run.
        actual: the second run.
    """

    def __init__(self, expected: Trace, actual: Trace):
        self.expected, self.actual = expected, actual

    @cached_property
    def prepared(self) -> frozenset[str]:
        """Leaves of the modules that only prepare data, in any step."""
        return _prepared(self.expected, self.actual)

    @cached_property
    def thrown_away(self) -> frozenset[Recorded]:
        """Where either run recorded gradients that no optimizer worked with."""
        return thrown_away(self.expected, self.actual)

    @cached_property
    def same_data(self) -> bool:
        """Whether one of the runs was handed all that the other was, whenever that was."""
        return _same_data(self.expected, self.actual)


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
    both = _Both(expected, actual)
    for step in expected.steps:
        if step.number <= after:
            continue
        if actual.step(step.number) is None:
            return Divergence(step.number, "epoch_end", FINISHED, "missing") if actual.finished else None
        found = _first_of_step(both, step.number, unfinished=False)
        if found is not None:
            return found
    last = max(after, expected.steps[-1].number if expected.steps else 0)
    if expected.finished and actual.step(last + 1) is not None:
        return Divergence(last + 1, "epoch_end", FINISHED, "unexpected")
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
    prepared = _prepared(expected, actual)
    effects, late = _late_options_first(expected.step(step.number - 1), step.effects, prepared)
    if late:
        effects = _renumbered(effects[late:], "schedule", len({effect.phase for effect in effects[:late]}))
    theirs = expected.step(step.number)
    return effects if theirs is None else _without_skipped(theirs.effects, effects, prepared)


def recorded_as(expected: Trace, actual: Trace, divergence: Divergence) -> tuple[str, str]:
    """The phase and leaf by which the second run recorded what differs first: what it did at its beginning to load or
    to pass over batches was not counted, and moves the numbers of phases."""
    found = divergence.phase, divergence.leaf
    step = actual.step(divergence.step)
    if step is None:
        return found
    effects = without_late_loading(expected, actual, step)
    recorded: Sequence[Effect] = step.effects
    if step.number == actual.steps[0].number:
        recorded, _ = _late_options_first(expected.step(step.number - 1), recorded, _prepared(expected, actual))
    recorded = recorded[len(recorded) - len(effects) :]
    names = {(ours.phase, ours.leaf): (own.phase, own.leaf) for ours, own in zip(effects, recorded, strict=True)}
    return names.get(found, found)


def thrown_away(*traces: Trace) -> frozenset[Recorded]:
    """Where traces record gradients that were set to zero before an optimizer stepped with them, having been added to
    what was left of others: in a run that resumes there is nothing left. They are no effects."""
    return frozenset(where for trace in traces for step in trace.steps for where in step.thrown_away)


def passed_over(expected: Trace, actual: Trace) -> int:
    """How many batches the second run read in its first step before those of that step, to pass over them."""
    if not actual.steps:
        return 0
    step = actual.steps[0]
    every, counted = (
        {effect.phase for effect in effects if _of_loader(effect.leaf)}
        for effects in (step.effects, without_late_loading(expected, actual, step))
    )
    return len(every) - len(counted)


def _late_options_first(
    before: Step | None, effects: Sequence[Effect], prepared: Container[str]
) -> tuple[Sequence[Effect], int]:
    """The effects with the options first that were set before anything worked on a batch, and how many these are: none
    where they are not what the other run had before its step."""
    begins = list(takewhile(lambda effect: _is_option(effect) or _is_read(effect.leaf, prepared), effects))
    early = list(filter(_is_option, begins))
    if before is None or not early:
        return effects, 0
    options = {effect.leaf: effect.digest for effect in before.effects if _is_option(effect)}
    if any(options.get(effect.leaf) != effect.digest for effect in early):
        return effects, 0
    read = [effect for effect in begins if not _is_option(effect)]
    return (*early, *read, *effects[len(begins) :]), len(early)


def _is_option(effect: Effect) -> bool:
    return effect.phase.partition("[")[0] == "schedule"


def _without_skipped(theirs: Sequence[Effect], effects: Sequence[Effect], prepared: Container[str]) -> Sequence[Effect]:
    """The effects without the batches that come before those of the other run's step.

    Nothing worked on them but modules that prepare data, and what reading them did to generators and positions shows in
    what comes after. Where those of the step are not equal, as many as the other run read are its own: the first wrong
    one is among these, and not among those that were passed over.
    """
    expected, read = _read_first(theirs, prepared), _read_first(effects, prepared)
    if (skipped := _surplus(expected, read)) is None:  # equal batches of which other data was made, perhaps
        batches = [index for index, (leaf, _) in enumerate(read) if _of_loader(leaf)]
        handed_out = [one for one in expected if _of_loader(one[0])]
        surplus = _surplus(handed_out, [read[index] for index in batches]) if handed_out else None
        skipped = None if surplus is None else batches[surplus]
    if skipped is None and expected:
        skipped = _surplus([leaf for leaf, _ in expected], [leaf for leaf, _ in read])
    return _without_first(effects, skipped) if skipped else effects


def _surplus(expected: Sequence[object], read: Sequence[object]) -> int | None:
    """How many come before those that are expected; None where others than these follow."""
    more = len(read) - len(expected)
    return more if more >= 0 and read[more:] == expected else None


def _read_first(effects: Iterable[Effect], prepared: Container[str]) -> list[tuple[str, bytes]]:
    """What a step begins with: batches and what prepares them, each with its digest; modules are known by what they
    return, since one that an iterator holds has a path only once the iterator was begun."""
    first = takewhile(lambda effect: _is_read(effect.leaf, prepared), effects)
    return [(effect.leaf if _of_loader(effect.leaf) else "outputs", effect.digest) for effect in first]


def _is_read(leaf: str, prepared: Container[str]) -> bool:
    """Whether a leaf is of a batch, or of what a module made of one that only prepares data."""
    return _of_loader(leaf) or unnumbered(leaf) in prepared


def _prepared(*traces: Trace) -> frozenset[str]:
    """Leaves of the modules that only prepare data, in any step of the traces."""
    return frozenset(leaf for trace in traces for step in trace.steps for leaf in step.prepared)


def _without_first(effects: Sequence[Effect], count: int) -> tuple[Effect, ...]:
    """The effects but the first, named as if these had not been there."""
    gone, kept = effects[:count], effects[count:]
    begun = kept[0].phase if kept and kept[0].phase == gone[-1].phase else ""
    whole = dict.fromkeys(effect.phase for effect in gone if effect.phase != begun)
    phases = Counter(map(unnumbered, whole))
    leaves = Counter(unnumbered(effect.leaf) for effect in gone if effect.phase == begun)
    for phase, less in phases.items():
        kept = _renumbered(kept, phase, less)
    rest = len(list(takewhile(lambda effect: effect.phase == begun, effects[count:])))
    for leaf, less in leaves.items():
        kept = [*(replace(effect, leaf=_renamed(effect.leaf, leaf, less)) for effect in kept[:rest]), *kept[rest:]]
    return tuple(kept)


def _renumbered(effects: Iterable[Effect], phase: str, less: int) -> tuple[Effect, ...]:
    """The effects with the numbers of a phase reduced by `less`: `schedule[2]` becomes `schedule`."""
    return tuple(replace(effect, phase=_renamed(effect.phase, phase, less)) for effect in effects)


def _renamed(name: str, phase: str, less: int) -> str:
    if not name.startswith(f"{phase}["):
        return name
    number = int(name.removeprefix(f"{phase}[").rstrip("]")) - less
    return numbered(phase, number)


def first_of_step(expected: Trace, actual: Trace, number: int, *, unfinished: bool = False) -> Divergence | None:
    """The first differing effect of one step of two traces; None where all are equal, or one of them lacks the step.

    What a loader hands out is an effect where a step uses it. Where all that a step's modules were given is equal,
    batches that the other run was handed in another step (a loader or a thread looks ahead), and what modules that
    train nothing made of them, are no difference.

    Args:
        expected: the first run.
        actual: the second run.
        number: the number of the step.
        unfinished: the second run goes on: what it was not handed may still come.
    """
    return _first_of_step(_Both(expected, actual), number, unfinished)


def _first_of_step(both: _Both, number: int, unfinished: bool) -> Divergence | None:
    one, other = both.expected.step(number), both.actual.step(number)
    if one is None or other is None:
        return None
    theirs: Sequence[Effect] = one.effects
    ours = without_late_loading(both.expected, both.actual, other)
    found = first_in_step(number, theirs, ours)
    if found is not None and Recorded(number, found.phase, found.leaf) in both.thrown_away:
        theirs, ours = (_without(both.thrown_away, number, effects) for effects in (theirs, ours))
        found = first_in_step(number, theirs, ours)
    if found is None or not one.inputs or one.inputs != other.inputs:
        return found
    if not _is_read(found.leaf, both.prepared):
        return found
    if not unfinished and not both.same_data:
        return found
    return first_in_step(number, _without_read(theirs, both.prepared), _without_read(ours, both.prepared))


def _without(places: Container[Recorded], number: int, effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """The effects of a step, without those at certain places."""
    return tuple(effect for effect in effects if Recorded(number, effect.phase, effect.leaf) not in places)


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


def _without_read(effects: Iterable[Effect], prepared: Container[str]) -> list[Effect]:
    """The effects without what loaders handed out, and what prepared it; phases are numbered anew, and forward calls
    between which only a batch came are one phase."""
    kept: list[Effect] = []
    count: Counter[str] = Counter()
    before = ""
    for phase, event in groupby(effects, attrgetter("phase")):
        found = [effect for effect in event if not _is_read(effect.leaf, prepared)]
        if not found:
            continue
        name = unnumbered(phase)
        if not name == before == "forward":
            count[name] += 1
        before = name
        kept += [replace(effect, phase=numbered(name, count[name])) for effect in found]
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
    updates = [{e.leaf: e.digest for e in effects if unnumbered(e.phase) == "update"} for effects in sides]
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
        if unnumbered(phase) == "update" and all((phase, effect.leaf) in places for effect in effects):
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
