"""From two sides that differ to the reason: a search over trials, its result confirmed and described."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from dora_repro.alignment.late_loading import passed_over
from dora_repro.difference import LeafDifference
from dora_repro.explain.audit.load_calls import describe_load_calls
from dora_repro.explain.audited import audit
from dora_repro.explain.candidates import (
    Discrepancy,
    batch_in_hand,
    candidates_of,
    had_same_batches,
    only_resumed,
    phase_of,
    variables_of,
)
from dora_repro.explain.causes import CauseDescriber, Described
from dora_repro.explain.confirmation import Confirmation, Refuted, confirm
from dora_repro.explain.explanation import Cause, Explanation, TrialRecord
from dora_repro.explain.late import Late, late_objects
from dora_repro.explain.logs.compared import generators_of, nondeterministic_operator, unmatched_draws
from dora_repro.explain.logs.determinism import source_of_nondeterminism
from dora_repro.explain.proof import describe_trial, proof
from dora_repro.explain.trials.beyond import Beyond
from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.search import BUDGET, Search
from dora_repro.explain.trials.search_result import SearchResult, Unit
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.explain.trials.trial import BEYOND, DATA, DRAWS, ITERATORS, LATE, Outcome, Trial, TrialResult
from dora_repro.explain.unexplained import OUTSIDE, unexplained
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import OBJECTS, Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.protocol import Answer
from dora_repro.sides.session import Session
from dora_repro.state.overlay import overlaid
from dora_repro.state.parameter_order import reordered
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import objects_lost, stand_alike, suspended

WORKER = "dora_repro.explain.trials.worker:answer_trials"
PREPARE = "dora_repro.explain.trials.worker:prepare"
OVERDUE = 2  # trials that may reach their time limit before no more are run
LATE_BUDGET = 20  # trials for what late objects lack
REFUTED = 3  # sets that a fresh process does not confirm before the search is given up
UNCONFIRMED = "what restores exact resume in a trial does not do so once more"


def explain(
    session: Session, sides: Sides, repeat: Evidence, discrepancy: Discrepancy, resumed: Evidence | None = None
) -> Explanation:
    """Explain why the resumed side differs from the reference.

    A trial that takes its interpreter down is unresolved; no SideStopped leaves this function.

    Args:
        session: runs trials, logs and the confirmation.
        sides: the reference and the resumed side.
        repeat: the reference repeated, with what it was fed recorded.
        discrepancy: what is to be explained.
        resumed: the resumed side repeated, with objects looked for that it makes in its first step; None where it was
            not.
    """
    begun = time.perf_counter()
    if discrepancy.changed:
        explanation = _changed_by_saving(discrepancy)
    elif sides.resumed.loaded_or_none is None:
        explanation = _raised_while_loading(sides.resumed)
    else:
        explanation = _searched(session, sides, repeat, discrepancy, resumed)
    return replace(explanation, seconds=time.perf_counter() - begun)


def explain_nondeterminism(session: Session, job: Job, step: int) -> Explanation:
    """Explain why a side differed from its own repeat: the operator that did, and what makes the run reproducible.

    Args:
        session: runs the side again.
        job: the job of the side that was repeated.
        step: the first step in which the repeat differed.
    """
    begun = time.perf_counter()
    operator = nondeterministic_operator(session, job, step)
    source = source_of_nondeterminism(session, job, step)
    look_at: tuple[str, ...] = (source,) if source else ()
    if not operator and not source:
        look_at = ("The nondeterminism did not reproduce while operators were logged.", OUTSIDE)
    return Explanation(
        unexplained="the run itself is not deterministic",
        look_at=look_at,
        operator=operator,
        seconds=time.perf_counter() - begun,
    )


def _changed_by_saving(discrepancy: Discrepancy) -> Explanation:
    roles = {change.path: change.role for change in discrepancy.changed}
    causes = tuple(Cause(path, (path,), role, "changed by save() itself") for path, role in roles.items())
    proof = "The state was captured before and after save(): save() changed it in the run that goes on."
    return Explanation(causes, proof, proved=True)


def _raised_while_loading(resumed: Evidence) -> Explanation:
    error = resumed.failure["error"] if resumed.failure else "no state after loading"
    cause = Cause("run/exception", ("run/exception",), "", error)
    return Explanation((cause,), "The resumed side raised before its state could be captured.", proved=True)


# --- the search ------------------------------------------------------------------------------------------------------


def _searched(
    session: Session, sides: Sides, repeat: Evidence, discrepancy: Discrepancy, resumed: Evidence | None
) -> Explanation:
    """The causes that trials find and a fresh process confirms; what it does not confirm is no cause, and the search
    goes on without it. Where the run makes objects in its first step, what these lack is tried first."""
    saved, loaded = sides.reference.at_save(sides.save_at), sides.resumed.loaded
    iterators = tuple(suspended(saved, saved.uncaptured))
    candidates = tuple(candidates_of(discrepancy, saved, iterators))
    only_there = tuple(only_resumed(discrepancy))
    variables = tuple(variables_of(discrepancy, saved, iterators))
    late = late_objects(saved, resumed, candidates, discrepancy.noise)
    setup = replace(setup_of(sides, repeat, discrepancy), late=late.objects if late is not None else ())
    roles, phase = {path: leaf.role for path, leaf in saved.items()}, phase_of(sides, discrepancy)
    tried: list[TrialRecord] = []
    refuted: list[Refuted] = []
    steps = 0
    with session.answering(WORKER, asdict(setup), like=sides.resumed.folder, prepare=PREPARE) as answer:
        run_trial = _Trials(answer)
        while True:
            no_cause = frozenset(name for one in refuted for name in one.names)
            if late is not None:
                found = Search(
                    run_trial,
                    Losses(late.candidates, roles, phase, objects=objects_lost(saved, late.state)),
                    Beyond(
                        streams=setup.streams is not None,
                        in_hand=batch_in_hand(sides, late.candidates, saved),
                        passes_over=bool(setup.passed_over),
                    ),
                    orders=reordered(saved, late.state),
                    base=(LATE,),
                    budget=LATE_BUDGET,
                ).run()
            else:
                left = (difference for difference in candidates if difference.path not in no_cause)
                found = Search(
                    run_trial,
                    Losses(left, roles, phase, objects=objects_lost(saved, loaded)),
                    Beyond(
                        streams=setup.streams is not None and not no_cause & {DATA, DRAWS},
                        iterators=bool(iterators) and not stand_alike(saved, loaded) and ITERATORS not in no_cause,
                        resettable=not suspended(loaded, loaded.uncaptured),
                        in_hand=batch_in_hand(sides, candidates, saved),
                        same_batches=had_same_batches(sides, discrepancy.divergence),
                        passes_over=bool(setup.passed_over),
                    ),
                    variables=(variable for variable in variables if variable.path not in no_cause),
                    surplus=(difference for difference in only_there if difference.path not in no_cause),
                    orders=reordered(saved, loaded),
                    budget=BUDGET - len(tried),
                ).run()
            tried += [describe_trial(trial, result, found) for trial, result in found.trials]
            steps += sum(result.steps for _, result in found.trials)
            if late is not None and not found.parts and found.stopped != "interrupted":
                late = None  # nothing that they lacked: then all that was missing right after loading
                continue
            if not found.parts:
                beside = {"noise": discrepancy.noise, "set while loading": discrepancy.set_by_load}
                explanation = unexplained(
                    session, sides, setup, found, discrepancy.divergence, discrepancy.lost, beside
                )
                break
            confirmation = confirm(session, sides, setup, found.trial_names, discrepancy.at_end)
            if confirmation.same:
                differing = (*candidates, *only_there, *variables) if late is None else late.candidates
                explanation = _explained(session, sides, run_trial, found, differing, confirmation, discrepancy, late)
                break
            if late is not None:
                late = None
                continue
            refuted.append(Refuted(found.names, confirmation))
            if found.stopped or len(refuted) >= REFUTED:
                explanation = Explanation(unexplained=UNCONFIRMED)
                break
    if refuted and not explanation.causes:
        words = tuple(one.in_words() for one in refuted)
        explanation = replace(
            explanation, unexplained=UNCONFIRMED, look_at=(*words, *explanation.look_at), confirmed=False
        )
    return replace(explanation, trials=tuple(tried), steps=steps, stopped=found.stopped)


def setup_of(sides: Sides, repeat: Evidence | None, discrepancy: Discrepancy) -> TrialSetup:
    """What all trials of a resumed side have in common.

    Args:
        sides: the reference and the resumed side.
        repeat: the reference repeated; with None, what was not recorded of the reference cannot be put back.
        discrepancy: what is to be explained.
    """
    objects = None if repeat is None else repeat.folder / f"save-{sides.save_at}" / OBJECTS
    streams = None if repeat is None else repeat.streams
    return TrialSetup(
        load=str(sides.resumed_job.load),
        start=sides.save_at,
        steps=sides.resumed_job.steps,
        reference=str(sides.reference.folder),
        resumed=str(sides.resumed.folder),
        saved=str(_saved_state(sides, repeat or sides.reference)),
        objects=str(objects) if objects is not None and objects.exists() else None,
        streams=str(streams) if streams is not None and streams.exists() else None,
        threads=sides.resumed_job.threads,
        at_end=discrepancy.at_end,
        passed_over=passed_over(sides.reference.trace, sides.resumed.trace),
        raised=discrepancy.raised,
    )


def _saved_state(sides: Sides, repeat: Evidence) -> Path:
    """The file of the reference's state at the save, as its repeat has recorded it, in the order of parameters that the
    checkpoint was written in: a set of them has another one in each process."""
    path = repeat.folder / f"save-{sides.save_at}" / "before.pt"
    first, again = sides.reference.at_save(sides.save_at), Snapshot.read(path)
    orders = reordered(first, again)
    if not orders:
        return path
    ordered = path.with_name("in-order.pt")
    overlaid(again, first, frozenset(orders)).write(ordered)
    return ordered


class _Trials:
    """Runs trials, each in a process of its own, from the interpreter of the resumed side.

    Args:
        answer: runs one.

    Attributes:
        overdue: number of trials that were ended at their time limit.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer, self._overdue = answer, 0

    def __call__(self, trial: Trial) -> TrialResult:
        if self._overdue > OVERDUE:
            return TrialResult(Outcome.UNRESOLVED, error="not run: trials before it reached their time limit")
        try:
            return TrialResult.from_dict(self._answer(trial.to_dict()))
        except SideStopped as stopped:
            self._overdue += stopped.overdue
            return TrialResult(Outcome.UNRESOLVED, error=str(stopped))


