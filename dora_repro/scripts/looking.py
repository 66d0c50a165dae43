"""Where a script's lost state is looked for: before its first training forward pass, and where a round of its loop
begins.

Before the pass all is there that training works with, and there it is put in as a rule. What the pass is given may have
been made since the round began, though, of something that was lost: then the round is where to look.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dora_repro.comparison.leaves import compare
from dora_repro.difference import LeafDifference
from dora_repro.explain.advice.position import loaders_of
from dora_repro.explain.candidates import Discrepancy, candidates_of, had_same_batches, only_resumed, phase_of
from dora_repro.explain.explanation import TrialRecord
from dora_repro.explain.proof import describe_trial
from dora_repro.explain.trials.beyond import Beyond
from dora_repro.explain.trials.components import by_object, by_optimizer
from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.scripts.calls import place
from dora_repro.scripts.trials import AtRound, ScriptTrials
from dora_repro.sides.evidence import Sides
from dora_repro.state.parameter_order import reordered
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import objects_lost
from dora_repro.trace import Divergence

ROUND = 2  # launches that it takes to meet a round of the loop: in the run, and in the resumed one
LINES = 2  # that are left for the advised lines: to write a checkpoint with them, and to resume from it
FEW = 3  # that a search takes at least, to be worth the round
_PLAIN = ("memory", "data")


@dataclass(frozen=True)
class Moment:
    """A moment of the resumed script at which state is put in.

    Attributes:
        run_trial: launches a trial.
        saved: the uninterrupted run's state at it.
        loaded: the resumed one's.
        discrepancy: what is to be explained, with what differs at it.
        words: which moment it is, where it is not the first training forward pass; else empty.
        objects: paths of objects that the resumed run lacks, and that can be put in whole.
    """

    run_trial: ScriptTrials
    saved: Snapshot
    loaded: Snapshot
    discrepancy: Discrepancy
    words: str = ""
    objects: tuple[str, ...] = ()


class Looked:
    """What was looked for, first in one place and then in another: before the first training forward pass, and where
    the round of the script's loop begins that follows the save.

    Args:
        sides: the uninterrupted side, and the resumed one.
        budget: largest number of launches; some are left for the advised lines.
        moment: before the pass.
        meet_round: as for `explain_script`.

    Attributes:
        search: the last one.
        found: what was found; where nothing was, before the pass.
        moment: that of the last search.
        trials: of all searches.
        used: number of launches.
    """

    def __init__(
        self, sides: Sides, budget: int, moment: Moment, meet_round: Callable[[Sequence[str]], AtRound | None]
    ):
        self._sides, self._budget, self._meet_round = sides, budget, meet_round
        self._before, self.moment = moment, moment
        self.found = SearchResult()
        self.trials: list[TrialRecord] = []
        self.used = 0

    def before_the_pass(self) -> bool:
        """Search there; whether anything was found."""
        self.found = self._searched(self._before)
        return bool(self.found.parts)

    def at_the_round(self, least: int) -> bool:
        """Search there, where it can be met, and as many launches as this are left for the search; whether anything
        was found."""
        left = self._budget - self.used
        if self.found.stopped or left < ROUND + LINES + least:
            return False
        at = self._meet_round(_with_their_like(objects_lost(self._before.saved, self._before.loaded)))
        self.used += ROUND
        further = None if at is None else self._searched(_at_round(self._before, at))
        if further is None or not further.parts:
            return False
        self.found = further
        return True

    def _searched(self, moment: Moment) -> SearchResult:
        self.moment = moment
        self.search = _search_of(moment, self._sides, self._budget - self.used - LINES)
        found = self.search.run()
        self.trials += [describe_trial(trial, result, found) for trial, result in found.trials]
        self.used += len(found.trials)
        return found


def is_made_before_the_pass(moment: Moment) -> bool:
    """Whether the first training forward pass is given what no loader gave: samples of a buffer, a batch with noise. It
    was made of something since the round began, and that may be what was lost."""
    anchor = moment.run_trial.anchor
    given = set(anchor.given) - set(anchor.in_hand)
    lost = candidates_of(moment.discrepancy, moment.saved, ())
    return any(each.path in moment.saved and moment.saved[each.path].digest.hex() in given for each in lost)


def _at_round(moment: Moment, at: AtRound) -> Moment:
    """The same at the beginning of a round: what the resumed run alone has there marks its resume."""
    saved, loaded = Snapshot.read(at.reference), Snapshot.read(at.resumed)
    lost = compare(saved, loaded).differences
    missing = [each.path for each in lost if each.kind == "missing"]
    alone = (
        each.path
        for each in lost
        if each.kind == "unexpected" and not any(path.startswith(f"{each.path}/") for path in missing)
    )  # an empty list is no mark where its entries are lost
    discrepancy = replace(moment.discrepancy, lost=lost, set_by_load=tuple({*moment.discrepancy.set_by_load, *alone}))
    where = place({"file": at.round.file, "line": at.round.line, "function": at.round.function})
    words = f"It was put in where the round of the loop begins that follows the save, at {where}."
    objects = () if at.objects is None else objects_lost(saved, loaded)
    return Moment(moment.run_trial.at(at), saved, loaded, discrepancy, words, objects)


def _search_of(moment: Moment, sides: Sides, budget: int) -> Search:
    saved, loaded, discrepancy = moment.saved, moment.loaded, moment.discrepancy
    candidates = tuple(candidates_of(discrepancy, saved, ()))
    anchor = moment.run_trial.anchor

    def among(digests: Sequence[str]) -> tuple[str, ...]:
        paths = (each.path for each in candidates if each.path in saved and each.role in _PLAIN)
        return tuple(path for path in paths if saved[path].digest.hex() in digests)

    return Search(
        moment.run_trial,
        Losses(
            candidates,
            {path: leaf.role for path, leaf in saved.items()},
            phase_of(sides, discrepancy),
            objects=moment.objects,
            given=among(anchor.given) if anchor.begun is None else (),
            marks={
                *discrepancy.set_by_load,
                *(setting.path for setting in discrepancy.settings),
                *(each.path for each in candidates if _has_no_value_yet(each, loaded)),
            },
            feeding={path for path in saved if path.startswith(_samplers(saved))},
            holder=by_optimizer,
            divided=by_object,
            frugal=True,
        ),
        Beyond(
            streams=moment.run_trial.feeds,
            in_hand=among(anchor.in_hand),
            draws_first=True,
            began_anew=moment.run_trial.used > 0 and _begins_with_other_batches(sides),
        ),
        surplus=tuple(only_resumed(discrepancy)),
        orders=reordered(saved, loaded),
        budget=max(1, budget),
    )


def _samplers(saved: Snapshot) -> tuple[str, ...]:
    """The paths of samplers of loaders, each with a slash."""
    at = [f"{loader}/{name}" for loader in loaders_of(saved) for name in ("sampler", "batch_sampler")]
    aliases = (leaf for path in at if (leaf := saved.leaf(path)) is not None and leaf.role == "alias")
    return tuple(f"{path}/" for path in (*at, *(str(leaf.value).removeprefix("= ") for leaf in aliases)))


def _begins_with_other_batches(sides: Sides) -> bool:
    """Whether the batches of the first resumed step are others, or none are known."""
    step = sides.save_at + 1
    return not had_same_batches(sides, Divergence(step, "batch", ""))


def _has_no_value_yet(difference: LeafDifference, loaded: Snapshot) -> bool:
    """Whether it is of a variable that the resumed run's functions have not set when training begins: as a rule they
    do before they use it."""
    variable = "/".join(difference.path.split("/")[:2])
    there = any(path == variable or path.startswith(f"{variable}/") for path in (*loaded, *loaded.kinds))
    return difference.kind == "missing" and difference.role not in ("moment", "generator") and not there


def _with_their_like(objects: Iterable[str]) -> tuple[str, ...]:
    """Objects, where one is the entry of a list all of its entries: more may be lost at another moment."""
    lists = (path.rpartition("/") for path in objects)
    return tuple(dict.fromkeys(f"{holder}/*" if name.isdigit() else f"{holder}/{name}" for holder, _, name in lists))
