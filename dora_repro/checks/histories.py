"""Histories: what only kept what it had and grew by the same entries on both sides, from different beginnings.

A list of losses, a text that lines are written to, a dict of losses by step, a count of the classes that were seen: the
resumed run has less of it, and no step read it. What was dropped or overwritten on the way is none, but for the oldest
entries of a bounded deque; and none is what loading changed, where both runs have an entry. Lines of text may be any: a
resumed run writes that it was resumed.
"""

import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dora_repro.comparison.leaves import compare_leaf
from dora_repro.contracts import Value
from dora_repro.state.digest import bytes_of, digest
from dora_repro.state.snapshot import Snapshot


@dataclass(frozen=True)
class Moments:
    """Both runs at the beginning and at the end.

    Attributes:
        saved: the reference at the save.
        end: the reference at the end.
        loaded: the resumed run after loading.
        ended: the resumed run at the end.
    """

    saved: Snapshot
    end: Snapshot
    loaded: Snapshot
    ended: Snapshot

    def __iter__(self) -> Iterator[Snapshot]:
        return iter((self.saved, self.end, self.loaded, self.ended))


def histories(paths: Iterable[str], moments: Moments, *, same_entries: bool) -> list[str]:
    """Which of the leaves that differ at the end are histories, or belong to one.

    Args:
        paths: of these leaves.
        moments: both runs.
        same_entries: whether both runs did the same steps, so that both histories grew by the same.
    """
    found, known = [], dict[str, bool]()
    for path in paths:
        holder = path.rpartition("/")[0]
        if holder not in known:
            known[holder] = same_entries and _is_history(holder, moments)
        if _only_grew(path, moments, same_entries) or known[holder]:
            found.append(path)
    return found


def _only_grew(path: str, moments: Moments, same_entries: bool) -> bool:
    """Whether a leaf is a history. Two of one length that nothing grew are none, but an order."""
    if path not in moments.end or moments.end[path].role == "structure":  # which parameters an optimizer steps
        return False
    before, after, other_before, other_after = (_entries_at(path, snapshot) for snapshot in moments)
    kind = type(after)
    if kind not in _ENTRIES:
        return False
    before, other_before, other_after = (
        _nothing_of(after) if one is _NOTHING else one for one in (before, other_before, other_after)
    )
    if not (type(before) is type(other_before) is type(other_after) is kind):
        return False
    if not _is_part(other_before, before):
        return False
    if kind is set:
        new = (after - before) | (other_after - other_before)
        return bool(new) and after == before | new and other_after == other_before | new
    every = before, after, other_before, other_after
    if _equal(before, after) and _equal(other_before, other_after) and 0 < len(before) == len(other_before):
        return False
    grew = len(after) > len(before), len(other_after) > len(other_before)
    if kind is not list and not all(grew):
        return False  # a text that stays as it is is a value
    if _starts(after, before) and _starts(other_after, other_before):
        return not same_entries or _equal(after[len(before) :], other_after[len(other_before) :])
    bound = _bound_of(path, moments.end)
    return same_entries and bound is not None and _passed_on(*every, bound)


class _Nothing:
    """In place of a leaf that is not there: of a history, one without entries."""


_NOTHING = _Nothing()
_ENTRIES = (list, str, bytes, set, np.ndarray, torch.Tensor)


def _nothing_of(entries: Any) -> Any:
    return set() if isinstance(entries, set) else entries[:0]


def _entries_at(path: str, snapshot: Snapshot) -> Any:
    """What a leaf holds, as something that can grow; None where it cannot."""
    if path not in snapshot:
        return None if snapshot.has(path) else _NOTHING  # a list of other things
    value = snapshot[path].value
    if path in snapshot.kinds and snapshot.kinds[path].name == "array.array":
        _, typecode, content = value
        return np.array(array.array(typecode, content))
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value if snapshot[path].role == "memory" and len(value.shape) > 0 else None
    return value


def _equal(one: Any, other: Any) -> bool:
    return compare_leaf("", one, other) is None


def _starts(entries: Any, first: Any) -> bool:
    return _equal(first, entries[: len(first)])


def _is_part(one: Any, other: Any) -> bool:
    """Whether one of two beginnings has the entries of the other in their order, and more or less: none was changed."""
    if isinstance(one, (str, bytes)):
        return True
    if isinstance(one, set):
        return not one - other or not other - one
    shorter, longer = sorted((_digests(one), _digests(other)), key=len)
    left = iter(longer)
    return all(entry in left for entry in shorter)


