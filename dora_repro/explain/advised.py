"""What to add to save and load for one part of a cause: lines where there are any, else a sentence."""

from dataclasses import dataclass, replace

from dora_repro.explain.advice.advice import advise, in_function, not_saved
from dora_repro.explain.advice.configuration import resume_with, told_otherwise
from dora_repro.explain.advice.data_sources import source_lines
from dora_repro.explain.advice.functions import function_of_leaf
from dora_repro.explain.advice.held_by_code import held_by_code
from dora_repro.explain.advice.lost_state import Advice, LostState
from dora_repro.explain.advice.position import (
    AGAIN,
    drawing_workers,
    drawn_from,
    epoch_of_sampler,
    in_an_epoch,
    living_workers,
    other_data,
    place_in_the_data,
)
from dora_repro.explain.advice.reach import Reach
from dora_repro.explain.advice.units import has_state_dict
from dora_repro.explain.audit.lookup import SAVED, STALE
from dora_repro.explain.audited import Audited
from dora_repro.explain.trials.search_result import OBJECT, Part
from dora_repro.explain.trials.trial import DATA, ITERATORS
from dora_repro.state.frames import POSITION
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.torch_objects import LOADER_ITERATOR


@dataclass(frozen=True)
class Advised:
    """Advice on a part.

    Attributes:
        advice: lines, and what they do not say.
        restored: leaves besides the part's own that the lines restore.
    """

    advice: Advice
    restored: tuple[str, ...] = ()


def advised(part: Part, how: str, audited: Audited, reach: Reach, *, plain: bool, named: bool) -> Advised:
    """Advise on a part; no lines for what no line of the user's reaches.

    Args:
        part: of a cause.
        how: how it came to differ, in words.
        audited: the two states.
        reach: where lines of the user's reach.
        plain: advise on no more than the leaves.
        named: say which function the lines belong into, where a part has one.
    """
    found = _of_data(part.name, audited, reach, plain) if part.name in (DATA, ITERATORS) else None
    if found is None:
        found = Advised(_of_state(part, how, audited, plain=plain, named=named))
    lines = (*found.advice.save, *found.advice.load)
    out_of_reach = reach.advice(part.leaves, lines) if found.advice.load else None
    return found if out_of_reach is None else Advised(out_of_reach)


# --- data: what batches come from, and the position in it ------------------------------------------------------------


def _of_data(name: str, audited: Audited, reach: Reach, plain: bool) -> Advised:
    """Advice on other batches, or on iterators that stand elsewhere."""
    saved = audited.saved
    position = place_in_the_data(saved, saved.kinds, reach.reaches)
    if name == ITERATORS:
        return Advised(position)
    if told := epoch_of_sampler(audited.data_sources, saved, saved.kinds, by_a_loader=True):
        return Advised(told)
    if not plain and (lines := _of_sources(audited, reach)) is not None:
        return lines
    made_of = [path for path in audited.data_sources if path in saved and saved[path].role == "data"]
    if made_of:
        return Advised(other_data(made_of, saved.kinds))
    if told := epoch_of_sampler(audited.data_sources, saved, saved.kinds):
        return Advised(told)
    workers = living_workers(saved, saved.kinds, audited.keys, audited.save.of(SAVED))
    if workers is not None and not plain:
        return Advised(workers[0], workers[1:])
    drawing = drawing_workers(saved, saved.kinds)  # what restores the loader's generator was not enough
    if drawing is None:
        return Advised(_of_generators(audited, reach) or position)
    if not in_an_epoch(saved):
        return Advised(drawing)
    return Advised(replace(position, further=(*position.further, drawing.sentence)))


def _of_generators(audited: Audited, reach: Reach) -> Advice | None:
    """Words for generators alone, of a loader that has no state of its own; None where batches come from more."""
    saved, sources = audited.saved, audited.data_sources
    loader = next(iter(audited.loaders), "")
    alone = all(path in saved and saved[path].role == "generator" and reach.reaches(path) for path in sources)
    if not sources or not alone or has_state_dict(LostState((loader,), saved, saved.kinds), loader):
        return None
    status = audited.save.leaves.get(sources[0])
    earlier = status is not None and status.status == STALE and (status.draws or 0) < 0
    stored = audited.shown(status).keys[0] if status is not None and earlier and status.keys else ""
    return drawn_from(sources, saved, saved.kinds, stored)


def _of_sources(audited: Audited, reach: Reach) -> Advised | None:
    """Lines for what the batches are made of, with the leaves that they restore: none where an iterator is there when
    they would be tried. None where no lines do."""
    saved, sources, function = audited.saved, audited.data_sources, audited.function
    loader = next(iter(audited.loaders), "")
    advice = source_lines(sources, saved, audited.loaded, loader, reach.reaches)
    if advice is None:
        return None
    within = function or in_an_epoch(saved)  # a function waits in its loop, with a batch in hand
    place = f"In the middle of an epoch, the position is lost as well: {AGAIN}." if within else ""
    driven = f"{function}/{POSITION}" in saved
    held = not function and any(what.startswith(LOADER_ITERATOR) for what in audited.loaded.uncaptured.values())
    began = driven or held  # in a script the lines run where it reads the file
    return Advised(replace(advice, sentence=place), () if began else sources)


# --- state -----------------------------------------------------------------------------------------------------------


def _of_state(part: Part, how: str, audited: Audited, *, plain: bool, named: bool) -> Advice:
    """Advice on leaves, or on an object."""
    saved, loaded = audited.saved, audited.loaded
    if (advice := held_by_code(part, saved)) is not None:
        return advice
    in_file = all(audited.save.in_file(path) and audited.keys.reaches(path) for path in part.leaves)
    # What the file has was tried: then it is saved anew, but for moments, which loading by itself may have cast.
    anew = plain and part.role not in ("moment", "option")
    keys = audited.keys if in_file and not anew else None
    told = told_otherwise(part.leaves, audited.settings)
    if told and keys is None:
        return Advice(sentence=resume_with(told, audited.settings))
    paths, role = _paths_and_role(part, saved)
    if surplus := tuple(path for path in paths if path not in saved and role == "memory" and path in loaded):
        if surplus == paths:
            return not_saved(surplus)
        paths = tuple(path for path in paths if path not in surplus)
    advice = advise(part.name, paths, role, saved, keys=keys, how=how, loaded=loaded, plain=plain)
    if told:
        advice = replace(advice, further=(*advice.further, resume_with(told, audited.settings)))
    function = function_of_leaf(part.leaves[0], saved) if named else ""
    return in_function(advice, function) if function else advice


def _paths_and_role(part: Part, saved: Snapshot) -> tuple[tuple[str, ...], str]:
    """The leaves and the role to give advice for: an object as a whole, but for one in an optimizer's state; what was
    known by another name, as what it is."""
    roles = {saved[path].role for path in part.leaves if path in saved}
    if part.role == "alias" and len(roles) == 1:
        return part.leaves, roles.pop()
    if part.role != OBJECT:
        return part.leaves, part.role
    return (part.leaves, "moment") if roles == {"moment"} else ((part.name.removesuffix("/*"),), OBJECT)
