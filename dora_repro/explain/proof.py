"""The trials of a search, in words, and the sentence that they prove."""

from dora_repro.explain.confirmation import Confirmation
from dora_repro.explain.explanation import TrialRecord
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.trial import (
    BEYOND,
    CONTROL,
    DATA,
    DRAWS,
    ITERATORS,
    PASSED,
    POSITION,
    Trial,
    TrialResult,
)
from dora_repro.state.paths import few
from dora_repro.wording import counted

_PUT_BACK = {DATA: "the batches", DRAWS: "the draws", ITERATORS: "the iterators", POSITION: "the place in the epoch"}
_SHOWN = 3  # leaves


def describe_trial(trial: Trial, result: TrialResult, found: SearchResult) -> TrialRecord:
    """A trial, in words."""
    if CONTROL in trial.names:
        did = "nothing, in a run that did the steps up to the save itself"
        return TrialRecord(did, 0, result, "does what the resumed run did")
    return TrialRecord(_put_back(trial, found), len(trial.names.difference(found.base)), result)


def _put_back(trial: Trial, found: SearchResult) -> str:
    everything = frozenset(leaf for leaves in found.candidates.values() for leaf in leaves)
    put = trial.names - BEYOND
    missing = everything - put
    words = [words for name, words in _PUT_BACK.items() if name in trial.names.difference(found.base)]
    if put and not missing and len(everything) > 1:
        words.insert(0, "all that was lost")
    elif put and len(missing) < len(put):
        words.insert(0, f"all but {few(missing)}" if missing else few(put))
    elif put:
        words.insert(0, few(put))
    return " and ".join(words) or "nothing"


def proof(
    found: SearchResult, steps: int, confirmation: Confirmation, *, fresh: bool = True, at_end: bool = False
) -> str:
    """One sentence: what came of putting the set back.

    Args:
        found: what the search found.
        steps: number of steps that remained after the save.
        confirmation: what a fresh process did.
        fresh: whether it was one; else the process of all the trials.
        at_end: whether the steps were the same without it, and the state at their end was not.
    """
    remaining = "the state"
    if at_end and steps:
        remaining = "the state at the end"
    elif steps:
        remaining = "the remaining step" if steps == 1 else f"the remaining {counted(steps, 'step')}"
    alone = "these" if len(found.names - {PASSED}) > 1 else "this"
    words = [f"Restoring {alone} alone makes {remaining} identical"]
    necessary = [part.necessary for part in found.parts]
    if all(necessary):
        each = "leaving any one of them out" if len(found.parts) > 1 else "restoring everything else"
        words.append(f"{each} does not")
    elif False in necessary:
        words.append("so does another set")
    return f"{'; '.join(words)}{_confirmed(confirmation, fresh)}."


def _confirmed(confirmation: Confirmation, fresh: bool) -> str:
    """Whether a fresh process confirmed the set, with the leaves that could not be put back there; empty where it did
    not finish."""
    if confirmation.same is None:
        return ""
    where = "in a fresh process" if fresh else "once more in the one process that all trials shared"
    words = f"confirmed {where}" if confirmation.same else f"but not {where}"
    reasons = [f"`{path}` could not be put back: {reason}" for path, reason in confirmation.missing.items()]
    if not reasons:
        return f" ({words})"
    more = f", and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return f" ({words}, where {', '.join(reasons[:_SHOWN])}{more})"
