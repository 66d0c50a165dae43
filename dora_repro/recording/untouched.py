"""Parameters of optimizers that a step leaves alone: what lies in them then is no effect of the step.

The copy of a model that a client trains when its turn comes, and that is set anew before, may hold anything until then.
"""

from collections.abc import Iterable, Mapping

from dora_repro.contracts import Value
from dora_repro.recording.events import Event
from dora_repro.recording.make_up import MakeUp
from dora_repro.trace import STEP_END, unnumbered


class Untouched:
    """Knows each parameter of an optimizer as it was when the last step was over."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] | None = None  # by id

    def begin(self, made_of: MakeUp) -> None:
        """A step begins: before the first one they are read."""
        if self._known is None:
            self._known = {key: made_of.read[key]() for key in made_of.held & made_of.read.keys()}

    def lies_still(self, key: int, made_of: MakeUp) -> bool:
        """Whether the parameter of this id is as it was when the last step was over; what nobody knew is not."""
        assert self._known is not None  # a step has begun
        found = made_of.read[key]()
        known, self._known[key] = self._known.get(key), found
        return known == found

    def step_is_over(self, events: Iterable[Event], parameters: Mapping[str, Value]) -> None:
        """Know those that were updated as the step has left them.

        Args:
            events: of the step.
            parameters: by path.
        """
        assert self._known is not None  # a step has begun
        for event in events:
            if unnumbered(event.phase) in ("update", STEP_END):
                for leaf, digest in event.digests.items():
                    if (parameter := parameters.get(unnumbered(leaf))) is not None:
                        self._known[id(parameter)] = digest
