"""The coarsest thing that was lost and can be saved by one line: an object with a state_dict, a container, its entries.

A dict is saved whole where most of it was lost; of one that is mostly as it was, such as a configuration with paths in
it, only the entries that were lost.
"""

import inspect
import types
from collections.abc import Iterable

import torch
from torch.optim.lr_scheduler import LRScheduler

from dora_repro.explain.advice.lost_state import LostState
from dora_repro.state.making import NotRestorable, named

_MAPPINGS = ("dict", "OrderedDict", "collections.Counter", "collections.defaultdict")


def class_at(lost: LostState, path: str) -> type | None:
    """The class of the object at a path; None where that is not known."""
    form = lost.forms.get(path)
    if form is None:
        return None
    try:
        kind = named(form.name.partition("(")[0])
    except NotRestorable:
        return None
    return kind if isinstance(kind, type) else None


def has_state_dict(lost: LostState, path: str) -> bool:
    """Whether the object at a path has state_dict() and load_state_dict(); a module's hold no plain values."""
    kind = class_at(lost, path)
    if kind is None or issubclass(kind, torch.nn.Module):
        return False
    return all(callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict"))


def owner_with_state_dict(lost: LostState) -> str:
    """The path of the innermost such object that all leaves lie in; empty where there is none."""
    at = lost.first
    while at := at.rpartition("/")[0]:
        if has_state_dict(lost, at):
            return at if _all_inside(lost, at) else ""
    return ""


def schedule_around(lost: LostState) -> str:
    """The path of the outermost schedule that all leaves lie in: its state_dict has the state of those that it holds,
    as SequentialLR's has. Empty where there is none."""
    parts = lost.first.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    kinds = ((at, class_at(lost, at)) for at in above)
    at = next((at for at, kind in kinds if kind is not None and issubclass(kind, LRScheduler)), "")
    return at if at and _all_inside(lost, at) else ""


def _all_inside(lost: LostState, at: str) -> bool:
    return all(path.startswith(f"{at}/") for path in lost.paths)


def lost_entries(lost: LostState, holder: str) -> list[str]:
    """The paths of the entries of a dict that the leaves lie in, where most of the dict is as it was; empty where the
    dict is to be saved whole, or where it is not known what else was lost."""
    if lost.loaded is None or holder not in lost.kinds or lost.kinds[holder].name not in _MAPPINGS:
        return []
    every, differing = set(), set()
    for path in lost.saved:
        if path.startswith(f"{holder}/"):
            entry = _entry(path, holder)
            every.add(entry)
            if _is_lost(lost, path):
                differing.add(entry)
    if 2 * len(differing) > len(every):
        return []
    return list(dict.fromkeys(_entry(path, holder) for path in lost.paths))


def not_assignable(lost: LostState, paths: Iterable[str]) -> dict[str, str]:
    """Path -> what its name is in the object's class, of those that no line can assign: methods, properties without a
    setter."""
    found = {}
    for path in paths:
        owner, _, name = path.rpartition("/")
        kind = class_at(lost, owner) if owner else None
        if kind is None or owner in lost.kinds:
            continue
        own = inspect.getattr_static(kind, name, None)
        if isinstance(own, (types.FunctionType, classmethod, staticmethod)):
            found[path] = f"a method of {kind.__name__}"
        elif isinstance(own, property) and own.fset is None:
            found[path] = f"a property of {kind.__name__} that cannot be set"
    return found


def _entry(path: str, holder: str) -> str:
    return f"{holder}/{path.removeprefix(f'{holder}/').partition('/')[0]}"


def _is_lost(lost: LostState, path: str) -> bool:
    theirs = lost.loaded.get(path) if lost.loaded is not None else None
    return theirs is None or theirs.digest != lost.saved[path].digest
