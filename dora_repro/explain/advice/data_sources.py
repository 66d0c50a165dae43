"""Lines for what batches are made of, where that differs: what a sampler, a dataset or a collating object holds.

It is put back before the loader's iterator is made. An iterator that is there already has drawn from what was there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from dora_repro.difference import LeafDifference
from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.lost_state import Advice, LostState, of_each
from dora_repro.explain.advice.position import loaders_of
from dora_repro.explain.advice.rng_and_flags import generator_lines
from dora_repro.explain.advice.values import value_lines
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import SavedLeaf, Snapshot

_SOURCES = ("memory", "data", "generator")


def source_lines(
    sources: Iterable[str],
    saved: Snapshot,
    loaded: Mapping[str, SavedLeaf],
    loader: str,
    reaches: Callable[[str], bool],
) -> Advice | None:
    """Advise to save what differs of a loader's sources, and to put it back before its iterator is made; None where
    that is not all plain values and tensors that a line can name.

    Args:
        sources: paths of what differs.
        saved: the reference's state at the save.
        loaded: the resumed run's after loading.
        loader: path of the loader.
        reaches: whether a line of the user's can name what is at a path.
    """
    paths = tuple(sources)
    known = (path in saved and saved[path].role in _SOURCES and reaches(path) for path in paths)
    if not paths or not all(known) or not any(saved[path].role != "generator" for path in paths):
        return None
    if not all(saved[path].kept for path in paths):
        return None  # samples, which no checkpoint should hold
    found = of_each(_of_one, LostState(paths, saved, saved.kinds, loaded=loaded), lambda path: _holder(saved, path))
    if not found.load:
        return None
    before = f"  # before iter({expressions.code(loader, saved.kinds)})"
    return Advice(found.save, tuple(f"{line}{before}" for line in found.load))


def differing_sources(saved: Snapshot, differences: Iterable[LeafDifference]) -> Iterator[str]:
    """What differs inside a loader, or in what it reads: an order that was drawn from it is not put back with it.

    Args:
        saved: the reference's state at the save.
        differences: of it and of the resumed run's after loading.
    """
    inside = tuple(f"{path}/" for path in loaders_of(saved))
    tied = (leaf for path, leaf in saved.items() if leaf.role == "alias" and path.startswith(inside))
    elsewhere = {str(leaf.value).removeprefix("= ") for leaf in tied}
    within = tuple(f"{path}/" for path in elsewhere)  # a sampler that the run holds as well
    for difference in differences:
        path, kept = difference.path, difference.role in ("memory", "generator")
        if path.startswith(inside) or difference.role == "data" or path in elsewhere:
            yield path
        elif kept and path.startswith(within):
            yield path


def _holder(saved: Snapshot, path: str) -> str:
    """What one line saves: the outermost of the lists and dicts that a leaf lies in, or the leaf itself."""
    at = path
    while (above := at.rpartition("/")[0]) and saved.kinds.get(above, NO_KIND).name not in ("", VARIABLES):
        at = above
    return at


def _of_one(lost: LostState) -> Advice:
    leaf = lost.saved[lost.first]
    if leaf.role == "generator":
        key = f"state[{expressions.quoted(expressions.without_functions(lost.first, lost.kinds))}]"
        get, put = generator_lines(lost.first, leaf.value, expressions.code(lost.first, lost.kinds), key)
        return Advice((f"{key} = {get}",), (put,))
    theirs = lost.loaded.get(lost.first) if lost.loaded is not None else None
    alike = theirs is not None and _form(theirs) == _form(leaf)
    lines = value_lines(LostState(lost.paths, lost.saved, lost.kinds, None, not alike, lost.loaded))
    return Advice(lines.save, lines.load)


def _form(leaf: SavedLeaf) -> tuple[object, ...]:
    """The type of a value, and its dtype and shape, without which nothing can be copied into it."""
    return type(leaf.value), getattr(leaf.value, "dtype", None), getattr(leaf.value, "shape", None)
