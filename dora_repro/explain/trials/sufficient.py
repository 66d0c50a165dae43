"""A set to begin with that restores exact resume: all that differs, and where that is not enough, what else there is.

Where all the state does not restore exact resume, the reference's batches and the positions of its generators are tried
as well: a loader's iterator can be seen but not put back. Variables of a training loop that begins with the first
resumed step (a suspended generator's) are set in a run whose loop has begun: one step is done in it before it gets the
resumed run's state. Where these do not either, the reference's own iterators are tried: the trial's run does all the
reference did up to the save, and then gets the resumed run's state around them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.beyond import Beyond
from dora_repro.explain.trials.budget import BudgetedTrials
from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.search_result import Unit, all_of
from dora_repro.explain.trials.trial import CONTROL, ITERATORS
from dora_repro.state.leaves import WORKED_WITH

Units = tuple[Unit, ...]


@dataclass(frozen=True)
class Sufficient:
    """A set that restores exact resume.

    Attributes:
        units: what it puts back.
        candidates: the components that it was taken from.
    """

    units: Units
    candidates: dict[str, Unit]


class FirstSufficient:
    """Looks for the first such set.

    Args:
        trials: does trials; where the set restores exact resume only in a loop that has begun, that is their base then.
        losses: what differs right after loading; `variables` and `surplus` are added to it.
        beyond: what else may be put in.
        variables: variables of a loop which begins with the first step after loading.
        surplus: what the resumed run alone has, as a mark of its resume: removed where the rest does not restore exact
            resume by itself.
    """

    def __init__(
        self,
        trials: BudgetedTrials,
        losses: Losses,
        beyond: Beyond,
        variables: Iterable[LeafDifference] = (),
        surplus: Iterable[LeafDifference] = (),
    ):
        self._trials, self._losses, self._beyond = trials, losses, beyond
        self._variables = {difference.path: difference for difference in variables}
        self._surplus = {difference.path: difference for difference in surplus}

    def find(self, candidates: dict[str, Unit]) -> Sufficient | None:
        """The first set that restores exact resume; None where no tried one does.

        Tried are all candidates, or but for what the resumed run alone holds; with batches, draws or iterators where
        that is not enough; then only those that a step works with. What was tried before is not tried again: its result
        is known (`BudgetedTrials`).
        """
        self._losses.add({**self._variables, **self._surplus})
        nothing, *streams = self._beyond.additions(self._losses.phase)
        iterators: list[Units] = [((ITERATORS,),)] if self._beyond.iterators else []  # a trial does all steps before
        every = [nothing, *streams, *iterators]
        # For the case that other memory does harm when it is put back.
        useful = {name: unit for name, unit in candidates.items() if self._losses.role(unit[0]) in WORKED_WITH}
        return (
            self._with([nothing], candidates)
            or self._with_surplus([nothing], candidates)
            or self._beside_what_waits([nothing], candidates)
            or self._beside_samplers([nothing], candidates)
            or self._while_passing(candidates, useful)
            or self._with(streams, candidates)
            or self._beside_what_waits(streams, candidates)
            or self._with_variables([nothing, *streams], candidates)
            or self._with(iterators, candidates)
            or self._with(every, candidates, useful)
            or self._with_surplus(every[1:], candidates)
        )

    def _with(
        self, additions: Iterable[Units], candidates: dict[str, Unit], some: dict[str, Unit] | None = None
    ) -> Sufficient | None:
        """All candidates, or some of them, with the first of these additions that restores exact resume beside them."""
        base = tuple((candidates if some is None else some).values())
        for extra in additions:
            put = all_of((*extra, *base))
            restores = bool(put) and (self._likely_alone(extra) or self._trials.restores(put))
            if restores and self._is_controlled(extra):
                return Sufficient((*extra, *base), candidates)
        return None

    def _likely_alone(self, extra: Units) -> bool:
        """Whether the reference's batches restore exact resume by themselves, where trials are dear and the loader has
        given others: then no trial goes into what else differs."""
        first = self._losses.frugal and self._losses.phase == "batch" and extra == (self._beyond.data,)
        return first and self._trials.restores(all_of(extra))

    def _is_controlled(self, extra: Units) -> bool:
        """Whether the iterators make the difference, and not that the trial's objects were never loaded into."""
        return (ITERATORS,) not in extra or not self._beyond.resettable or self._trials.restores((CONTROL,))

    def _beside_what_waits(self, additions: Iterable[Units], candidates: dict[str, Unit]) -> Sufficient | None:
        """Candidates where what the resumed run alone holds is left in it. It may be what `load()` put aside: a step
        that applies it would not find it."""
        held = _but_for(self._losses.only_resumed, candidates)
        return self._with(additions, held)

    def _beside_samplers(self, additions: Iterable[Units], candidates: dict[str, Unit]) -> Sufficient | None:
        """Candidates but for what samplers hold, where the first batch was the reference's: one that `load()` has told
        how many samples to leave out would begin its epoch anew."""
        if self._losses.phase == "batch":
            return None
        held = _but_for(self._losses.feeds, candidates)
        return self._with(additions, held)

    def _while_passing(self, candidates: dict[str, Unit], useful: dict[str, Unit]) -> Sufficient | None:
        """Candidates with the reference's batches, where the run still passes over its own. What tells it how many is
        left in it as long as that can be."""
        if not self._beyond.passing:
            return None
        batches: list[Units] = [(self._beyond.passing,)]
        return (
            self._with(batches, candidates, {})
            or self._beside_what_waits(batches, candidates)
            or self._with(batches, candidates, useful)
            or self._with(batches, candidates)
        )

    def _with_variables(self, additions: Iterable[Units], candidates: dict[str, Unit]) -> Sufficient | None:
        """Candidates with the variables of a loop that has begun; None also where the loop's having begun restores
        exact resume by itself."""
        if not self._variables:
            return None
        before, self._trials.base = self._trials.base, (*self._trials.base, *self._beyond.loop)
        variables = tuple(self._variables)
        units = (*candidates.values(), variables)
        for extra in additions:
            if self._trials.restores(all_of((*extra, *units))) and not self._trials.restores(all_of(extra)):
                name = f"{variables[0].partition('/')[0]}, variables"
                return Sufficient((*extra, *units), {**candidates, name: variables})
        self._trials.base = before
        return None

    def _with_surplus(self, additions: Iterable[Units], candidates: dict[str, Unit]) -> Sufficient | None:
        """Candidates with what the resumed run alone has removed."""
        surplus = {f"{path}, surplus": (path,) for path in self._surplus}
        return self._with(additions, {**candidates, **surplus})


def _but_for(left_out: Callable[[str], bool], candidates: dict[str, Unit]) -> dict[str, Unit]:
    """Candidates without some of their leaves."""
    held = {name: tuple(path for path in unit if not left_out(path)) for name, unit in candidates.items()}
    return {name: unit for name, unit in held.items() if unit}
