"""A save inside an accumulation window: the step that the uninterrupted run was doing then, from the save on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from dora_repro.trace import Effect, Trace, numbered, unnumbered


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
    cut = replace(during, effects=_since(during.effects, backwards), inputs=b"")
    return replace(trace, steps=[cut if each is during else each for each in trace.steps])


def _since(effects: Sequence[Effect], backwards: int) -> tuple[Effect, ...]:
    """The effects after that many backward passes, and the batches that were fetched ahead before; numbered anew."""
    events = [(unnumbered(phase), tuple(event)) for phase, event in groupby(effects, attrgetter("phase"))]
    passes = [index for index, (phase, _) in enumerate(events) if phase == "backward"]
    last = passes[min(backwards, len(passes)) - 1] if passes else -1
    batches = [event for event in events[: last + 1] if event[0] == "batch"]
    ahead = batches[len(passes[:backwards]) :]  # a batch for each pass, as far as is known
    count: Counter[str] = Counter()
    found: list[Effect] = []
    for phase, event in (*ahead, *events[last + 1 :]):
        count[phase] += 1
        found += [replace(effect, phase=numbered(phase, count[phase])) for effect in event]
    return tuple(found)