def _lines_tried(run_trial: Callable[[Trial], TrialResult], told: Described, base: Unit) -> TrialResult | None:
    """Run the advised lines in place of a transplant, where every cause has lines; else None."""
    causes = [cause for cause in told.causes if not cause.taken_from]
    if not causes or not all((cause.is_state or cause.restored) and cause.load for cause in causes):
        return None
    restored = {leaf for cause in causes for leaf in (*cause.leaves, *cause.restored)} - BEYOND
    taken = frozenset(leaf for cause in told.causes if cause.taken_from for leaf in cause.leaves)
    names = frozenset((*restored, *taken, *(name for name in base if name == LATE)))  # what is saved may lead to these
    return run_trial(Trial(names, lines=Explanation(told.causes, places=told.places).lines, beside=taken))


def _explained(
    session: Session,
    sides: Sides,
    run_trial: Callable[[Trial], TrialResult],
    found: SearchResult,
    candidates: tuple[LeafDifference, ...],
    confirmation: Confirmation,
    discrepancy: Discrepancy,
    late: Late | None,
) -> Explanation:
    """The causes, with their proof."""
    saved, loaded = sides.reference.at_save(sides.save_at), sides.resumed.loaded if late is None else late.state
    audited = audit(saved, loaded, sides, candidates, discrepancy.settings, discrepancy.set_by_load)
    describer = CauseDescriber(audited, sides, late)
    told = describer.described(found)
    causes_of_data = audited.data_sources if DATA in found.names else ()  # behind the cause, and no loss beside it
    ended = found.stopped == "interrupted"  # lines are tried where the budget of the search is used up
    tried = None if ended else _lines_tried(run_trial, told, found.base)
    if not ended and (tried is None or not tried.restores):
        plain = describer.described(found, plain=True)
        if Explanation(plain.causes).lines != Explanation(told.causes).lines:
            again = _lines_tried(run_trial, plain, found.base)
            in_time = tried is None and again is None and any(DATA in cause.leaves for cause in told.causes)
            if (tried is None or again is None or again.restores) and not in_time:
                told, tried = plain, again
    return Explanation(
        causes=told.causes,
        keys=describe_load_calls(sides.resumed.loading),
        proof=proof(
            found,
            sides.resumed_job.steps - sides.save_at,
            confirmation,
            fresh=not session.in_process,
            at_end=bool(discrepancy.at_end),
        ),
        proved=found.proved,
        confirmed=confirmation.same,
        confirmation_missing=confirmation.missing,
        lines_tried=tried,
        places=told.places,
        function=audited.function,
        draws=_draws(session, sides, discrepancy, candidates, found, audited.drawn_since_stored),
        other=found.other,
        harmless=tuple(path for path in found.harmless if path not in {*discrepancy.set_by_load, *causes_of_data}),
    )


def _draws(
    session: Session,
    sides: Sides,
    discrepancy: Discrepancy,
    candidates: tuple[LeafDifference, ...],
    found: SearchResult,
    stored: Mapping[str, int],
) -> tuple[str, ...]:
    """Who drew what the other run did not, where generators or data are behind it."""
    generators = generators_of(candidates, found.names)
    if not generators and not found.names & BEYOND:
        return ()
    return unmatched_draws(session, sides, max(discrepancy.divergence.step, sides.save_at), generators, stored)
