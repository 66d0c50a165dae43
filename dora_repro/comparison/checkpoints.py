"""Two checkpoint files or folders beside each other: moments by name, generators in draws, structure, checkpoint by
checkpoint where they are runs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dora_repro.checkpoint.reading import Leaves
from dora_repro.comparison.generators import together
from dora_repro.comparison.moments import names_of_moments, renaming
from dora_repro.comparison.structure import listed, order_notes, structural_differences
from dora_repro.comparison.unreadable import is_below
from dora_repro.difference import LeafDifference
from dora_repro.state.paths import select
from dora_repro.wording import counted


def named_alike(first: Leaves, second: Leaves) -> tuple[Leaves, Leaves]:
    """Two checkpoints, with what their optimizers keep by the names of parameters that both agree on."""
    known = names_of_moments(first), names_of_moments(second)
    agreed = {
        path: named.names
        for path, named in known[0].items()
        if named.names and path in known[1] and known[1][path].names == named.names
    }
    if not agreed:
        return first, second
    one, other = (side.renamed(renaming(side, agreed)) for side in (first, second))
    hows = {path: known[0][path].how or known[1][path].how for path in agreed}
    one.about.how_named = {path: how for path, how in hows.items() if how}
    return one, other


@dataclass(frozen=True)
class Beside:
    """Two checkpoints, compared.

    Attributes:
        compared: paths.
        differences: of these, and of how the files are put together.
        notes: what else there is to say, a sentence each.
    """

    compared: tuple[str, ...]
    differences: tuple[LeafDifference, ...]
    notes: tuple[str, ...]


def unpaired(first: Leaves, second: Leaves) -> dict[str, LeafDifference]:
    """Of two runs, the checkpoints that only one has: the first part of their leaves' paths -> a difference."""
    if first.about.run is None or second.about.run is None or first.about.run[0] != second.about.run[0]:
        return {}
    unit, numbers, others = first.about.run[0], set(first.about.run[1]), set(second.about.run[1])
    found = {}
    for number in sorted(numbers ^ others):
        side = first if number in numbers else second
        above = f"{unit}{number}"
        size = counted(sum(path.startswith(f"{above}/") for path in side), "leaf")
        found[above] = (
            LeafDifference(above, "missing", expected=size)
            if number in numbers
            else LeafDifference(above, "unexpected", actual=size)
        )
    return found


def as_checkpoints(
    first: Leaves,
    second: Leaves,
    paths: list[str],
    differences: Iterable[LeafDifference],
    only: tuple[str, ...],
    ignore: tuple[str, ...],
) -> Beside:
    """What the comparison of two checkpoints' leaves says beyond each leaf.

    Args:
        first: the expected side, as `named_alike` gives it.
        second: the actual side, likewise.
        paths: that were compared.
        differences: of these.
        only: globs that chose the paths.
        ignore: globs of those that were left out.
    """
    compared, by_path = together(first, second, paths, {each.path: each for each in differences})
    alone = unpaired(first, second)
    structural = structural_differences(first.about, second.about, [*by_path, *alone])
    chosen = set(select(only, [each.path for each in structural]))
    chosen -= set(select(ignore, [each.path for each in structural]))
    torn = {*first.about.unread, *second.about.unread}
    structural = [each for each in structural if not is_below(each.path, torn)]
    found = [each for each in structural if each.path in chosen and each.path.partition("/")[0] not in alone]
    places = {path: place for place, path in enumerate(compared)}
    ordered = sorted(by_path.values(), key=lambda each: places.get(each.path, len(places)))
    every = (*ordered, *alone.values(), *found)
    return Beside((*compared, *alone), every, tuple(_notes(first, second, every)))


def _notes(first: Leaves, second: Leaves, differences: tuple[LeafDifference, ...]) -> list[str]:
    notes = order_notes(first.about, second.about)
    if differences and first.about.run is not None and second.about.run is not None:
        torn = {*first.about.unread, *second.about.unread}
        notes += _first_that_differs(first.about.run, second.about.run[1], differences, torn)
    hows: dict[str, list[str]] = {}
    for path in first.about.optimizers:
        above = f"{path}/state/" if path else "state/"
        names = [each.path[len(above) :].partition("/")[0] for each in differences if each.path.startswith(above)]
        if names and path in first.about.how_named:
            hows.setdefault(f"named {first.about.how_named[path]}", []).append(path or "optimizer")
        elif names and all(name.isdigit() for name in names):
            hows.setdefault("numbered; no names that both sides agree on are known", []).append(path or "optimizer")
    return notes + [f"{listed(paths)}: parameters are {how}" for how, paths in hows.items()]


def _first_that_differs(
    run: tuple[str, tuple[int, ...]],
    others: tuple[int, ...],
    differences: tuple[LeafDifference, ...],
    torn: Collection[str],
) -> list[str]:
    unit, numbers = run
    wrong = {each.path.partition("/")[0] for each in differences}
    unsure = {file.partition("/")[0] for file in torn}
    both = [number for number in numbers if number in others]
    different = [number for number in both if f"{unit}{number}" in wrong]
    equal = ", ".join(str(number) for number in both if number not in different and f"{unit}{number}" not in unsure)
    if not different:
        return [f"equal: {unit} {equal}"] if equal else []
    return [f"{unit} {different[0]} is the first that differs" + (f"; equal: {unit} {equal}" if equal else "")]
