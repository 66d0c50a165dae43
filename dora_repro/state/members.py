"""How a walk reads what has members without places: sets of objects, and weak references, alone and in containers.

A member that the run holds elsewhere as well is named by that: `active/layers.0` is another name of `layers/0`. A
member of a set that is nowhere else is named by its number, in the order of what the members hold: neither an address
nor the order of a set is the same in two processes. All are met last, when everything else has its name. A weak
reference to what no name leads to is listed: when that is gone, garbage collection decides.
"""

import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from dora_repro.contracts import Value
from dora_repro.state.assign import Setter
from dora_repro.state.attributes import type_name
from dora_repro.state.digest import is_plain
from dora_repro.state.keys import key_text
from dora_repro.state.walker import Reader, Walker

MAX_MEMBERS = 1000  # of a set of objects; each is read to find its place among the others
NOT_HELD = "what it refers to is held by nothing else in the run"


def read_members(walker: Walker, value: Collection[Value], path: str, hold: Setter, role: str) -> None:
    """A set of objects."""
    base: Any = set if isinstance(value, set) else frozenset
    if len(value) > MAX_MEMBERS:
        walker.result.uncaptured[path] = f"{type_name(value)} of {len(value)} items"
    else:
        walker.later(partial(_meet_members, walker, value, list(base.__iter__(value)), path, role))


def read_weak_set(walker: Walker, value: "weakref.WeakSet[Any]", path: str, hold: Setter, role: str) -> None:
    walker.later(lambda: _meet_members(walker, value, list(value), path, role, alone=False))


def _meet_members(
    walker: Walker, value: Any, members: Iterable[Value], path: str, role: str, *, alone: bool = True
) -> None:
    """Visit the members of a set; where not `alone`, those with another name only."""
    others = []
    for member in members:
        at = walker.path_of(member)
        if at is None:
            others.append(member)
        else:
            walker.visit(member, f"{path}/{_as_name(at)}", walker.setter(_replace, value, member), role)
    if not alone:
        _list_others(walker, path, value, len(others))
        return
    for index, member in enumerate(sorted(others, key=walker.content_of)):
        put = walker.setter(_replace, value, member) if isinstance(value, set) else None
        walker.visit(member, f"{path}/{index}", put, role)


def _as_name(path: str) -> str:
    return path.replace("/", ".")


def _replace(members: Any, member: Value, other: Value) -> None:
    members.discard(member)
    members.add(other)


def _list_others(walker: Walker, path: str, value: Value, count: int) -> None:
    if count:
        walker.result.uncaptured[path] = f"{type_name(value)}, {count} of its items: {NOT_HELD}"


def read_weak_keys(
    walker: Walker, value: "weakref.WeakKeyDictionary[Any, Value]", path: str, hold: Setter, role: str
) -> None:
    """What it has under objects that the run holds by another name."""
    walker.later(partial(_meet_weak_keys, walker, value, path, role))


def _meet_weak_keys(walker: Walker, value: Any, path: str, role: str) -> None:
    others = 0
    for key, item in list(value.items()):
        at = walker.path_of(key)
        if at is None:
            others += 1
        else:
            walker.result.keyed.setdefault(path, {})[_as_name(at)] = at
            walker.visit(item, f"{path}/{_as_name(at)}", walker.setter(value.__setitem__, key), role)
    _list_others(walker, path, value, others)


def read_weak_values(
    walker: Walker, value: "weakref.WeakValueDictionary[Any, Any]", path: str, hold: Setter, role: str
) -> None:
    """Which of the objects that the run holds by another name it has under a key."""
    walker.later(partial(_meet_weak_values, walker, value, path, role))


def _meet_weak_values(walker: Walker, value: Any, path: str, role: str) -> None:
    others = 0
    for key, item in list(value.items()):
        if walker.path_of(item) is None:
            others += 1
        else:
            walker.visit(item, f"{path}/{key_text(key)}", walker.setter(value.__setitem__, key), role)
    _list_others(walker, path, value, others)


def read_weak_reference(
    walker: Walker, value: "weakref.ReferenceType[Any]", path: str, hold: Setter, role: str
) -> None:
    """The object that it refers to, as another name of that."""
    walker.later(partial(_meet_reference, walker, value, path, hold, role))


def _meet_reference(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    target = value()
    if target is None or type(value) is not weakref.ReferenceType or walker.path_of(target) is None:
        walker.result.uncaptured[path] = type_name(value)
        return
    put = None if hold is None else partial(_refer_to, value.__callback__, hold)
    walker.visit(target, path, put, role)


def _refer_to(callback: Callable[[Any], object] | None, hold: Callable[[Any], object], target: Value) -> None:
    hold(weakref.ref(target, callback))


# --- members put back -------------------------------------------------------------------------------------------------


def in_order_again(objects: Mapping[str, Value], changed: Iterable[str]) -> None:
    """Have sets find their members again, after what these hold was changed in place: that may be what they are found
    by.

    Args:
        objects: path -> live object.
        changed: paths of leaves that were set.
    """
    above = {"/".join(parts[:end]) for path in changed for parts in [path.split("/")] for end in range(1, len(parts))}
    for path in above:
        held = objects.get(path)
        if isinstance(held, set) and not is_plain(held):
            members = list(set.__iter__(held))
            held.clear()
            held.update(members)


READERS: tuple[tuple[type, Reader], ...] = (
    (weakref.WeakKeyDictionary, read_weak_keys),
    (weakref.WeakValueDictionary, read_weak_values),
    (weakref.WeakSet, read_weak_set),
    (weakref.ReferenceType, read_weak_reference),
)