def _digests(entries: Any) -> list[bytes]:
    """What tells entries apart, texts left out."""
    if isinstance(entries, torch.Tensor):
        entries = bytes_of(entries).view(np.uint8).reshape(len(entries), entries[0].nbytes) if len(entries) else ()
    if isinstance(entries, np.ndarray):
        return [entry.tobytes() for entry in entries]
    return [digest(entry) for entry in entries if type(entry) is not str]


def _bound_of(path: str, snapshot: Snapshot) -> int | None:
    return snapshot.kinds[path].maxlen if path in snapshot.kinds else None


def _passed_on(before: Any, after: Any, other_before: Any, other_after: Any, bound: int) -> bool:
    """Whether the same entries were appended to both of two bounded deques, which let their oldest go."""
    return any(
        _equal((before + after[first:])[-bound:], after)
        and _equal((other_before + after[first:])[-bound:], other_after)
        for first in range(len(after))
    )


# --- a container of entries -------------------------------------------------------------------------------------------


def _is_history(path: str, moments: Moments) -> bool:
    """Whether a dict or list of small values is a history; a `Counter`, where both runs counted the same."""
    kinds = [snapshot.kinds.get(path) for snapshot in moments]
    name = next((kind.name for kind in kinds if kind is not None), "")
    every = [_small_values(path, snapshot) for snapshot in moments]
    if any(values is None for values in every):
        return False
    before, after, other_before, other_after = (values or {} for values in every)
    if name.endswith("Counter"):
        return _counted_alike(before, after, other_before, other_after)
    if name in ("list", "deque"):
        return _grew_alike(*(list(values.values()) for values in (before, after, other_before, other_after)))
    if name not in ("dict", "OrderedDict", "collections.defaultdict"):
        return False
    new = {key: value for key, value in after.items() if key not in before}
    other_new = {key: value for key, value in other_after.items() if key not in other_before}
    kept = all(_equal(after.get(key), value) for key, value in before.items())
    other_kept = all(_equal(other_after.get(key), value) for key, value in other_before.items())
    common = before.keys() & other_before.keys()
    changed = any(type(before[key]) is not str and not _equal(before[key], other_before[key]) for key in common)
    alike = (
        not changed
        and new.keys() == other_new.keys()
        and all(_equal(value, other_new[key]) for key, value in new.items())
    )
    return bool(new) and kept and other_kept and alike


def _small_values(path: str, snapshot: Snapshot) -> dict[str, Value] | None:
    """Name -> value of all that lies directly in a container; None where something else lies in it."""
    found: dict[str, Value] = {}
    for at, leaf in snapshot.items():
        if not at.startswith(f"{path}/"):
            continue
        name, value = at.removeprefix(f"{path}/"), leaf.value
        single = isinstance(value, torch.Tensor) and value.numel() == 1 and leaf.role == "memory"
        if "/" in name or not leaf.kept or not (single or isinstance(value, (int, float, str))) or leaf.role == "alias":
            return None
        found[name] = value
    return found


def _counted_alike(before: Any, after: Any, other_before: Any, other_after: Any) -> bool:
    names = {*before, *after, *other_before, *other_after}
    every = (*before.values(), *after.values(), *other_before.values(), *other_after.values())
    if not all(type(value) is int for value in every):
        return False
    counted = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    other = {name: other_after.get(name, 0) - other_before.get(name, 0) for name in names}
    grew = counted == other and min(counted.values()) >= 0 and any(counted.values())
    apart = [before.get(name, 0) - other_before.get(name, 0) for name in names]
    return grew and (min(apart) >= 0 or max(apart) <= 0)  # what loading changed up and down is no loss


def _grew_alike(before: list[Value], after: list[Value], other_before: list[Value], other_after: list[Value]) -> bool:
    if len(after) <= len(before) or len(after) - len(before) != len(other_after) - len(other_before):
        return False
    if not _is_part(other_before, before):
        return False
    pairs = [*zip(before, after, strict=False), *zip(other_before, other_after, strict=False)]
    new = zip(after[len(before) :], other_after[len(other_before) :], strict=True)
    return all(_equal(one, other) for one, other in (*pairs, *new))
