"""From two sides that differ to why: a search is set up, what it found is confirmed in a fresh process and told."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dora_repro.difference import LeafDifference
from dora_repro.explain.audit.loaded import keys_told
from dora_repro.explain.causes import Telling, proof, trial_told
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.logs.compared import draws_told, generators_of, operator_told, unsteady_operator, up_to
from dora_repro.explain.logs.determinism import steadied
from dora_repro.explain.trials.search import Found, Search
from dora_repro.explain.trials.trial import BEYOND, CONTROL, DATA, DRAWS, ITERATORS, Outcome, Trial
from dora_repro.explain.trials.worker import Setting
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job, Transplant
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import stand_alike, suspended
from dora_repro.trace import first_divergence
from dora_repro.wording import counted

BENCH = "dora_repro.explain.trials.worker:bench"
RESTARTS = 2  # of an interpreter that a trial has taken down


@dataclass(frozen=True)
class Difference:
    """What is to be explained.

    Attributes:
        step, phase, leaf: of the first difference; empty phase where all effects are equal.
        lost: what differs right after loading.
        changed: what `save()` changed, where that is the first difference.
        at_end: leaves that are lost at the end, where the steps alone do not tell.
        noise: leaves that differ between any two runs.
        raised: whether the resumed side raised.
    """

    step: int
    phase: str
    leaf: str
    lost: tuple[LeafDifference, ...]
    changed: tuple[LeafDifference, ...] = ()
    at_end: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    raised: bool = False


def explain(session: Session, sides: Sides, donor: Evidence, difference: Difference) -> Explanation:
    """Why the resumed side differs from the reference.

    Args:
        donor: the reference, repeated, with what it was fed.

    Raises:
        SideStopped: never; a trial that takes its interpreter down is no verdict.
    """
    begun = time.perf_counter()
    if difference.changed:
        made = _changed_by_saving(difference)
    elif sides.resumed.loaded_or_none is None:
        made = _raised_while_loading(sides.resumed)
    else:
        made = _searched(session, sides, donor, difference)
    return replace(made, seconds=time.perf_counter() - begun)


def explain_unsteady(session: Session, job: Job, step: int) -> Explanation:
    """Where a side that was repeated did something else: the operator that did, and what held still makes it come
    again."""
    begun = time.perf_counter()
    operator = unsteady_operator(session, job, step)
    held = steadied(session, up_to(job, step))
    look_at = (held,) if held else ()
    if not operator and not held:
        look_at = ("it did not come again when every operator was logged", *_OUTSIDE)
    return Explanation(
        unexplained="the run itself is not deterministic",
        look_at=look_at,
        operator=operator,
        seconds=time.perf_counter() - begun,
    )


def _changed_by_saving(difference: Difference) -> Explanation:
    names: dict[str, list[LeafDifference]] = {}
    for change in difference.changed:
        names.setdefault(change.path, []).append(change)
    causes = tuple(Cause(path, (path,), changes[0].role, "changed by save() itself") for path, changes in names.items())
    proof = "The state was captured before and after save(): save() changed it in the run that goes on."
    return Explanation(causes, proof, proved=True)


def _raised_while_loading(resumed: Evidence) -> Explanation:
    error = resumed.failure["error"] if resumed.failure else "no state after loading"
    cause = Cause("run/exception", ("run/exception",), "", error)
    return Explanation((cause,), "The resumed side raised before its state could be looked at.", proved=True)


# --- the search ------------------------------------------------------------------------------------------------------


def _searched(session: Session, sides: Sides, donor: Evidence, difference: Difference) -> Explanation:
    saved, loaded = sides.reference.at_save(sides.save_at), sides.resumed.loaded
    iterators = tuple(suspended(saved, saved.uncaptured))
    candidates = tuple(_candidates(difference, saved, iterators))
    streams = donor.streams if donor.streams.exists() else None
    setting = Setting(
        load=str(sides.resumed_job.load),
        start=sides.save_at,
        steps=sides.resumed_job.steps,
        reference=str(sides.reference.folder),
        resumed=str(sides.resumed.folder),
        saved=str(donor.folder / f"save-{sides.save_at}" / "before.pt"),
        streams=str(streams) if streams else None,
        threads=sides.resumed_job.threads,
        at_end=difference.at_end,
        raised=difference.raised,
    )
    session.expect(2)  # one for the trials, and one to confirm what they find
    with ExitStack() as stack:
        ask = _Asking(session, setting, stack)
        roles = {path: leaf.role for path, leaf in saved.items()}
        others = bool(iterators) and not stand_alike(saved, loaded)
        resettable = not suspended(loaded, loaded.uncaptured)
        found = Search(ask, candidates, roles, difference.phase, streams is not None, others, resettable).run()
        explained = Explanation(Telling(saved, loaded, sides, candidates).causes(found))
        tried = None
        if not found.stopped and _can_be_tried(explained):
            tried = ask(Trial(frozenset(explained.leaves), lines=explained.lines))
    trials = tuple(trial_told(trial, outcome, found) for trial, outcome in found.trials)
    told = {"trials": trials, "steps": sum(outcome.steps for _, outcome in found.trials), "stopped": found.stopped}
    if not found.parts:
        return Explanation(**told, **_unexplained(session, sides, setting, found, difference))
    confirmed, missing = _confirmed(session, sides, setting, found, difference.at_end)
    return replace(
        explained,
        keys=keys_told(sides.resumed.loading),
        proof=proof(found, sides.resumed_job.steps - sides.save_at, confirmed, missing),
        proved=found.proved,
        confirmed=confirmed,
        confirmation_missing=missing,
        lines_tried=tried,
        other=found.other,
        draws=_draws(session, sides, difference, candidates, found),
        harmless=found.harmless,
        **told,
    )


def _can_be_tried(explained: Explanation) -> bool:
    """Whether the advised lines are all that it takes, as far as lines go."""
    return bool(explained.causes) and all(cause.is_state and cause.load for cause in explained.causes)


def _candidates(difference: Difference, saved: Snapshot, iterators: tuple[str, ...]) -> Iterator[LeafDifference]:
    """What differs after loading, but for noise, and for what has the reference's own iterators in its place: these
    cannot be put back by path."""
    inside = tuple(f"{path}/" for path in iterators)
    for found in difference.lost:
        gone = found.path in iterators or (found.kind == "missing" and found.path.startswith(inside))
        if found.path not in difference.noise and not gone and found.path not in saved.uncaptured:
            yield found


class _Asking:
    """Puts trials to an interpreter; one that dies is followed by another, a few times."""

    def __init__(self, session: Session, setting: Setting, stack: ExitStack):
        self._session, self._about, self._stack = session, asdict(setting), stack
        self._ask: Callable[[dict], dict] | None = None
        self._stopped = 0

    def __call__(self, trial: Trial) -> Outcome:
        if self._stopped > RESTARTS:
            return Outcome(None, error="no further interpreter was started")
        try:
            if self._ask is None:
                self._ask = self._stack.enter_context(self._session.answering(BENCH, self._about))
            answer = self._ask(trial.to_dict())
        except SideStopped as stopped:
            self._stopped += 1
            self._ask = None
            self._stack.close()
            return Outcome(None, error=str(stopped))
        return Outcome.from_dict(answer)


def _confirmed(
    session: Session, sides: Sides, setting: Setting, found: Found, at_end: tuple[str, ...]
) -> tuple[bool | None, dict[str, str]]:
    """Whether a fresh process, with the set put back, does what the reference did; and what could not be put back."""
    names = found.names
    given = Transplant(
        Path(setting.saved),
        tuple(sorted(names - BEYOND)),
        Path(setting.streams) if setting.streams else None,
        DATA in names,
        DRAWS in names,
        sides.resumed.folder / "load.pt" if ITERATORS in names else None,
    )
    job: Job = replace(sides.resumed_job, saves=(), values=(), transplant=given)
    try:
        again = session.repeat("resumed, with the cause put back", job)
    except SideStopped:
        return None, {}
    missing = {path: reason for path, reason in again.result["not_transplanted"].items() if path in names}
    if again.failure is not None or first_divergence(sides.reference.trace, again.trace, sides.save_at) is not None:
        return False, missing
    return _equal(again.end, sides.reference.end, at_end), missing


def _equal(one: Snapshot, other: Snapshot, paths: tuple[str, ...]) -> bool:
    digests = ([snapshot[path].digest if path in snapshot else None for path in paths] for snapshot in (one, other))
    return next(digests) == next(digests)


# --- beyond the state ------------------------------------------------------------------------------------------------


def _draws(
    session: Session, sides: Sides, difference: Difference, candidates: tuple[LeafDifference, ...], found: Found
) -> tuple[str, ...]:
    """Who drew what the other run did not, where generators or data are behind it."""
    generators = generators_of(candidates, found.names)
    if not generators and not found.names & BEYOND:
        return ()
    return draws_told(session, sides, max(difference.step, sides.save_at), generators)


def _unexplained(
    session: Session, sides: Sides, setting: Setting, found: Found, difference: Difference
) -> dict[str, object]:
    if found.stopped:
        return {"unexplained": f"the search was stopped ({found.stopped}) before a set that heals was found"}
    if not found.reproduced:
        return {
            "unexplained": "the resumed run does not differ when it is resumed once more in another interpreter: "
            "what differs lies outside its state",
            "look_at": _OUTSIDE,
        }
    furthest = max((outcome.first[0] for _, outcome in found.trials if outcome.first), default=difference.step)
    ruled_out = [f"ruled out: all {counted(len(difference.lost), 'leaf')} that differ after loading, put back together"]
    if any(DATA in trial.names for trial, _ in found.trials):
        ruled_out.append("ruled out: the reference's batches, and its generators at the beginning of each step")
    if any(CONTROL in trial.names and outcome.heals is False for trial, outcome in found.trials):
        ruled_out.append(
            "a run that did the steps up to the save itself goes another way than the resumed one, even with all of "
            "its state: something that load() changes is no state"
        )
    elif any(ITERATORS in trial.names for trial, _ in found.trials):
        ruled_out.append("ruled out: the reference's iterators, with all else put back around them")
    if furthest > difference.step:
        ruled_out.append(f"with them the runs agree up to step {furthest - 1}")
    step = max(furthest, difference.step)
    if keys := keys_told(sides.resumed.loading):
        ruled_out = [*keys, *ruled_out]
    everything = tuple(sorted(leaf for leaves in found.candidates.values() for leaf in leaves))
    draws = draws_told(session, sides, step, ())
    operator = operator_told(session, sides, step, Transplant(Path(setting.saved), everything))
    return {
        "unexplained": "no captured state explains it",
        "look_at": tuple(ruled_out) if operator or draws else (*ruled_out, *_OUTSIDE),
        "draws": draws,
        "operator": operator,
    }


_OUTSIDE = (
    "look at what is no state of the run: time and dates, the order of sets (PYTHONHASHSEED), environment variables, "
    "thread counts, files read at start, module globals, other processes and services",
)
