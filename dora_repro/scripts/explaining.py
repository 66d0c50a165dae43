"""Why a resumed script differs: the search that explains any run, with launches for trials."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dora_repro.explain.advice.position import loaders_of
from dora_repro.explain.audit.lookup import ABSENT, STALE, SaveStatus
from dora_repro.explain.audited import audit
from dora_repro.explain.candidates import Discrepancy, candidates_of, only_resumed
from dora_repro.explain.causes import CauseDescriber
from dora_repro.explain.confirmation import Confirmation
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.proof import describe_trial, proof
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.trial import DATA, Outcome
from dora_repro.explain.unexplained import ruled_out
from dora_repro.scripts.as_begun import as_begun
from dora_repro.scripts.belonging import Calls, order_drawn_from, order_kept, placed
from dora_repro.scripts.calls import place_of_last
from dora_repro.scripts.looking import FEW, Looked, Moment, is_made_before_the_pass
from dora_repro.scripts.own_names import beside_own_state, ends_its_block, in_own_names, named_where_written
from dora_repro.scripts.trials import AtRound, ScriptTrials
from dora_repro.scripts.trying import Tried
from dora_repro.sides.evidence import Sides

Tries = Callable[[Sequence[Cause], int], Tried | None]
BUDGET = 12  # launches
_ABSENT = SaveStatus(ABSENT)
_ELSEWHERE = "resumed once more, the run does not differ: what differs lies outside its state"


def explain_script(
    run_trial: ScriptTrials,
    sides: Sides,
    discrepancy: Discrepancy,
    budget: int,
    calls: Calls,
    tries: Tries,
    meet_round: Callable[[Sequence[str]], AtRound | None] = lambda objects: None,
) -> Explanation:
    """Explain why the resumed script differs from the uninterrupted one.

    Args:
        run_trial: launches a trial.
        sides: the uninterrupted side, and the resumed one.
        discrepancy: what is to be explained.
        budget: largest number of launches.
        calls: the script's lines that wrote and read the checkpoint.
        tries: tries the advised lines of causes, with so many launches left.
        meet_round: launches both runs up to the round of the script's loop that follows the save, and keeps objects of
            these paths whole there.
    """
    begun = time.perf_counter()
    if sides.resumed.loaded_or_none is None:
        error = sides.resumed.failure["error"] if sides.resumed.failure else "no training step"
        cause = Cause("run/exception", ("run/exception",), "", error)
        words = "The resume command ended before its first training step."
        return Explanation((cause,), words, proved=True, seconds=time.perf_counter() - begun)
    moment = Moment(run_trial, sides.reference.at_save(sides.save_at), sides.resumed.loaded, discrepancy)
    looked = Looked(sides, budget, moment, meet_round)
    if is_made_before_the_pass(moment):
        if not looked.at_the_round(FEW):
            looked.before_the_pass()
    elif not looked.before_the_pass():
        looked.at_the_round(0)
    search, found, moment, trials, used = looked.search, looked.found, looked.moment, looked.trials, looked.used
    if not found.parts:
        known = len(search.result.trials)
        search.try_nothing()
        found.reproduced = search.result.reproduced
        trials += [describe_trial(trial, result, search.result) for trial, result in search.result.trials[known:]]
    if found.parts:
        explanation = _explained(moment, sides, found, calls)
        if found.stopped != "interrupted":
            explanation, launches = _tried_in_script(explanation, tries, budget - used)
            if explanation.lines_tried is not None and not explanation.lines_tried.restores:
                other = _explained(moment, sides, found, calls, plain=True)
                explanation, more = _better(explanation, other, tries, budget - used - launches)
                launches += more
            known = len(found.trials)
            search.examine(known + budget - used - launches)
            explanation = _examined(explanation, moment, found, sides)
            trials += [describe_trial(trial, result, found) for trial, result in found.trials[known:]]
    else:
        explanation = _unexplained(found, discrepancy)
    return replace(
        explanation,
        causes=in_own_names(explanation.causes, calls.wrote, calls.read, explanation.ran_before),
        named=named_where_written(calls.wrote),
        in_block=ends_its_block(calls.read, explanation.ran_before),
        trials=tuple(trials),
        steps=sum(trial.result.steps for trial in trials),
        stopped=found.stopped,
        seconds=time.perf_counter() - begun,
    )


def _explained(moment: Moment, sides: Sides, found: SearchResult, calls: Calls, *, plain: bool = False) -> Explanation:
    saved, loaded, discrepancy = moment.saved, moment.loaded, moment.discrepancy
    differences = (*candidates_of(discrepancy, saved, ()), *only_resumed(discrepancy))
    anchor = moment.run_trial.anchor
    written = as_begun(saved, moment.run_trial.begun_since, loaders_of(saved))
    audited = audit(saved, loaded, sides, differences, discrepancy.settings, written=written)
    loop = anchor.begun.by if anchor.begun is not None else None
    told = CauseDescriber(audited, sides, script=True, beside=calls.functions(loop)).described(found, plain=plain)
    kept = order_kept(audited.loaders, saved)
    order = order_drawn_from(audited.loaders, saved)
    stale = [path for path in order if audited.save.leaves.get(path, _ABSENT).status == STALE]
    late = stale if anchor.drew_late else ()
    own = beside_own_state(told.causes, saved.kinds)
    causes = tuple(placed(cause, calls, loop, kept, moment.run_trial.used, late=late) for cause in own)
    confirmation = _confirmation(moment, found)
    behind = audited.data_sources if DATA in found.names else ()  # the cause, and no loss beside it
    return Explanation(
        causes=causes,
        proof=_proof(moment, found, sides),
        proved=found.proved,
        confirmed=confirmation.same,
        confirmation_missing=confirmation.missing,
        other=found.other,
        places=told.places,
        script=(place_of_last(calls.wrote, loop), place_of_last(calls.read, loop)),
        harmless=tuple(path for path in found.harmless if path not in {*discrepancy.set_by_load, *behind}),
    )


def _proof(moment: Moment, found: SearchResult, sides: Sides) -> str:
    words = proof(found, sides.resumed_job.steps - sides.save_at, _confirmation(moment, found))
    return " ".join(filter(None, (words, moment.words)))


def _confirmation(moment: Moment, found: SearchResult) -> Confirmation:
    """What became of the set by itself: each trial of a script is a process of its own. That a value was not tied to a
    variable which has none yet is no lack of it."""
    ran = next((result for trial, result in found.trials if trial.names == found.trial_names), None)
    if ran is None:
        return Confirmation(None)
    tied = {path for path in ran.failed if path in moment.saved and moment.saved[path].role == "alias"}
    return Confirmation(ran.restores, {path: why for path, why in ran.failed.items() if path not in tied})


def _examined(explanation: Explanation, moment: Moment, found: SearchResult, sides: Sides) -> Explanation:
    """The same, with how much each part matters by itself."""
    causes = (
        replace(cause, necessary=part.necessary, without=part.without, alone=part.alone)
        for cause, part in zip(explanation.causes, found.parts, strict=True)
    )
    return replace(explanation, causes=tuple(causes), proof=_proof(moment, found, sides), other=found.other)


def _tried_in_script(explanation: Explanation, tries: Tries, left: int) -> tuple[Explanation, int]:
    """The same, with what trying the advised lines came to, and the number of launches that it took."""
    tried = tries(explanation.causes, left)
    if tried is None:
        return explanation, 0
    with_lines = [index for index, cause in enumerate(explanation.causes) if cause.save or cause.load]
    causes = [*explanation.causes]
    causes[with_lines[-1]] = replace(
        causes[with_lines[-1]], advice=(*causes[with_lines[-1]].advice, *filter(None, (tried.words,)))
    )
    found = replace(explanation, causes=tuple(causes), lines_tried=tried.result, ran_before=tried.ran_before)
    return found, tried.launches


def _better(explanation: Explanation, other: Explanation, tries: Tries, left: int) -> tuple[Explanation, int]:
    """Of two, the one that was not tried yet, where its lines do or it has none; the lines of the first did not do.
    And the number of launches that it took."""
    if other.lines == explanation.lines:
        return explanation, 0
    other, launches = _tried_in_script(other, tries, left)
    if any(cause.save or cause.load for cause in other.causes):
        does = other.lines_tried is not None and other.lines_tried.restores
        return (other if does else explanation), launches
    return other, launches


def _unexplained(found: SearchResult, discrepancy: Discrepancy) -> Explanation:
    """Say what was tried, and came to nothing."""
    if found.stopped:
        return Explanation(
            unexplained=f"the search was stopped ({found.stopped}) before a set that restores exact resume was found",
            look_at=tuple(_came_furthest(found, discrepancy)),
        )
    if not found.reproduced:
        return Explanation(unexplained=_ELSEWHERE)
    return Explanation(unexplained="no captured state explains it", look_at=tuple(_tried(found, discrepancy)))


def _came_furthest(found: SearchResult, discrepancy: Discrepancy) -> Iterator[str]:
    """What accounts for the first steps that differ, though not for all: what was put back in the trial that first
    differs at the latest step, with the fewest leaves; nothing where none came further than without."""
    nothing = next((result.divergence for trial, result in found.trials if not trial.names), None)
    first = discrepancy.divergence if nothing is None else nothing
    if not first.phase:  # of memory, at the end
        return
    begins = first.step + (first.phase == "load")  # after the step of the save
    further = [
        (result.divergence, trial, result)
        for trial, result in found.trials
        if result.outcome is Outcome.DIFFERENT and result.divergence is not None and result.divergence.step > begins
    ]
    if further:
        then, trial, result = min(further, key=lambda each: (-each[0].step, len(each[1].names)))
        done = f"step {begins} repeats" if then.step - 1 == begins else f"steps {begins} to {then.step - 1} repeat"
        yield (
            f"with {describe_trial(trial, result, found).put_back} put back, {done} the uninterrupted run; the first "
            f"that differs is step {then.step} then, in phase {then.phase}"
        )


def _tried(found: SearchResult, discrepancy: Discrepancy) -> Iterator[str]:
    yield from _came_furthest(found, discrepancy)
    yield from ruled_out(found, discrepancy.lost, {}, drawing="where the loader draws")
    yield "not put back: iterators of loaders, and what is reached by no variable of the script's functions (`record`)"
