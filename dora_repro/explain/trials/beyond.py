"""What trials may put in besides the state right after loading: batches, draws, iterators, a loop that has begun."""

from dataclasses import dataclass

from dora_repro.explain.trials.search_result import Unit
from dora_repro.explain.trials.trial import BEYOND, DATA, DRAWS, LOOP, PASSED, POSITION


@dataclass(frozen=True)
class Beyond:
    """What is there to be put in.

    Attributes:
        streams: batches and draws of the reference, which were recorded.
        iterators: something that the reference held half done at the save and the resumed run holds otherwise.
        resettable: the resumed run has nothing half done there, so that the control can be run.
        in_hand: paths of the batch which the run had drawn for its next step: they go with the batches.
        same_batches: the resumed run had the reference's batches as far as the two agree: a loop that has begun has
            drawn some from iterators which cannot be put back, so it is handed these.
        passes_over: the resumed run passed over batches in its first step: these are its own where it is handed the
            reference's.
        draws_first: try draws before batches wherever the runs first differ: where draws are put back at the moments
            at which an order is drawn, and batches cost a run of their own.
        began_anew: the resumed run's loader began its epoch anew, and can pass over what had been used of it: tried
            before anything else, by itself and with the draws.
    """

    streams: bool
    iterators: bool = False
    resettable: bool = True
    in_hand: Unit = ()
    same_batches: bool = False
    passes_over: bool = False
    draws_first: bool = False
    began_anew: bool = False

    @property
    def data(self) -> Unit:
        """The reference's batches."""
        return (DATA, *self.in_hand)

    @property
    def passing(self) -> Unit:
        """The reference's batches, where the run passes over its own first; empty where it does not."""
        return (DATA, PASSED, *self.in_hand) if self.passes_over and self.streams else ()

    @property
    def loop(self) -> Unit:
        """What a trial goes through in which the loop has begun."""
        return (LOOP, DATA) if self.same_batches and self.streams else (LOOP,)

    def additions(self, phase: str) -> tuple[tuple[Unit, ...], ...]:
        """What is put in beside state, one after the other: nothing; the place in the epoch, where that was lost; draws
        or batches, the likelier first; both.

        Args:
            phase: phase of the first differing effect.
        """
        if not self.streams:
            return ((),)
        batches_first = phase in ("batch", "epoch_end") and not self.draws_first
        both: tuple[Unit, ...] = (self.data, (DRAWS,)) if batches_first else ((DRAWS,), self.data)
        place: tuple[tuple[Unit, ...], ...] = (((POSITION,),), ((POSITION,), (DRAWS,))) if self.began_anew else ()
        return ((), *place, both[:1], both[1:], both)

    def within(self, names: Unit) -> list[Unit]:
        """What of this is among names that were put in."""
        found: list[Unit] = [(name,) for name in names if name in BEYOND and name not in (DATA, PASSED)]
        if DATA in names:
            found.append(self.passing if PASSED in names else self.data)
        return found

    @property
    def every(self) -> tuple[Unit, ...]:
        """All that there may be, put in or not."""
        return (*((name,) for name in sorted(BEYOND - {DATA, PASSED})), self.passing or self.data)
