"""What a search found, in words: what became of each part, the lines that would have kept it, the proof."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from dora_repro.difference import LeafDifference
from dora_repro.explain.advice.advice import Advice, advise, closed_over, loaders_of
from dora_repro.explain.advice.checkpoint_keys import Rereading
from dora_repro.explain.advice.libraries import told
from dora_repro.explain.audit.loaded import audit_load
from dora_repro.explain.audit.lookup import SAVED, Kept
from dora_repro.explain.audit.saved import audit_save
from dora_repro.explain.explanation import Cause, TrialTold
from dora_repro.explain.trials.search import Found, Part
from dora_repro.explain.trials.trial import BEYOND, CONTROL, DATA, DRAWS, ITERATORS, Outcome, Trial
from dora_repro.sides.evidence import Sides
from dora_repro.state.paths import ends, pattern
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import suspended
from dora_repro.wording import counted

_BEYOND = {DATA: "other batches were handed out", DRAWS: "generators stood elsewhere at the beginning of a step"}
_SHOWN = 3  # leaves
_PUT_BACK = {DATA: "the batches", DRAWS: "the draws", ITERATORS: "the iterators"}


class Telling:
    """Tells causes, with what the audits of saving and of loading say of them.

    Args:
        saved: the reference's state at the save; loaded: the resumed run's after loading.
        differences: of the two.
    """

    def __init__(self, saved: Snapshot, loaded: Snapshot, sides: Sides, differences: tuple[LeafDifference, ...]):
        self._saved = saved
        load = sides.resumed_job.load
        alone = load.is_file() and len(list(load.parent.iterdir())) == 1
        self._in_file = audit_save(saved, load if alone else load.parent)
        self._reread = Rereading(self._in_file, saved, load, alone)
        self._after_loading = audit_load(saved, loaded, differences)
        self._libraries = sides.reference.libraries
        self._of_the_data = tuple(_of_loaders(saved, differences))

    def causes(self, found: Found) -> tuple[Cause, ...]:
        return tuple(self._cause(part) for part in found.parts)

    def _cause(self, part: Part) -> Cause:
        in_file = all(self._in_file.in_file(path) for path in part.leaves)
        how, reread = self._how(part), self._reread if in_file else None
        mended = self._closed_over(part) or advise(
            part.name, part.leaves, part.role, self._saved, reread=reread, how=how
        )
        by_library = told(self._libraries, part.name, part.role, part.leaves)
        return Cause(
            name=part.name,
            leaves=part.leaves,
            role=part.role,
            how=self._beyond(part.name) or how,
            necessary=part.necessary,
            without=part.without,
            alone=part.alone,
            save=mended.save,
            load=mended.load,
            file=mended.file,
            advice=tuple(filter(None, (mended.sentence, *mended.further, *self._in_time(part.name), *by_library))),
        )

    def _closed_over(self, part: Part) -> Advice | None:
        """Advice on variables that a function closes over; None for all else."""
        function = part.leaves[0].rpartition("/")[0]
        name = self._saved.get(f"{function}/name")
        if name is None or not any(mark in str(name.value) for mark in ("<locals>", "<lambda>")):
            return None
        return closed_over(function, (leaf.removeprefix(f"{function}/") for leaf in part.leaves))

    def _beyond(self, name: str) -> str:
        """What is behind a cause that is no leaf; empty for one that is."""
        if name == ITERATORS:
            return self._half_done()
        if name == DATA and self._of_the_data:
            return f"{_BEYOND[DATA]}; right after loading differs what they are made of: {_few(self._of_the_data)}"
        return _BEYOND.get(name, "")

    def _in_time(self, name: str) -> Iterator[str]:
        if name == DATA and self._of_the_data:
            it = _few(self._of_the_data)
            yield f"Restore {it} before an iterator is made of the loader: what is drawn by then stays as it is."

    def _half_done(self) -> str:
        """What of the reference no file holds and no load made anew: iterators and generators, where they stood."""
        held = suspended(self._saved, self._saved.uncaptured)
        return ", ".join(f"`{path}` ({what})" for path, what in held.items()) + ": begun anew, or not at all"

    def _how(self, part: Part) -> str:
        """What became of its leaves while loading, and where they are in the file."""
        loaded = _counted(self._after_loading.get(path, "") for path in part.leaves)
        kept = [self._in_file.leaves[path] for path in part.leaves if path in self._in_file.leaves]
        return "; ".join(words for words in (loaded, _counted(_filed(one, len(kept) == 1) for one in kept)) if words)


def _of_loaders(saved: Snapshot, differences: Iterable[LeafDifference]) -> Iterator[str]:
    """What differs inside a loader, or in what it reads: an order that was drawn from it is not put back with it."""
    inside = tuple(f"{path}/" for path in loaders_of(saved))
    tied = (leaf for path, leaf in saved.items() if leaf.role == "alias" and path.startswith(inside))
    elsewhere = {str(leaf.value).removeprefix("= ") for leaf in tied}
    for found in differences:
        if found.path.startswith(inside) or found.role == "data" or found.path in elsewhere:
            yield found.path


def _filed(kept: Kept, alone: bool) -> str:
    """Where a leaf is in the file; of several leaves without the keys, which are others for each."""
    return "in the checkpoint" if kept.status == SAVED and not alone else str(kept)


def _counted(words: Iterable[str]) -> str:
    """The same words once; of several, how often each."""
    count = Counter(word for word in words if word)
    if len(count) <= 1:
        return next(iter(count), "")
    return ", ".join(f"{number} {word}" for word, number in count.most_common(3))


def trial_told(trial: Trial, outcome: Outcome, found: Found) -> TrialTold:
    """A trial, in words."""
    if CONTROL in trial.names:
        did = "nothing, in a run that did the steps up to the save itself"
        return TrialTold(did, 0, outcome, "does what the resumed run did")
    return TrialTold(_put_back(trial, found), len(trial.names), outcome)


def _put_back(trial: Trial, found: Found) -> str:
    everything = frozenset(leaf for leaves in found.candidates.values() for leaf in leaves)
    put = trial.names - BEYOND
    missing = everything - put
    words = [words for name, words in _PUT_BACK.items() if name in trial.names]
    if put and not missing and len(everything) > 1:
        words.insert(0, "all that was lost")
    elif put and len(missing) < len(put):
        words.insert(0, f"all but {_few(missing)}" if missing else _few(put))
    elif put:
        words.insert(0, _few(put))
    return " and ".join(words) or "nothing"


def _few(paths: Iterable[str], limit: int = 3) -> str:
    """Paths by their patterns, the first few."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths):
        kinds.setdefault(ends(path), []).append(path)
    words = [pattern(inside) for inside in kinds.values()]
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {counted(more, 'more kind')}" if more > 0 else "")


