"""Where two traces first differ: steps by number, effects in order of execution, memory at the end of each step."""

from collections.abc import Container, Iterable, Sequence
from functools import cached_property

from dora_repro.alignment.batches import had_same_data, is_read, prepared_in, without_read
from dora_repro.alignment.in_step import first_in_step
from dora_repro.alignment.late_loading import without_late_loading
from dora_repro.trace import FINISHED, Divergence, Effect, Recorded, Trace


def first_divergence(expected: Trace, actual: Trace, after: int = 0) -> Divergence | None:
    """The first differing effect of two traces, over the steps after `after`.

    Steps are aligned by number, and effects within a step in order of execution. Steps before the first of `actual`
    (a resumed run) are passed over. A run that says it is over while the other goes on differs at phase `epoch_end`,
    leaf `run/finished`; one that was merely not recorded as far does not.

    Other batches are a difference where anything else in their step or a later one differs. Where nothing does, the
    steps worked with something else (`unused_batches`).

    Args:
        expected: the first run.
        actual: the second run.
        after: number of the last step to pass over.

    Returns:
        the first difference; None where all effects are equal.
    """
    found, _ = _first(expected, actual, after)
    return found


def unused_batches(expected: Trace, actual: Trace, after: int = 0) -> int | None:
    """The first step in which loaders handed out other batches though no step of the runs worked with what differs.

    Args:
        expected: the first run.
        actual: the second run.
        after: number of the last step to pass over.

    Returns:
        the step's number; None where the batches are equal, or something else differs, too.
    """
    found, unused = _first(expected, actual, after)
    return unused.step if found is None and unused is not None else None


def _first(expected: Trace, actual: Trace, after: int) -> tuple[Divergence | None, Divergence | None]:
    """The first differing effect, and the first batches that differ though their step did not work with them."""
    if actual.steps:
        after = max(after, actual.steps[0].number - 1)
    both = _Both(expected, actual)
    unused: Divergence | None = None
    last = max(after, expected.steps[-1].number if expected.steps else 0)
    for step in expected.steps:
        number = step.number
        if number <= after:
            continue
        if actual.step(number) is None:
            end = Divergence(number, "epoch_end", FINISHED, "missing") if actual.finished else None
            return end and (unused or end), unused
        found = _first_of_step(both, number, unfinished=False)
        if found is None:
            continue
        # What a loader hands out in one step may be worked with in the next one: the last step cannot tell.
        goes_on = number < last and actual.step(number + 1) is not None
        if not (unused or goes_on) or _first_of_step(both, number, unfinished=True) is not None:
            return unused or found, unused
        unused = unused or found
    if expected.finished and actual.step(last + 1) is not None:
        return unused or Divergence(last + 1, "epoch_end", FINISHED, "unexpected"), unused
    return None, unused


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
        return prepared_in(self.expected, self.actual)

    @cached_property
    def thrown_away(self) -> frozenset[Recorded]:
        """Where either run recorded gradients that no optimizer worked with."""
        return thrown_away(self.expected, self.actual)

    @cached_property
    def same_data(self) -> bool:
        """Whether one of the runs was handed all that the other was, whenever that was."""
        return had_same_data(self.expected, self.actual)


def _first_of_step(both: _Both, number: int, unfinished: bool) -> Divergence | None:
    one, other = both.expected.step(number), both.actual.step(number)
    if one is None or other is None:
        return None
    theirs: Sequence[Effect] = one.effects
    ours = without_late_loading(both.expected, both.actual, other)
    found = first_in_step(number, theirs, ours)
    if found is not None:
        theirs, ours = (_without(both.thrown_away, number, effects) for effects in (theirs, ours))
        found = first_in_step(number, theirs, ours)
    if found is None or not one.inputs or one.inputs != other.inputs:
        return found
    # A batch that a loader handed out to one run alone moves the forward calls after it into a phase of their own.
    moved = found.kind in ("missing", "unexpected")
    if not (moved or is_read(found.leaf, both.prepared)):
        return found
    if not unfinished and not both.same_data:
        return found
    return first_in_step(number, without_read(theirs, both.prepared), without_read(ours, both.prepared))


def _without(places: Container[Recorded], number: int, effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """The effects of a step, without those at certain places."""
    return tuple(effect for effect in effects if Recorded(number, effect.phase, effect.leaf) not in places)


def thrown_away(*traces: Trace) -> frozenset[Recorded]:
    """Where traces record gradients that were set to zero before an optimizer stepped with them, having been added to
    what was left of others: in a run that resumes there is nothing left. They are no effects."""
    return frozenset(where for trace in traces for step in trace.steps for where in step.thrown_away)


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
        if number <= after:
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
