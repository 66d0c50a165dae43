"""The first differing effect of one step: in order of execution, with what was changed at its end in its place."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from dora_repro.trace import STEP_END, Divergence, Effect, unnumbered


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


def _in_order(effects: Iterable[Effect], one: Divergence, other: Divergence) -> bool:
    """Whether these effects have the leaf of one divergence before that of the other."""
    order = [(effect.phase, effect.leaf) for effect in effects]
    places = [(each.phase, each.leaf) for each in (one, other)]
    return all(place in order for place in places) and order.index(places[0]) < order.index(places[1])


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


def _same_output(one: Effect, other: Effect) -> bool:
    """Whether two modules returned the same where they go by different names: one that an iterator holds has a path
    only once the iterator was begun."""
    both = one.phase == other.phase and one.digest == other.digest
    return both and one.leaf.startswith("outputs/") and other.leaf.startswith("outputs/")
