"""Minimise a set that restores a run: to one of which nothing can be left out. It knows nothing of tensors.

Items are anything hashable, and a test says whether a part of them restores the run (False where a trial is
unresolved). Two methods:

- `quickxplain` (Junker, "QUICKXPLAIN: Preferred Explanations and Relaxations for Over-Constrained Problems", AAAI 2004)
  takes about 2·k·log2(n/k) + 2·k tests for k causes among n items, where putting back more never does harm; what comes
  first is preferred. Log2(n) where the one cause is among the first.
- `ddmin` (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28, 2002) needs no such
  assumption, and up to n² + 3n tests. Used where the first method's answer does not hold.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)
Restores = Callable[[tuple[Item, ...]], bool]


def minimal(items: Sequence[Item], restores: Restores[Item]) -> tuple[Item, ...]:
    """A 1-minimal part of `items`, all of which together are known to restore the run, in their order.

    The answer is tested: it restores the run, and with any one left out it does not. Where that fails (putting back
    more may do harm), delta debugging has the last word.
    """
    found = quickxplain(items, restores)
    without = (tuple(item for item in found if item is not one) for one in found)
    if restores(found) and not any(restores(rest) for rest in without):
        return found
    return ddmin(items, restores)


def quickxplain(items: Sequence[Item], restores: Restores[Item]) -> tuple[Item, ...]:
    """A minimal part that restores the run, if adding to a set that does never spoils it."""
    order = {item: index for index, item in enumerate(items)}

    def within(base: tuple[Item, ...], grown: bool, rest: tuple[Item, ...]) -> tuple[Item, ...]:
        """The items of `rest` that are needed beside `base`, which is tested first where it has grown."""
        if grown and restores(base):
            return ()
        if len(rest) == 1:
            return rest
        first, second = split(rest, 2)
        of_second = within((*base, *first), True, second)
        of_first = within((*base, *of_second), bool(of_second), first)
        return (*of_first, *of_second)

    return tuple(sorted(within((), False, tuple(items)), key=order.__getitem__)) if items else ()


def ddmin(items: Sequence[Item], restores: Restores[Item]) -> tuple[Item, ...]:
    """A 1-minimal part of `items`, whatever putting back more may do."""
    left, pieces = tuple(items), 2
    while len(left) > 1:
        parts = split(left, pieces)
        part = next((part for part in parts if restores(part)), None)
        if part is not None:
            left, pieces = part, 2
            continue
        # With two parts, each is the other's complement.
        others = (tuple(item for item in left if item not in part) for part in parts) if pieces > 2 else ()
        rest = next((rest for rest in others if restores(rest)), None)
        if rest is not None:
            left, pieces = rest, max(pieces - 1, 2)
        elif pieces < len(left):
            pieces = min(2 * pieces, len(left))
        else:
            break
    return left


def halved(items: Sequence[Item], restores: Restores[Item]) -> tuple[Item, ...]:
    """The smallest of repeated halves that restores the run: for many items of one kind, which mostly go together."""
    left = tuple(items)
    while len(left) > 1:
        part = next((part for part in split(left, 2) if restores(part)), None)
        if part is None:
            return left
        left = part
    return left


def split(items: tuple[Item, ...], pieces: int) -> list[tuple[Item, ...]]:
    """`pieces` parts of nearly equal size, in order; empty ones are left out."""
    bounds = [len(items) * index // pieces for index in range(pieces + 1)]
    return [items[one:other] for one, other in pairwise(bounds) if other > one]
