"""How a part of the state came to differ, in words: what loading did to it, and where it is in the checkpoint."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from dora_repro.explain.audit.loaded import in_place_of
from dora_repro.explain.audit.lookup import SAVED, SaveStatus
from dora_repro.explain.audited import Audited
from dora_repro.explain.trials.search_result import OBJECT, Part
from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS, POSITION
from dora_repro.state.paths import few, names_inside, shared_parents
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import suspended

_MARKED = "a mark of the resume, set while loading: nothing is lost, but a step depends on it"
_ANOTHER = re.compile(r"(those|the values)(?: that| of) `([^`]*)`(?: had)?|(the same as) `([^`]*)`")
_SHAPES = re.compile(r"reshaped: \w+\[[\d, ]*\] became \w+\[[\d, ]*\]")


def how_lost(part: Part, audited: Audited) -> str:
    """What became of the leaves of a part while loading, and where they are in the file."""
    if part.leaves and all(path in audited.settings for path in part.leaves):
        return _set_otherwise(part, audited)
    if is_mark(part, audited):
        return _MARKED
    statuses = [audited.save.leaves[path] for path in part.leaves if path in audited.save.leaves]
    if part.role != OBJECT:
        loaded = in_one(audited.load.get(path, "") for path in part.leaves)
    elif part.name.endswith("/*"):
        loaded = _objects(part, audited)
        statuses = [status for status in statuses if status.status != SAVED] or statuses
    else:
        loaded = _object(part.name, audited)
    in_file = in_one(_in_file(audited.shown(status), len(statuses) == 1) for status in statuses)
    return "; ".join(words for words in (loaded, in_file) if words)


def how_beyond(name: str, audited: Audited) -> str:
    """What is behind a part that is no leaf; empty for one that is.

    Args:
        name: of the part: batches, draws, iterators or the place in the epoch.
        audited: the two states.
    """
    if name == ITERATORS:
        held = suspended(audited.saved, audited.saved.uncaptured)
        # no file holds them, and no load makes them
        return ", ".join(f"`{path}` ({what})" for path, what in held.items()) + ": started anew, or not at all"
    if name == DATA and audited.loaders:
        sources = audited.data_sources
        differ = f"; their sources differ right after loading: {few(sources)}" if sources else ""
        return f"the loader returned other batches{differ}"
    if name == DATA:
        return "the run took other batches"
    if name == POSITION:
        return "the epoch began anew, from its first batch"
    return "generators had another state at the beginning of a step" if name == DRAWS else ""


def is_mark(part: Part, audited: Audited) -> bool:
    """Whether a part only marks a resume."""
    return bool(part.leaves) and audited.marks.issuperset(part.leaves)


def _set_otherwise(part: Part, audited: Audited) -> str:
    """What was told or set otherwise, and where its value in the reference is in the file, if it is."""
    settings = [audited.settings[path] for path in part.leaves]
    words = ", ".join(dict.fromkeys(setting.words for setting in settings))
    in_file = (path for path in part.leaves if audited.save.in_file(path))
    keys = [str(audited.shown(audited.save.leaves[path])) for path in in_file]
    return words + (f"; {keys[0]}" if len(keys) == len(part.leaves) == 1 else "")


def _object(path: str, audited: Audited) -> str:
    """What became of one object."""
    form, there = audited.saved.forms.get(path), audited.loaded.forms.get(path)
    if form is not None and there is not None and there.name != form.name:
        keys = there.with_keys.removeprefix(there.name) != form.with_keys.removeprefix(form.name)
        return in_place_of(*((there.with_keys, form.with_keys) if keys else (there.name, form.name)))
    what = form.name.rpartition(".")[2] if form is not None else "generator"
    return f"the {what} is lost, with all that it holds"


def _objects(part: Part, audited: Audited) -> str:
    """What became of many objects in one place."""
    holder = part.name.removesuffix("/*")
    paths = [f"{holder}/{name}" for name in names_inside(part.leaves, holder)]
    lost = [path for path in paths if not audited.loaded.has(path)]
    forms = [audited.saved.forms.get(_first_name(path, audited.saved)) for path in lost or paths]
    kinds = dict.fromkeys(form.name.rpartition(".")[2] if form is not None else "generator" for form in forms)
    if not lost or len(lost) == len(paths):
        return f"{len(forms)} objects ({', '.join(kinds)}) are lost, with all that they hold"
    others = "the other has other values" if len(paths) == len(lost) + 1 else "the others have other values"
    return f"{len(lost)} of {len(paths)} objects ({', '.join(kinds)}) are lost, {others}"


def _first_name(path: str, saved: Snapshot) -> str:
    """The path by which an object is known that has several."""
    leaf = saved.get(path)
    return str(leaf.value).removeprefix("= ") if leaf is not None and leaf.role == "alias" else path


def _in_file(status: SaveStatus, alone: bool) -> str:
    """Where a leaf is in the file; for several leaves without the keys, which differ for each."""
    if alone:
        return str(status)
    return "in the checkpoint" if status.status == SAVED else str(replace(status, near=""))


def in_one(words: Iterable[str]) -> str:
    """What is said of several leaves, said once: the same words once; different ones with how often each occurs."""
    count = Counter(word for word in words if word)
    if len(count) <= 1:
        return next(iter(count), "")
    alike = Counter(_of_others(word) for word in count.elements())
    if len(alike) == 1:
        return _of_one_object(count) or next(iter(alike))
    if all(map(_SHAPES.fullmatch, count)):
        return f"{count.most_common(1)[0][0]}, the others likewise"
    return ", ".join(f"{word} ({number})" for word, number in alike.most_common(3))


def _of_one_object(words: Iterable[str]) -> str:
    """What is the same in words that each name another leaf, with the object that these lie in; empty where there is
    none that they share."""
    found = [match for word in words for match in _ANOTHER.finditer(word)]
    owner = shared_parents(match[2] or match[4] for match in found)
    if not owner:
        return ""
    return _ANOTHER.sub(lambda found: f"{found[1] or f'{found[3]} a leaf'} of `{owner}`", found[0].string)


def _of_others(words: str) -> str:
    """The same without the name of another leaf, where it is a different one for each of several."""
    return _ANOTHER.sub(lambda found: f"{found[1]} of another leaf" if found[1] else f"{found[3]} another leaf", words)
