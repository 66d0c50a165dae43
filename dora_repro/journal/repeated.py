"""Updates that are done again: those that a killed process had done past the checkpoint it is resumed from."""

from dataclasses import replace
from pathlib import Path

from dora_repro.alignment.divergence import first_of_step
from dora_repro.journal.log import head_of
from dora_repro.trace import Divergence, Step, Trace, unnumbered


class Repeated:
    """Holds the updates of a resumed training against those of the one that it goes on from.

    Args:
        reference: the updates of the earlier training that follow the checkpoint.
        gradients: compare those; both must have noted them.
    """

    def __init__(self, reference: Trace, gradients: bool = True):
        self._gradients = gradients
        self._reference = Trace([self._compared(step) for step in reference.steps])
        self._done = Trace()

    @property
    def last(self) -> int:
        """The number of the last update that can be compared."""
        return self._reference.steps[-1].number

    def differs(self, step: Step) -> Divergence | None:
        """Take the next update; returns where it is another one, else None."""
        if step.number > self.last:
            return None
        self._done.steps.append(self._compared(step))
        return first_of_step(self._reference, self._done, step.number, unfinished=True)

    def _compared(self, step: Step) -> Step:
        if self._gradients:
            return step
        return replace(step, effects=tuple(e for e in step.effects if unnumbered(e.phase) != "backward"))


def level_of(start: Path) -> str:
    """The level at which a start was noted; empty where its beginning is damaged."""
    return head_of(start).get("level") or ""