def proof(found: Found, left: int, confirmed: bool | None, missing: Mapping[str, str] | None = None) -> str:
    """One sentence: what putting the set back came to.

    Args:
        found: what the search found.
        left: number of steps that remained after the save.
        confirmed: whether a fresh process did the same; None where it did not finish.
        missing: leaves that could not be put back in that process, with the reason.
    """
    steps = f"the remaining {left} steps identical" if left > 1 else "the remaining step identical" if left else ""
    steps = steps or "the state identical"
    alone = "these" if len(found.names) > 1 else "this"
    words = [f"Restoring {alone} alone makes {steps}"]
    necessary = [part.necessary for part in found.parts]
    if all(necessary):
        each = "leaving any one of them out" if len(found.parts) > 1 else "restoring everything else"
        words.append(f"{each} does not")
    elif False in necessary:
        words.append("so does another set")
    return f"{'; '.join(words)}{_confirmation(confirmed, missing or {})}."


def _confirmation(confirmed: bool | None, missing: Mapping[str, str]) -> str:
    """Whether a fresh process confirmed it, with the leaves that could not be put back there; empty where it did not
    finish."""
    if confirmed is None:
        return ""
    words = "confirmed in a fresh process" if confirmed else "but not in a fresh process"
    reasons = [f"`{path}` could not be put back: {reason}" for path, reason in missing.items()]
    more = f", and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return f" ({words}{', where ' if reasons else ''}{', '.join(reasons[:_SHOWN])}{more})"
