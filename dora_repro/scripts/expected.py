"""What a run is expected to do: a trial is over where it does anything else."""

from dataclasses import replace

from dora_repro.alignment.divergence import first_of_step
from dora_repro.trace import Step, Trace


class Expected:
    """The trace of another run, which the steps of this one are held against as they are done.

    Args:
        trace: that trace.
        start: the step that this run's first one follows.
    """

    def __init__(self, trace: Trace, start: int):
        self._trace, self._start = trace, start
        self._done = Trace()

    def differs(self, step: Step) -> int | None:
        """Take the next step; returns its number there if it is another one, else None."""
        number = step.number + self._start
        self._done.steps.append(replace(step, number=number))
        found = first_of_step(self._trace, self._done, number, unfinished=True)
        return None if found is None else found.step
