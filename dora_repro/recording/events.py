"""What happened in one step, in order: events, each a phase and digests of leaves; at its end they become effects."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, takewhile

from dora_repro.contracts import Value
from dora_repro.trace import STEP_END, Effect, numbered


@dataclass
class Event:
    """Something that happened in a step.

    Attributes:
        phase: not numbered yet.
        digests: leaf -> digest.
        kept: leaf -> value, of the one leaf whose value was asked for.
    """

    phase: str
    digests: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, Value] = field(default_factory=dict)

    def free_name(self, leaf: str) -> str:
        """The leaf, numbered as phases are where the event has one of that name."""
        if leaf not in self.digests:
            return leaf
        return next(name for number in count(2) if (name := numbered(leaf, number)) not in self.digests)


class Events:
    """The events of one step."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    @property
    def last_phase(self) -> str:
        """The phase of the last event; empty where there is none."""
        return self._events[-1].phase if self._events else ""

    def of(self, phase: str) -> Event:
        """The event to write into: forward calls that follow each other are one, everything else is its own."""
        if not phase == "forward" == self.last_phase:
            self._events.append(Event(phase))
        return self._events[-1]

    def after_last(self, *phases: str) -> Event:
        """A new event of the first of these phases, behind the last event of any of them."""
        return self._insert(self._place_after(*phases), phases[0])

    def at_step_end(self, early: bool) -> Event:
        """A new event for what changed after its update: behind all others, or before the end of the epoch."""
        place = len(self._events)
        if early:
            place = self._place_after("update")
            place += len(list(takewhile(lambda event: event.phase == "schedule", self._events[place:])))
        return self._insert(place, STEP_END)

    def _place_after(self, *phases: str) -> int:
        """The place behind the last event of these phases; behind all events where there is none."""
        places = [index + 1 for index, event in enumerate(self._events) if event.phase in phases]
        return places[-1] if places else len(self._events)

    def _insert(self, place: int, phase: str) -> Event:
        event = Event(phase)
        self._events.insert(place, event)
        return event

    def drop_last_batches(self, number: int) -> None:
        """Take out the last `number` batches, and all that came after each."""
        phases = [event.phase for event in self._events]
        while number and "batch" in phases:
            last = len(phases) - 1 - phases[::-1].index("batch")
            del self._events[last:], phases[last:]
            number -= 1

    def of_next(self, mark: int, in_hand: int) -> "Events":
        """Take out what belongs to the next step, which began at a place: the batches in hand then, and all after it.

        Args:
            mark: the number of events that there were.
            in_hand: the number of batches that had been fetched for the next step.
        """
        found = Events()
        batches = [index for index in range(mark) if self._events[index].phase == "batch"][-in_hand:] if in_hand else []
        found._events = [self._events[index] for index in (*batches, *range(mark, len(self._events)))]
        del self._events[batches[0] if batches else mark :]
        return found

    def __len__(self) -> int:
        return len(self._events)

    def named(self) -> Iterator[tuple[str, Event]]:
        """Each event with its phase: those after the last update are of `epoch_end`, repeated ones are numbered."""
        updates = [index for index, event in enumerate(self._events) if event.phase == "update"]
        last_update = updates[-1] if updates else len(self._events)
        times: Counter[str] = Counter()
        for index, event in enumerate(self._events):
            ends = index > last_update and event.phase not in ("schedule", STEP_END)
            phase = "epoch_end" if ends else event.phase
            times[phase] += 1
            yield numbered(phase, times[phase]), event

    def effects(self) -> tuple[Effect, ...]:
        """What the step did, in order of execution."""
        named = self.named()
        return tuple(Effect(phase, leaf, value) for phase, event in named for leaf, value in event.digests.items())
