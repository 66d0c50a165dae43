"""Where no lost state restores exact resume: what was ruled out, who drew, and which operator differs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dora_repro.difference import LeafDifference
from dora_repro.explain.audit.load_calls import describe_load_calls
from dora_repro.explain.explanation import Explanation
from dora_repro.explain.logs.compared import differing_operator, unmatched_draws
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.setup import TrialSetup
from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, Outcome
from dora_repro.recording.replay import Streams
from dora_repro.sides.evidence import Sides
from dora_repro.sides.job import Transplant
from dora_repro.sides.places import SAVE
from dora_repro.sides.session import Session
from dora_repro.state.holders import ADDRESSES, IN_USE, LARGE
from dora_repro.state.members import NOT_HELD
from dora_repro.state.module_variables import CACHE
from dora_repro.state.rebuild import VARIABLES
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Divergence
from dora_repro.wording import counted

OUTSIDE = (
    "look at what is no state of the run: time and dates, the order of sets (PYTHONHASHSEED), environment variables, "
    "thread counts, files read at start, module globals, other processes and services"
)
NOT_READ = (IN_USE, ADDRESSES, LARGE, NOT_HELD)
_ELSEWHERE = (
    "not ruled out: the batches, which another thread reads ahead from a loader. It hands them over by other ways than "
    "a queue, a future or a pool, so the reference's could not be put in their place"
)
_SHOWN = 3  # leaves


def unexplained(
    session: Session,
    sides: Sides,
    setup: TrialSetup,
    found: SearchResult,
    divergence: Divergence,
    lost: Sequence[LeafDifference],
    beside: Mapping[str, Iterable[str]],
) -> Explanation:
    """Say why nothing was found, and look beyond the state: at draws and operators.

    Args:
        session: runs both sides once more, with logs.
        sides: the reference and the resumed side.
        setup: what the trials had in common.
        found: what the search found: no set.
        divergence: the first difference that the report names.
        lost: what differs right after loading.
        beside: what may be among it that is no loss, in words -> paths.
    """
    if found.stopped:
        return Explanation(
            unexplained=f"the search was stopped ({found.stopped}) before a set that restores exact resume was found"
        )
    if not found.reproduced:
        again = "" if session.in_process else " in another process"
        return Explanation(
            unexplained=f"resumed once more{again}, the run does not differ: what differs lies outside its state",
            look_at=(OUTSIDE,),
        )
    reached = [result.divergence.step for _, result in found.trials if result.divergence]
    step = max(divergence.step, *reached) if reached else divergence.step
    elsewhere = setup.streams is not None and Streams.read(Path(setup.streams)).elsewhere
    read = read_before(found, sides)
    look_at = [
        *describe_load_calls(sides.resumed.loading),
        *ruled_out(found, lost, beside, elsewhere=elsewhere, read=read),
    ]
    saved = sides.reference.at_save(sides.save_at)
    look_at += [*used_before(found, saved), *caches(saved), *not_looked_into(saved)]
    if step > divergence.step:
        look_at.append(f"with them the runs agree up to step {step - 1}")
    everything, missing = tuple(sorted(_candidates(found))), _named(_not_put_back(found), found)
    draws = unmatched_draws(session, sides, step, ())
    operator = differing_operator(session, sides, step, Transplant(Path(setup.saved), everything))
    why = f"lost, and could not be put back: {missing}" if missing else "no captured state explains it"
    if read and not missing:
        why = f"lost, and read before it was put back: {_listed(read)}"
    return Explanation(
        unexplained=why,
        look_at=tuple(look_at) if operator or draws else (*look_at, OUTSIDE),
        draws=draws,
        operator=operator,
    )


def read_before(found: SearchResult, sides: Sides) -> tuple[str, ...]:
    """Variables among what was put back that the statement in which their function waits had read by then."""
    places = {path: sides.reference.place(f"{SAVE} {path.rpartition('/')[0]}") for path in sorted(_candidates(found))}
    return tuple(path for path, at in places.items() if at is not None and path.rpartition("/")[2] in at.read)


def used_before(found: SearchResult, saved: Snapshot) -> Iterator[str]:
    """Functions that are the whole run, and that had gone on from loading when their variables were put back."""
    roots = dict.fromkeys(path.partition("/")[0] for path in sorted(_candidates(found)))
    for root in roots:
        if root in saved.kinds and saved.kinds[root].name == VARIABLES:
            yield (
                f"not ruled out: what `{root}()` had done with its variables before they were put back, where it waits "
                "for the next forward pass of a module in training mode: layers that it froze, what a part in eval "
                "mode had computed"
            )


def caches(saved: Snapshot) -> Iterator[str]:
    """What the run holds in functions that remember what they returned: nothing can say what that is."""
    held = [path for path, what in saved.uncaptured.items() if what == CACHE]
    if held:
        yield (
            f"`{'`, `'.join(held[:_SHOWN])}`: holds a cache that cannot be looked into, and that no file holds. Where "
            "what it remembers was drawn, or how much it does counts, keep it in a dict of the run, save it and load it"
        )


def not_looked_into(saved: Snapshot) -> Iterator[str]:
    """What holds state for other code and was not read, each with the reason."""
    held = [(path, what) for path, what in saved.uncaptured.items() if what.endswith(NOT_READ)]
    if held:
        listed = ", ".join(f"`{path}` ({what})" for path, what in held[:_SHOWN])
        more = f", and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        yield f"not looked into, and so not ruled out: {listed}{more}"


def ruled_out(
    found: SearchResult,
    lost: Sequence[LeafDifference],
    beside: Mapping[str, Iterable[str]],
    *,
    elsewhere: bool = False,
    drawing: str = "at the beginning of each step",
    read: Sequence[str] = (),
) -> list[str]:
    """What the trials ruled out, a sentence each: only what was really put back, in a trial that gave a result.

    Args:
        found: what the search found: no set.
        lost: what differs right after loading.
        beside: what may be among it that is no loss, in words -> paths.
        elsewhere: whether another thread read batches of the reference's, and was not seen to hand them over.
        drawing: at which moments generators were put back, in words.
        read: what a statement had read before it was put back.
    """
    sentences = _state_ruled_out(found, lost, beside, read)
    different = [trial.names for trial, result in found.trials if result.outcome is Outcome.DIFFERENT]
    if any({DATA, DRAWS} <= names for names in different):
        what = "the reference's generators" if elsewhere else "the reference's batches, and its generators"
        sentences.append(f"ruled out: {what} {drawing}")
    if elsewhere:
        sentences.append(_ELSEWHERE)
    if any(CONTROL in names for names in different):
        sentences.append(
            "a run that did the steps up to the save itself differs from the resumed one, even with all of its state: "
            "something that load() changes is no state"
        )
    elif any(ITERATORS in names for names in different):
        sentences.append("ruled out: the reference's iterators, with all else put back around them")
    return sentences


def _state_ruled_out(
    found: SearchResult, lost: Sequence[LeafDifference], beside: Mapping[str, Iterable[str]], read: Sequence[str]
) -> list[str]:
    """Which of the lost leaves were put back without effect, and which could not be put back."""
    everything = _candidates(found)
    results = [result for trial, result in found.trials if everything <= trial.names]
    if not everything or not results:
        return []
    failed = _not_put_back(found)
    without = {*failed, *read}
    whole = len(everything) == len(lost) and not without
    number = "all" if whole else f"{len(everything) - len(without)} of"
    leaves = f"{number} {counted(len(lost), 'leaf')} that differ after loading"
    put_back = "put back together"
    if len(lost) == 1 and not read:
        leaves, put_back = "the one leaf that differs after loading", "put back"
    if any(result.outcome is Outcome.DIFFERENT for result in results):
        others = _others((each.path for each in lost if each.path not in everything), beside)
        sentences = [f"ruled out: {leaves}, {put_back}{others}"] if len(without) < len(everything) else []
    else:
        sentences = [f"not ruled out: with {leaves} {put_back}, the trial did not finish: {results[0].error}"]
    if read:
        sentences.append(
            f"not ruled out, since the statement that waits had read it before it was put back: {_listed(read)}"
        )
    if failed:
        sentences.append(f"not ruled out, since it is lost and could not be put back: {_named(failed, found)}")
    return sentences


def _others(paths: Iterable[str], beside: Mapping[str, Iterable[str]]) -> str:
    """What the leaves are that differ and were not put back; those that could not be are named in a sentence."""
    by_reason = {words: frozenset(given) for words, given in beside.items()}
    kinds = Counter(next((words for words, given in by_reason.items() if path in given), "others") for path in paths)
    listed = ", ".join(f"{words} ({count:,})" for words, count in kinds.items())
    return f"; not put back: {listed}" if listed else ""


def _not_put_back(found: SearchResult) -> dict[str, str]:
    """path -> reason, of the leaves that no trial with all that was lost could put back."""
    everything = _candidates(found)
    results = [result for trial, result in found.trials if everything <= trial.names]
    return {path: reason for result in results for path, reason in result.failed.items()}


def _listed(paths: Sequence[str]) -> str:
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(f"`{path}`" for path in paths[:_SHOWN]) + more


def _named(failed: Mapping[str, str], found: SearchResult) -> str:
    """What could not be put back with the reasons, objects as a whole; empty where there is nothing."""
    by_object: dict[str, str] = {}
    for path, reason in failed.items():
        by_object.setdefault(found.objects.get(path, path), reason)
    some = ", ".join(f"`{path}` ({reason})" for path, reason in list(by_object.items())[:_SHOWN])
    return some + (f", and {len(by_object) - _SHOWN} more" if len(by_object) > _SHOWN else "")


def _candidates(found: SearchResult) -> frozenset[str]:
    return frozenset(leaf for leaves in found.candidates.values() for leaf in leaves)
