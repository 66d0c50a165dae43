"""A save inside an accumulation window: the step that the uninterrupted run was doing then, from the save on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from dora_repro.trace import Effect, Step, Trace, numbered, unnumbered


def from_the_save_on(trace: Trace, step: int, backwards: int) -> Trace:
    """The trace of an uninterrupted run, in which the step of the save begins with what followed the save.

    Args:
        trace: the trace of the run.
        step: the number of steps that were done at the save.
        backwards: number of backward passes since then; 0 leaves the trace as it is.
    """
    during = trace.step(step + 1)
    if during is None or not backwards:
        return trace
    effects, phases = _since(during.effects, backwards)
    cut = replace(during, effects=effects, inputs=b"")
    steps = [cut if each is during else each for each in trace.steps]
    return replace(trace, steps=[_renamed(each, during.number, phases) for each in steps])


def _renamed(step: Step, number: int, phases: Mapping[str, str]) -> Step:
    """A step that knows the phases of the one of that number by their new names."""
    if all(where.step != number for where in step.thrown_away):
        return step
    known = (where for where in step.thrown_away if where.step != number or where.phase in phases)
    return replace(
        step,
        thrown_away=tuple(
            where._replace(phase=phases[where.phase]) if where.step == number else where for where in known
        ),
    )


def _since(effects: Sequence[Effect], backwards: int) -> tuple[tuple[Effect, ...], dict[str, str]]:
    """The effects after that many backward passes, and the batches that were fetched ahead before; numbered anew.

    Returns:
        the effects; the new names of their phases.
    """
    events = [(phase, tuple(event)) for phase, event in groupby(effects, attrgetter("phase"))]
    passes = [index for index, (phase, _) in enumerate(events) if unnumbered(phase) == "backward"]
    last = passes[min(backwards, len(passes)) - 1] if passes else -1
    batches = [event for event in events[: last + 1] if unnumbered(event[0]) == "batch"]
    ahead = batches[len(passes[:backwards]) :]  # a batch for each pass, as far as is known
    count: Counter[str] = Counter()
    found: list[Effect] = []
    phases = {}
    for old, event in (*ahead, *events[last + 1 :]):
        count[unnumbered(old)] += 1
        phases[old] = numbered(unnumbered(old), count[unnumbered(old)])
        found += [replace(effect, phase=phases[old]) for effect in event]
    return tuple(found), phases
