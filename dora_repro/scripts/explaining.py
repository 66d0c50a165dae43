"""Why a resumed script differs: the search that explains any run, with launches for trials."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dora_repro.explain.candidates import Discrepancy, candidates_of, only_resumed, phase_of
from dora_repro.explain.causes import CauseDescriber
from dora_repro.explain.confirmation import Confirmation
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.proof import describe_trial, proof
from dora_repro.explain.trials.components import by_object, by_optimizer
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.trial import Outcome, Trial
from dora_repro.explain.unexplained import ruled_out
from dora_repro.scripts.belonging import Calls, placed
from dora_repro.scripts.trials import ScriptTrials
from dora_repro.scripts.trying import Tried
from dora_repro.sides.evidence import Sides
from dora_repro.state.parameter_order import reordered

Tries = Callable[[Sequence[Cause], int], Tried | None]
BUDGET = 12  # launches
_ELSEWHERE = "resumed once more, the run does not differ: what differs lies outside its state"


def explain_script(
    run_trial: ScriptTrials,
    sides: Sides,
    discrepancy: Discrepancy,
    budget: int,
    calls: Calls,
    tries: Tries,
) -> Explanation:
    """Explain why the resumed script differs from the uninterrupted one.

    Args:
        run_trial: launches a trial.
        sides: the uninterrupted side, and the resumed one.
        discrepancy: what is to be explained.
        budget: largest number of launches.
        calls: the script's lines that wrote and read the checkpoint.
        tries: tries the advised lines of causes, with so many launches left.
    """
    begun = time.perf_counter()
    if sides.resumed.loaded_or_none is None:
        error = sides.resumed.failure["error"] if sides.resumed.failure else "no training step"
        cause = Cause("run/exception", ("run/exception",), "", error)
        words = "The resume command ended before its first training step."
        return Explanation((cause,), words, proved=True, seconds=time.perf_counter() - begun)
    found = _searched(run_trial, sides, discrepancy, max(1, budget - 1))  # the last one is to confirm what was found
    if found.parts:
        explanation = _explained(run_trial, sides, discrepancy, found, calls, len(found.trials) < budget)
        if found.stopped != "interrupted":
            explanation = _tried_in_script(explanation, tries, budget - len(found.trials) - 1)
    else:
        explanation = _unexplained(found, discrepancy)
    return replace(
        explanation,
        trials=tuple(describe_trial(trial, result, found) for trial, result in found.trials),
        steps=sum(result.steps for _, result in found.trials),
        stopped=found.stopped,
        seconds=time.perf_counter() - begun,
    )


def _searched(run_trial: ScriptTrials, sides: Sides, discrepancy: Discrepancy, budget: int) -> SearchResult:
    saved, loaded = sides.reference.at_save(sides.save_at), sides.resumed.loaded
    candidates = tuple(candidates_of(discrepancy, saved, ()))
    hands = run_trial.anchor.in_hand
    in_hand = tuple(each.path for each in candidates if each.path in saved and saved[each.path].digest.hex() in hands)
    return Search(
        run_trial,
        candidates,
        {path: leaf.role for path, leaf in saved.items()},
        phase_of(sides, discrepancy),
        streams=run_trial.feeds,
        in_hand=in_hand,
        budget=budget,
        orders=reordered(saved, loaded),
        surplus=tuple(only_resumed(discrepancy)),
        draws_first=True,
        holder=by_optimizer,
        divided=by_object,
        marks={*discrepancy.set_by_load, *(setting.path for setting in discrepancy.settings)},
    ).run()


def _explained(
    run_trial: ScriptTrials,
    sides: Sides,
    discrepancy: Discrepancy,
    found: SearchResult,
    calls: Calls,
    confirm: bool,
) -> Explanation:
    saved, loaded = sides.reference.at_save(sides.save_at), sides.resumed.loaded
    differences = (*candidates_of(discrepancy, saved, ()), *only_resumed(discrepancy))
    describer = CauseDescriber(saved, loaded, sides, differences, discrepancy.settings)
    loop = run_trial.anchor.begun.by if run_trial.anchor.begun is not None else None
    causes = tuple(placed(cause, calls, loop) for cause in describer.causes(found))
    again = run_trial(Trial(found.trial_names)) if confirm and found.stopped != "interrupted" else None
    confirmation = Confirmation(None if again is None else again.restores, {} if again is None else again.failed)
    return Explanation(
        causes=causes,
        proof=proof(found, sides.resumed_job.steps - sides.save_at, confirmation),
        proved=found.proved,
        confirmed=confirmation.same,
        confirmation_missing=confirmation.missing,
        other=found.other,
        places=describer.places,
        harmless=tuple(path for path in found.harmless if path not in discrepancy.set_by_load),
    )


def _tried_in_script(explanation: Explanation, tries: Tries, left: int) -> Explanation:
    """The same, with what trying the advised lines came to."""
    tried = tries(explanation.causes, left)
    if tried is None:
        return explanation
    with_lines = [index for index, cause in enumerate(explanation.causes) if cause.save or cause.load]
    causes = [*explanation.causes]
    causes[with_lines[-1]] = replace(
        causes[with_lines[-1]], advice=(*causes[with_lines[-1]].advice, *filter(None, (tried.words,)))
    )
    return replace(explanation, causes=tuple(causes), lines_tried=tried.result)


def _unexplained(found: SearchResult, discrepancy: Discrepancy) -> Explanation:
    """Say what was tried, and came to nothing."""
    if found.stopped:
        return Explanation(
            unexplained=f"the search was stopped ({found.stopped}) before a set that restores exact resume was found",
            look_at=tuple(_came_furthest(found)),
        )
    if not found.reproduced:
        return Explanation(unexplained=_ELSEWHERE)
    return Explanation(unexplained="no captured state explains it", look_at=tuple(_tried(found, discrepancy)))


def _came_furthest(found: SearchResult) -> Iterator[str]:
    """What accounts for the first steps that differ, though not for all: what was put back in the trial that first
    differs at the latest step, with the fewest leaves; nothing where none came further than without."""
    first = next((result.divergence for trial, result in found.trials if not trial.names), None)
    if first is None:
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
    yield from _came_furthest(found)
    yield from ruled_out(found, discrepancy.lost, {})
    yield "not put back: iterators of loaders, and what is reached by no variable of the script's functions (`record`)"
