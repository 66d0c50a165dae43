"""Which lost state makes a resumed run differ: found by putting the reference's state back, and proved so.

All that differs right after loading is a candidate. If putting all of it back makes the remaining steps the
reference's, the set is minimised from the coarse to the fine: components (`optimizer`'s moments), kinds of leaves
(`optimizer/*/exp_avg`), leaves. Each part of the minimal set is then tried alone and left out alone. Where all the
state does not restore exact resume, the reference's batches and the positions of its generators are tried as well: a
loader's iterator can be seen but not put back. Variables of a training loop that begins with the first resumed step
(a suspended generator's) are set in a run whose loop has begun: one step is done in it before it gets the resumed run's
state. Where these do not either, the reference's own iterators are tried: the trial's run does all the reference did up
to the save, and then gets the resumed run's state around them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.components import Holder, by_first_name, components_of, likely_of
from dora_repro.explain.trials.minimal import halved, minimal
from dora_repro.explain.trials.search_result import OBJECT, Part, SearchResult, Unit, all_of, name_of
from dora_repro.explain.trials.trial import BEYOND, CONTROL, DATA, DRAWS, ITERATORS, LOOP, PASSED, Trial, TrialResult
from dora_repro.state.leaves import WORKED_WITH
from dora_repro.state.objects import around
from dora_repro.state.parameter_order import optimizer_of
from dora_repro.state.paths import ends
from dora_repro.trace import unnumbered

BUDGET = 40  # trials
PARTS_TRIED = 6  # parts of a cause that are tried alone and left out alone
EXACT = 4  # a kind with at most that many leaves is minimised leaf by leaf; a larger one is halved
MANY = 3  # objects of a list are one loss
# Roles of leaves that come one per parameter or group: where all of a kind are lost, they are one loss.
_BY_PARAMETER = frozenset({"parameter", "buffer", "moment", "gradient", "option"})


class OutOfBudget(Exception):
    """No further trial may be done: the best set so far is the answer."""


class Search:
    """One search.

    Args:
        run_trial: does a trial.
        differences: differences of the reference's state at the save and the resumed run's after loading.
        roles: role of every leaf of the reference at the save, by path.
        phase: phase of the first differing effect.
        streams: whether batches and draws of the reference were recorded.
        iterators: whether the reference held something half done at the save that the resumed run holds otherwise.
        resettable: whether the resumed run has nothing half done there, so that the control can be run.
        objects: paths of objects that the resumed run lacks: each is put back whole, or not.
        in_hand: those of the differences that are the batch which the run had drawn for its next step: they go with
            the batches.
        same_batches: whether the resumed run had the reference's batches as far as the two agree: a loop that has begun
            has drawn some from iterators which cannot be put back, so it is handed these.
        variables: those of the differences' kind that are variables of a loop which begins with the first step after
            loading.
        budget: largest number of trials.
        surplus: differences of what the resumed run alone has, as a mark of its resume: removed where the rest does not
            restore exact resume by itself.
        passes_over: whether the resumed run passed over batches in its first step: these are its own where it is
            handed the reference's.
        base: what every trial goes through besides: `LATE`, where candidates lie in objects that the run makes in its
            first step.
        draws_first: try draws before batches wherever the runs first differ: where draws are put back at the moments
            at which an order is drawn, and batches cost a run of their own.
        holder: tells the component of a leaf, by its path and role.
        divided: tells what a component that is needed is divided by first; None where its kinds are.
        marks: paths of the differences that mark a resume or were told otherwise: tried last.
        given: those of the differences that are what the next step's modules are given, where no loader made it: one
            loss.
        frugal: each trial costs a process: that nothing put back is no cure is tried only where nothing else tells,
            what is likely is tried by itself, and parts are examined only when `examine` is called.
        orders: groups whose parameters came in another order, by which moments were loaded into wrong ones: where that
            order alone restores exact resume, it is the cause, and not the moments.
    """

    def __init__(
        self,
        run_trial: Callable[[Trial], TrialResult],
        differences: Iterable[LeafDifference],
        roles: Mapping[str, str],
        phase: str,
        streams: bool,
        iterators: bool = False,
        resettable: bool = True,
        objects: Sequence[str] = (),
        in_hand: Unit = (),
        same_batches: bool = False,
        variables: Iterable[LeafDifference] = (),
        budget: int = BUDGET,
        orders: Unit = (),
        surplus: Iterable[LeafDifference] = (),
        draws_first: bool = False,
        holder: Holder = by_first_name,
        divided: Holder | None = None,
        marks: Container[str] = (),
        base: Unit = (),
        passes_over: bool = False,
        given: Unit = (),
        frugal: bool = False,
    ):
        self._given, self._frugal = given, frugal
        self._sufficient: Unit = ()
        self._nothing = Trial(frozenset(base))
        self._holder, self._divided, self._marks = holder, divided, marks
        self._draws_first = draws_first
        self._orders = orders
        self._iterators, self._resettable = iterators, resettable
        self._run_trial, self._streams, self._budget = run_trial, streams, budget
        self._phase = unnumbered(phase)
        self._data = (DATA, *in_hand)
        self._passing = (DATA, PASSED, *in_hand) if passes_over and streams else ()
        self._loop = (LOOP, DATA) if same_batches and streams else (LOOP,)
        self._differences = {difference.path: difference for difference in differences}
        self._variables = {difference.path: difference for difference in variables}
        self._surplus = {difference.path: difference for difference in surplus}
        self._wholes = Counter((role, *ends(path)) for path, role in roles.items())
        self._moments = Counter(holder(path, role) for path, role in roles.items() if role == "moment")
        inside = {path: at for path in self._differences if (at := around(path, objects)) is not None}
        together = _in_one_place(inside.values())
        held = {path: f"{at}/*" for path in self._differences if (at := around(path, _holders(together))) is not None}
        self._objects = {**{path: together.get(at, at) for path, at in inside.items()}, **held}
        for path in [path for path in self._differences if frugal and f"{path}/*" in together.values()]:
            self._objects[path] = f"{path}/*"  # an empty list in place of its entries: the same loss
            self._differences[path] = self._differences.pop(path)
        self._done: dict[Trial, TrialResult] = {}
        self.result = SearchResult(candidates=self._components(), objects=self._objects, base=base)

    def _role(self, path: str) -> str:
        return self._differences[path].role if path in self._differences else ""

    def _components(self) -> dict[str, Unit]:
        """Candidates by component and role: the likely ones first."""
        found = (each for path, each in self._differences.items() if path not in self._data)
        return components_of(found, self._phase, self._holder, self._objects, self._marks, self._given)

    # --- trials --------------------------------------------------------------------------------------------------

    def _restores(self, names: Iterable[str]) -> bool:
        return self._trial(names).restores

    def _trial(self, names: Iterable[str], to_the_end: bool = False) -> TrialResult:
        trial = Trial(frozenset((*names, *self.result.base)), to_the_end)
        for known in (trial, Trial(trial.names, True)):
            if known in self._done:
                return self._done[known]
        if len(self._done) >= self._budget:
            raise OutOfBudget
        result = self._done[trial] = self._run_trial(trial)
        self.result.trials.append((trial, result))
        return result

    # --- the search ----------------------------------------------------------------------------------------------

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
        if self.result.stopped and self.result.parts and not self.result.proved:
            self._take_smallest()
        if (nothing := self._done.get(self._nothing)) is not None and nothing.restores:
            self.result.reproduced, self.result.parts = False, ()
        return self.result

    def try_nothing(self) -> None:
        """Find out whether the run differs with nothing put back, where no set was found and that was not tried."""
        if not self.result.parts:
            with contextlib.suppress(OutOfBudget, KeyboardInterrupt):
                self.result.reproduced = not self._restores(())

    def examine(self, budget: int) -> None:
        """Find out how much each part of what was found matters by itself, as far as trials are left.

        Args:
            budget: largest number of trials, those of the search included.
        """
        self._budget = budget
        if self.result.proved and self.result.parts:
            with contextlib.suppress(OutOfBudget, KeyboardInterrupt):
                self._try_parts(self._sufficient)

    def _take_smallest(self) -> None:
        """Let the answer be the smallest set that a trial has restored exact resume with."""
        restored = (trial.names.difference(self.result.base) for trial, result in self.result.trials if result.restores)
        best = min(restored, key=len, default=self.result.names)
        if len(best) < len(self.result.names):
            beyond = ((name,) for name in sorted(BEYOND - {DATA, PASSED}))
            every = (*beyond, self._passing or self._data, *self.result.candidates.values())
            kept = (tuple(leaf for leaf in unit if leaf in best) for unit in every)
            self._set_parts(unit for unit in kept if unit)

    def _search(self) -> None:
        if not self._frugal and self._restores(()):
            return
        sufficient = self._first_sufficient()
        if sufficient is None:
            return
        self._set_parts(sufficient)  # the best so far
        units = self._without_unlikely(self._without_rest(self._without_misplaced(sufficient)))
        coarse = minimal(units, lambda some: self._restores(all_of(some)))
        self._set_parts(coarse)
        self._set_parts(self._refined(coarse))
        self.result.proved, self._sufficient = True, all_of(sufficient)
        if not self._frugal:
            self._try_parts(self._sufficient)

    def _without_rest(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The draws or batches alone, where they are needed and do: what else differs is then not looked at."""
        beyond = tuple(unit for unit in units if unit[0] in BEYOND)
        return beyond if beyond and len(beyond) < len(units) and self._restores(all_of(beyond)) else units

    def _without_unlikely(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The likely units alone, where these do and trials are dear."""
        likely = likely_of(units, self._phase, self._role, (*BEYOND, *self._given)) if self._frugal else units
        return likely if 0 < len(likely) < len(units) and self._restores(all_of(likely)) else units

    def _without_misplaced(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The units without moments that an order of parameters has misplaced, where putting the order back does."""
        optimizers = tuple(f"{optimizer_of(path)}/" for path in self._orders if path in all_of(units))
        fewer = tuple(
            unit for unit in units if not (self._role(unit[0]) == "moment" and unit[0].startswith(optimizers))
        )
        return fewer if optimizers and len(fewer) < len(units) and self._restores(all_of(fewer)) else units

    def _set_parts(self, units: Iterable[Unit]) -> None:
        self.result.parts = tuple(self._part(leaves) for leaves in units)

    def _part(self, leaves: Unit) -> Part:
        whole = self._objects.get(leaves[0])
        if whole is not None:
            return Part(whole, leaves, OBJECT)
        return Part(name_of(leaves), leaves, self._role(leaves[0]))

    def _first_sufficient(self) -> tuple[Unit, ...] | None:
        """Components that restore exact resume when all are put back; None where no tried set does.

        Tried are all that differ, or but for what the resumed run alone holds; with batches, draws or iterators where
        that is not enough; then only those that a step works with.
        """
        everything = tuple(self.result.candidates.values())
        batches_first = self._phase in ("batch", "epoch_end") and not self._draws_first
        outside = (self._data, (DRAWS,)) if batches_first else ((DRAWS,), self._data)
        # For the case that other memory does harm when it is put back.
        useful = tuple(leaves for leaves in everything if self._role(leaves[0]) in WORKED_WITH)
        more: tuple[tuple[Unit, ...], ...] = ((),)
        if self._streams:
            more += (outside[:1], outside[1:], outside)
        found = self._first_of(more[:1], everything)
        if found is None and self._surplus:
            found = self._first_with_surplus(more[:1], everything)
        if found is None:
            found = self._first_beside_what_waits(more[:1], everything)
        if found is None and self._passing:
            found = self._first_while_passing(everything, useful)
        if found is None:
            found = self._first_of(more[1:], everything)
        if found is None:
            found = self._first_beside_what_waits(more[1:], everything)
        if found is None and self._variables:
            found = self._first_with_variables(everything, more)
        if found is None and self._iterators:  # such a trial does all steps up to the save
            more += (((ITERATORS,),),)
            found = self._first_of(more[-1:], everything)
        if found is None and useful != everything:
            found = self._first_of(more, useful)
        return self._first_with_surplus(more[1:], everything) if found is None and self._surplus else found

    def _first_beside_what_waits(
        self, more: Iterable[tuple[Unit, ...]], everything: tuple[Unit, ...]
    ) -> tuple[Unit, ...] | None:
        """Components that restore exact resume where what the resumed run alone holds is left in it; None where none
        do. It may be what `load()` put aside: a step that applies it would not find it."""
        held = {
            name: tuple(path for path in unit if not self._only_resumed(path))
            for name, unit in self.result.candidates.items()
        }
        held = {name: unit for name, unit in held.items() if unit}
        if tuple(held.values()) == everything:
            return None
        found = self._first_of(more, tuple(held.values()))
        if found is not None:
            self.result.candidates = held
        return found

    def _first_while_passing(self, everything: tuple[Unit, ...], useful: tuple[Unit, ...]) -> tuple[Unit, ...] | None:
        """Components that restore exact resume with the reference's batches, where the run still passes over its own;
        None where none do. What tells it how many is left in it as long as that can be."""
        more = ((self._passing,),)
        found = self._first_of(more, ())
        if found is None:
            found = self._first_beside_what_waits(more, everything)
        if found is None and useful != everything:
            found = self._first_of(more, useful)
        return self._first_of(more, everything) if found is None else found

    def _only_resumed(self, path: str) -> bool:
        return path in self._differences and self._differences[path].kind == "unexpected"

    def _first_of(self, more: Iterable[tuple[Unit, ...]], base: tuple[Unit, ...]) -> tuple[Unit, ...] | None:
        """Components with the first of batches, draws or iterators that restores exact resume beside them."""
        for extra in more:
            if (base or extra) and self._restores(all_of((*extra, *base))) and self._controlled(extra):
                return (*extra, *base)
        return None

    def _first_with_variables(
        self, everything: tuple[Unit, ...], more: Iterable[tuple[Unit, ...]]
    ) -> tuple[Unit, ...] | None:
        """Components that restore exact resume with the variables of a loop that has begun; None where none do, or
        where the loop's having begun does so by itself."""
        before, self.result.base = self.result.base, (*self.result.base, *self._loop)
        variables = tuple(self._variables)
        for extra in more:
            if self._restores(all_of((*extra, *everything, variables))) and not self._restores(all_of(extra)):
                self._differences |= self._variables
                self.result.candidates[f"{variables[0].partition('/')[0]}, variables"] = variables
                return (*extra, *everything, variables)
        self.result.base = before
        return None

    def _first_with_surplus(
        self, more: Iterable[tuple[Unit, ...]], everything: tuple[Unit, ...]
    ) -> tuple[Unit, ...] | None:
        """Components that restore exact resume with what the resumed run alone has removed; None where none do."""
        surplus = tuple((path,) for path in self._surplus)
        found = self._first_of(more, (*everything, *surplus))
        if found is not None:
            self._differences |= self._surplus
            self.result.candidates.update({f"{path}, surplus": (path,) for path in self._surplus})
        return found

    def _controlled(self, extra: Iterable[Unit]) -> bool:
        """Whether the iterators make the difference, and not that the trial's objects were never loaded into."""
        return (ITERATORS,) not in extra or not self._resettable or self._restores((CONTROL,))

    def _refined(self, units: Sequence[Unit]) -> list[Unit]:
        """Components split into the kinds of leaves that are needed, and these into the leaves."""
        for divide in (self._objects_of, self._kinds_of, self._leaves_of):
            done: list[Unit] = []
            for index, unit in enumerate(units):
                rest = all_of((*done, *units[index + 1 :]))
                done += divide(unit, rest)
            units = done
        return list(units)

    def _objects_of(self, unit: Unit, rest: Unit) -> Sequence[Unit]:
        if self._divided is None or unit[0] in BEYOND or unit[0] in self._objects:
            return [unit]
        groups: dict[str, list[str]] = {}
        for path in unit:
            groups.setdefault(self._divided(path, self._role(path)), []).append(path)
        if len(groups) == 1:
            return [unit]
        return minimal([tuple(paths) for paths in groups.values()], lambda some: self._restores((*rest, *all_of(some))))

    def _lost_together(self, unit: Unit) -> bool:
        """Whether trials are dear and all of a unit is missing in one object: one loss, as the entries of a buffer."""
        if not self._frugal or self._divided is None:
            return False
        if any(path not in self._differences or self._differences[path].kind != "missing" for path in unit):
            return False
        holders = {self._divided(path, self._role(path)) for path in unit}
        return len(holders) == 1 and "/" in holders.pop()

    def _kinds_of(self, unit: Unit, rest: Unit) -> Sequence[Unit]:
        if unit == self._given or self._lost_together(unit):
            return [unit]
        kinds: dict[tuple[str, str], list[str]] = {}
        for path in unit:
            kinds.setdefault(ends(path), []).append(path)
        whole = unit[0] == DATA or self._whole_optimizer(unit) or unit[0] in self._objects
        if len(kinds) == 1 or whole:
            return [unit]
        return minimal([tuple(paths) for paths in kinds.values()], lambda some: self._restores((*rest, *all_of(some))))

    def _whole_optimizer(self, unit: Unit) -> bool:
        """Whether all the moments of an optimizer are lost: one loss, and with a part of them it could not step."""
        if any(self._differences[path].kind != "missing" for path in unit if path in self._differences):
            return False
        return self._role(unit[0]) == "moment" and len(unit) == self._moments[self._holder(unit[0], "moment")]

    def _leaves_of(self, unit: Unit, rest: Unit) -> Sequence[Unit]:
        if unit[0] == DATA or unit == self._given or self._lost_together(unit):
            return [unit]
        role = self._role(unit[0])
        whole = role in _BY_PARAMETER and len(unit) == self._wholes[role, *ends(unit[0])]
        if len(unit) == 1 or whole or self._whole_optimizer(unit) or unit[0] in self._objects:
            return [unit]
        fewest = minimal if len(unit) <= EXACT else halved
        return [tuple(fewest(unit, lambda some: self._restores((*rest, *some))))]

    def _try_parts(self, sufficient: Unit) -> None:
        """Try all but each part, and each part alone."""
        parts = list(self.result.parts)
        for index, part in enumerate(parts[:PARTS_TRIED]):
            without = self._trial(set(sufficient).difference(part.leaves), to_the_end=True)
            alone = None if self._frugal else self._trial(part.leaves, to_the_end=len(parts) > 1)
            parts[index] = Part(part.name, part.leaves, part.role, without, alone)
            self.result.parts = tuple(parts)
        spare = next((part for part in parts if part.necessary is False), None)
        if spare is not None:
            left = [tuple(leaf for leaf in unit if leaf not in spare.leaves) for unit in self._units(sufficient)]
            self.result.others = minimal([unit for unit in left if unit], lambda some: self._restores(all_of(some)))

    def _units(self, sufficient: Unit) -> list[Unit]:
        extra: list[Unit] = [(name,) for name in sufficient if name in BEYOND and name not in (DATA, PASSED)]
        extra += [self._passing if PASSED in sufficient else self._data] if DATA in sufficient else []
        return [*extra, *(leaves for leaves in self.result.candidates.values() if leaves[0] in sufficient)]


def _in_one_place(objects: Iterable[str]) -> dict[str, str]:
    """Object -> `holder/*`, of those that are many in one list: one loss, as the list was not saved."""
    found = [path.rpartition("/") for path in dict.fromkeys(objects)]
    number = Counter(holder for holder, _, name in found if name.isdigit())
    return {f"{holder}/{name}": f"{holder}/*" for holder, _, name in found if number[holder] >= MANY and name.isdigit()}


def _holders(together: Mapping[str, str]) -> list[str]:
    """Lists of which many objects are lost: what differs in their other items is the same loss."""
    return [holder.removesuffix("/*") for holder in dict.fromkeys(together.values())]
