"""Which lost state makes a resumed run differ: found by putting the reference's state back, and proved so.

All that differs right after loading is a candidate. If putting all of it back makes the remaining steps the
reference's (`sufficient.py`), the set is minimised from the coarse to the fine: components (`optimizer`'s moments),
kinds of leaves (`optimizer/*/exp_avg`), leaves. Each part of the minimal set is then tried alone and left out alone.
"""

import contextlib
from collections.abc import Callable, Iterable

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.beyond import Beyond
from dora_repro.explain.trials.budget import BudgetedTrials, OutOfBudget
from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.minimal import halved, minimal
from dora_repro.explain.trials.search_result import Part, SearchResult, Unit, all_of
from dora_repro.explain.trials.sufficient import FirstSufficient, Units
from dora_repro.explain.trials.trial import BEYOND, Trial, TrialResult

BUDGET = 40  # trials
PARTS_TRIED = 6  # parts of a cause that are tried alone and left out alone
EXACT = 4  # a kind with at most that many leaves is minimised leaf by leaf; a larger one is halved


class Search:
    """One search.

    Where trials are dear (`losses.frugal`), that nothing put back is no cure is tried only where nothing else tells,
    what is likely is tried by itself, and parts are examined only when `examine` is called.

    Args:
        run_trial: does a trial.
        losses: what differs right after loading.
        beyond: what else may be put in.
        variables: variables of a loop which begins with the first step after loading.
        surplus: differences of what the resumed run alone has, as a mark of its resume: removed where the rest does not
            restore exact resume by itself.
        orders: groups whose parameters came in another order, by which moments were loaded into wrong ones: where that
            order alone restores exact resume, it is the cause, and not the moments.
        base: what every trial goes through besides: `LATE`, where candidates lie in objects that the run makes in its
            first step.
        budget: largest number of trials.
    """

    def __init__(
        self,
        run_trial: Callable[[Trial], TrialResult],
        losses: Losses,
        beyond: Beyond,
        *,
        variables: Iterable[LeafDifference] = (),
        surplus: Iterable[LeafDifference] = (),
        orders: Unit = (),
        base: Unit = (),
        budget: int = BUDGET,
    ):
        self._trials = BudgetedTrials(run_trial, budget, base)
        self._losses, self._beyond, self._orders = losses, beyond, orders
        self._first = FirstSufficient(self._trials, losses, beyond, variables, surplus)
        self._nothing = Trial(frozenset(base))
        self._sufficient: Unit = ()
        candidates = losses.components(without=beyond.data)
        self.result = SearchResult(candidates=candidates, objects=losses.objects, base=base, trials=self._trials.done)

    def run(self) -> SearchResult:
        """Search until it is done, out of budget, or interrupted; the best set so far is the answer.

        Where nothing put back turns out to be a cure, there are no parts: the difference lies outside the state.
        """
        try:
            self._search()
        except OutOfBudget:
            self.result.stopped = "budget"
        except KeyboardInterrupt:
            self.result.stopped = "interrupted"
        self.result.base = self._trials.base
        if not self.result.proved:
            self._take_smallest()
        if (nothing := self._trials.known(self._nothing)) is not None and nothing.restores:
            self.result.reproduced, self.result.parts = False, ()
        return self.result

    def try_nothing(self) -> None:
        """Find out whether the run differs with nothing put back, where no set was found and that was not tried."""
        if not self.result.parts:
            with contextlib.suppress(OutOfBudget, KeyboardInterrupt):
                self.result.reproduced = not self._trials.restores(())

    def examine(self, budget: int) -> None:
        """Find out how much each part of what was found matters by itself, as far as trials are left.

        Args:
            budget: largest number of trials, those of the search included.
        """
        self._trials.budget = budget
        if self.result.proved:
            with contextlib.suppress(OutOfBudget, KeyboardInterrupt):
                self._try_parts()

    def _search(self) -> None:
        if not self._losses.frugal and self._trials.restores(()):
            return
        found = self._first.find(self.result.candidates)
        if found is None:
            return
        self.result.candidates = found.candidates
        self._set_parts(found.units)  # the best so far
        units = self._without_unlikely(self._without_misplaced(self._without_rest(found.units)))
        self._set_parts(self._refined(minimal(units, self._restores)))
        self.result.proved, self._sufficient = True, all_of(found.units)
        if not self._losses.frugal:
            self._try_parts()

    def _restores(self, units: Iterable[Unit]) -> bool:
        return self._trials.restores(all_of(units))

    def _set_parts(self, units: Iterable[Unit]) -> None:
        self.result.parts = tuple(map(self._losses.part, units))

    def _take_smallest(self) -> None:
        """Let the answer be the smallest part of the set found that a trial has restored exact resume with.

        Sets besides are none: the control is a trial that may do as it was expected to, and what it refuted is another.
        """
        found = self.result.names
        restored = (trial.names.difference(self._trials.base) for trial, result in self._trials.done if result.restores)
        best = min((names for names in restored if names <= found), key=len, default=found)
        every = (*self._beyond.every, *self.result.candidates.values())
        kept = (tuple(leaf for leaf in unit if leaf in best) for unit in every)
        self._set_parts(unit for unit in kept if unit)

    # --- fewer units, where these do ------------------------------------------------------------------------------

    def _without_misplaced(self, units: Units) -> Units:
        """The units without moments that an order of parameters has misplaced, where putting the order back does."""
        return self._if_enough(self._losses.without_misplaced(units, self._orders), units)

    def _without_rest(self, units: Units) -> Units:
        """The draws or batches alone, where they are needed and do: what else differs is then not looked at."""
        return self._if_enough(tuple(unit for unit in units if unit[0] in BEYOND), units)

    def _without_unlikely(self, units: Units) -> Units:
        """The likely units alone, where these do and trials are dear."""
        return self._if_enough(self._losses.likely(units), units) if self._losses.frugal else units

    def _if_enough(self, fewer: Units, units: Units) -> Units:
        return fewer if fewer and self._restores(fewer) else units

    # --- from the coarse to the fine ------------------------------------------------------------------------------

    def _refined(self, units: Units) -> Units:
        """Components split into the kinds of leaves that are needed, and these into the leaves."""
        for needed in (self._needed_objects, self._needed_kinds, self._needed_leaves):
            done: list[Unit] = []
            for index, unit in enumerate(units):
                done += needed(unit, all_of((*done, *units[index + 1 :])))
            units = tuple(done)
        return units

    def _needed_objects(self, unit: Unit, rest: Unit) -> Units:
        return self._needed(self._losses.by_object(unit), rest)

    def _needed_kinds(self, unit: Unit, rest: Unit) -> Units:
        return self._needed(self._losses.by_kind(unit), rest)

    def _needed(self, pieces: list[Unit], rest: Unit) -> Units:
        """The pieces of a unit that are needed beside the rest of the set."""
        return tuple(pieces) if len(pieces) == 1 else minimal(pieces, lambda some: self._restores((rest, *some)))

    def _needed_leaves(self, unit: Unit, rest: Unit) -> Units:
        leaves = self._losses.by_leaf(unit)
        if len(leaves) == 1:
            return (unit,)
        fewest = minimal if len(leaves) <= EXACT else halved
        return (all_of(fewest(leaves, lambda some: self._restores((rest, *some)))),)

    # --- how much each part matters -------------------------------------------------------------------------------

    def _try_parts(self) -> None:
        """Try all but each part, and each part alone."""
        parts = list(self.result.parts)
        for index, part in enumerate(parts[:PARTS_TRIED]):
            without = self._trials.result(set(self._sufficient).difference(part.leaves), to_the_end=True)
            frugal = self._losses.frugal
            alone = None if frugal else self._trials.result(part.leaves, to_the_end=len(parts) > 1)
            parts[index] = Part(part.name, part.leaves, part.role, without, alone)
            self.result.parts = tuple(parts)
        spare = next((part for part in parts if part.necessary is False), None)
        if spare is not None:
            left = [tuple(leaf for leaf in unit if leaf not in spare.leaves) for unit in self._units()]
            self.result.others = minimal([unit for unit in left if unit], self._restores)

    def _units(self) -> list[Unit]:
        """The units of the set that the search began with."""
        candidates = self.result.candidates.values()
        return [*self._beyond.within(self._sufficient), *(unit for unit in candidates if unit[0] in self._sufficient)]
