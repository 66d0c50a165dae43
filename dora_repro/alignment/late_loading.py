"""What a `load()` that waits for the first step does at its beginning: sets options, and reads batches to pass over.

Neither is an effect of that step; both move the numbers of its phases.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from dora_repro.alignment.batches import is_batch, is_read, prepared_in
from dora_repro.trace import Divergence, Effect, Step, Trace, numbered, unnumbered


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
    prepared = prepared_in(expected, actual)
    effects, late = _late_options_first(expected.step(step.number - 1), step.effects, prepared)
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
        recorded, _ = _late_options_first(expected.step(step.number - 1), recorded, prepared_in(expected, actual))
    recorded = recorded[len(recorded) - len(effects) :]
    names = {(ours.phase, ours.leaf): (own.phase, own.leaf) for ours, own in zip(effects, recorded, strict=True)}
    return names.get(found, found)


def passed_over(expected: Trace, actual: Trace) -> int:
    """How many batches the second run read in its first step before those of that step, to pass over them."""
    if not actual.steps:
        return 0
    step = actual.steps[0]
    every, counted = (
        {effect.phase for effect in effects if is_batch(effect.leaf)}
        for effects in (step.effects, without_late_loading(expected, actual, step))
    )
    return len(every) - len(counted)


def _late_options_first(
    before: Step | None, effects: Sequence[Effect], prepared: Container[str]
) -> tuple[Sequence[Effect], int]:
    """The effects with the options first that were set before anything worked on a batch, and how many these are: none
    where they are not what the other run had before its step."""
    begins = list(takewhile(lambda effect: _is_option(effect) or is_read(effect.leaf, prepared), effects))
    early = list(filter(_is_option, begins))
    if before is None:
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
        batches = [index for index, (leaf, _) in enumerate(read) if is_batch(leaf)]
        handed_out = [one for one in expected if is_batch(one[0])]
        surplus = _surplus(handed_out, [read[index] for index in batches]) if handed_out else None
        skipped = None if surplus is None else batches[surplus]
    if skipped is None:
        skipped = _surplus([leaf for leaf, _ in expected], [leaf for leaf, _ in read])
    return _without_first(effects, skipped) if skipped else effects


def _surplus(expected: Sequence[object], read: Sequence[object]) -> int | None:
    """How many come before those that are expected; None where others than these follow."""
    more = len(read) - len(expected)
    return more if more >= 0 and read[more:] == expected else None


def _read_first(effects: Iterable[Effect], prepared: Container[str]) -> list[tuple[str, bytes]]:
    """What a step begins with: batches and what prepares them, each with its digest; modules are known by what they
    return, since one that an iterator holds has a path only once the iterator was begun."""
    first = takewhile(lambda effect: is_read(effect.leaf, prepared), effects)
    return [(effect.leaf if is_batch(effect.leaf) else "outputs", effect.digest) for effect in first]


def _without_first(effects: Sequence[Effect], count: int) -> tuple[Effect, ...]:
    """The effects but the first, named as if these had not been there."""
    gone, kept = effects[:count], effects[count:]
    begun = kept[0].phase if kept else ""  # of which some may be gone
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
