"""The order of a dict's keys, which `==` of two dicts does not see: told apart, and put back by moving keys.

An OrderedDict is its order: what `move_to_end` and `popitem` leave behind. Any dict has one, and code may go by it (a
cache that forgets its oldest entry). So orders are compared for all; what a difference counts is for others to judge.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dora_repro.state.forms import Formed, form_at

_SHOWN = 4  # keys on either side, in words


def differing_orders(expected: Formed, actual: Formed) -> Iterator[tuple[str, str, str]]:
    """(path, expected keys in words, actual keys in words) of dicts of one form whose common keys are in other orders.

    Keys that one of them lacks are differences of leaves.
    """
    for path in expected.forms.keys() & actual.forms.keys():
        one, other = form_at(expected, path), form_at(actual, path)
        if one is None or other is None or one != other or one.order == other.order:
            continue
        both = common(one.order, other.order)
        if both is not None:
            yield path, *_in_words(*both)


def common(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The keys that two orders share, as each has them; None where they are in the same order."""
    shared = set(one).intersection(other)
    first, second = ([key for key in keys if key in shared] for keys in (one, other))
    return None if first == second else (first, second)


def _in_words(one: list[str], other: list[str]) -> tuple[str, str]:
    """Both from the first key that differs on."""
    begin = next(index for index, (key, its) in enumerate(zip(one, other, strict=True)) if key != its)
    return _some(one, begin), _some(other, begin)


def _some(keys: list[str], begin: int) -> str:
    shown = keys[begin : begin + _SHOWN]
    return f"{'…, ' if begin else ''}{', '.join(shown)}{', …' if begin + len(shown) < len(keys) else ''}"


def goes_by_order(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether a dict is kept by the order of its keys, as what became of it shows: keys that it kept have moved, or
    those that went were its first ones, or its last.

    Args:
        before: its keys.
        after: its keys some steps later.
    """
    if common(before, after) is not None:
        return True
    kept = set(before).intersection(after)
    places = [index for index, key in enumerate(before) if key in kept]
    gone = len(before) - len(places)
    return bool(places and gone) and (places[0] == gone or places[-1] == len(places) - 1)


def reorder(held: Any, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Move the keys of a live dict to where they are in another; those that this lacks keep their order, at the end.

    Args:
        held: the dict.
        names: its keys as text in paths, in their order.
        wanted: the keys of the other.
    """
    base: Any = OrderedDict if isinstance(held, OrderedDict) else dict
    keys: Mapping[str, Any] = dict(zip(names, list(base.__iter__(held)), strict=True))
    places = {name: place for place, name in enumerate(wanted)}
    for name in sorted(keys, key=lambda name: places.get(name, len(places))):
        key = keys[name]
        if base is OrderedDict:
            OrderedDict.move_to_end(held, key)
        else:
            dict.__setitem__(held, key, dict.pop(held, key))


def put_in_place(held: Any, key: Any, later: Sequence[Any]) -> None:
    """Move the keys that stand after a new one in the dict that it is from behind it.

    Args:
        held: the dict, to whose end the key was added.
        key: the new key.
        later: keys that come after it, in their order; some may not be there.
    """
    base: Any = OrderedDict if isinstance(held, OrderedDict) else dict
    there = list(base.__iter__(held))
    behind = set(later)
    first = next((index for index, one in enumerate(there) if one in behind), None)
    if first is None:
        return
    for one in there[first:]:
        if one != key:
            if base is OrderedDict:
                OrderedDict.move_to_end(held, one)
            else:
                dict.__setitem__(held, one, dict.pop(held, one))
