"""Minimise a set that heals: to one of which nothing can be left out. It knows nothing of tensors.

Items are anything hashable, and a test says True (heals), False, or None (no verdict, taken as False). Two methods:

- `quickxplain` (Junker, "QUICKXPLAIN: Preferred Explanations and Relaxations for Over-Constrained Problems", AAAI 2004)
  takes about 2·k·log2(n/k) + 2·k tests for k causes among n items, where more never heals less; what comes first is
  preferred. Log2(n) where the one cause is among the first.
- `ddmin` (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28, 2002) needs no such
  assumption, and up to n² + 3n tests. Used where the first method's answer does not hold.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)
Heals = Callable[[tuple[Item, ...]], bool | None]


def minimal(items: Sequence[Item], heals: Heals) -> tuple[Item, ...]:
    """A 1-minimal part of `items`, all of which together are known to heal, in their order.

    The answer is tested: it heals, and with any one left out it does not. Where it does (putting back more may do
    harm), delta debugging has the last word.
    """
    found = quickxplain(items, heals)
    without = (tuple(item for item in found if item is not one) for one in found)
    if heals(found) and not any(heals(rest) for rest in without):
        return found
    return ddmin(items, heals)


def quickxplain(items: Sequence[Item], heals: Heals) -> tuple[Item, ...]:
    """A minimal part that heals, if adding to a set that heals never spoils it."""
    order = {item: index for index, item in enumerate(items)}

    def within(kept: tuple, added: bool, rest: tuple) -> tuple:
        """What of `rest` is needed beside `kept`; `added` says that `kept` has grown and is to be tested."""
        if added and heals(kept):
            return ()
        if len(rest) == 1:
            return rest
        first, second = split(rest, 2)
        of_second = within((*kept, *first), True, second)
        of_first = within((*kept, *of_second), bool(of_second), first)
        return (*of_first, *of_second)

    return tuple(sorted(within((), False, tuple(items)), key=order.__getitem__)) if items else ()


def ddmin(items: Sequence[Item], heals: Heals) -> tuple[Item, ...]:
    """A 1-minimal part of `items`, whatever putting back more may do."""
    left, pieces = tuple(items), 2
    while len(left) > 1:
        parts = split(left, pieces)
        part = next((part for part in parts if heals(part)), None)
        if part is not None:
            left, pieces = part, 2
            continue
        # With two parts, each is the other's complement.
        others = (tuple(item for item in left if item not in part) for part in parts) if pieces > 2 else ()
        rest = next((rest for rest in others if heals(rest)), None)
        if rest is not None:
            left, pieces = rest, max(pieces - 1, 2)
        elif pieces < len(left):
            pieces = min(2 * pieces, len(left))
        else:
            break
    return left


def halved(items: Sequence[Item], heals: Heals) -> tuple[Item, ...]:
    """The smallest of repeated halves that heals: for many items of one kind, which mostly go together."""
    left = tuple(items)
    while len(left) > 1:
        part = next((part for part in split(left, 2) if heals(part)), None)
        if part is None:
            return left
        left = part
    return left


def split(items: tuple[Item, ...], pieces: int) -> list[tuple[Item, ...]]:
    """So many parts of nearly equal size, in order."""
    bounds = [len(items) * index // pieces for index in range(pieces + 1)]
    return [items[one:other] for one, other in pairwise(bounds) if other > one]
