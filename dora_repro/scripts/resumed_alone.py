"""Variables of a script that only one of two processes has, since each goes its own way before the first step.

The resumed one has the checkpoint that it read, and what it took out of it. They stay where a function left them, and
what an optimizer took over of the checkpoint changes in there with each step. They are nothing that was lost: what the
script goes on to work with has a name of its own.

The other has what it alone built anew from, as the configuration of an adapter that the resumed one reads. A variable
that a function does not have is none that it goes on to work with: that would raise.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot


def only_resumed(
    paths: Iterable[str], saved: Snapshot, end: Snapshot, loaded: Snapshot, named: Container[str]
) -> Iterator[str]:
    """The paths among some that belong to a variable which the uninterrupted run has nothing in.

    Args:
        paths: of leaves that differ.
        saved: the uninterrupted run at the step that the resumed one goes on from.
        end: the same at its end.
        loaded: the resumed one before its first step.
        named: what the script named itself, and is no function's variable.
    """
    theirs = {_variable(path) for each in (saved, end) for path, leaf in each.items() if not _is_none(path, leaf)}
    given = {_variable(path) for path in loaded}  # what is set later is no mark of a resume
    alone = given - theirs
    for path in paths:
        variable = _variable(path)
        function, inside, _ = variable.partition("/")
        if variable in alone and inside and function not in named and not function.startswith((PREFIX, "rng", "flags")):
            yield path


def only_uninterrupted(
    paths: Iterable[str], start: Mapping[str, bytes], saved: Snapshot, end: Snapshot, loaded: Snapshot, ended: Snapshot
) -> Iterator[str]:
    """The paths among some that belong to a variable which the resumed process lacks, and that no step changed.

    Args:
        paths: of leaves that differ.
        start: digests of the uninterrupted run's memory before its first step.
        saved: its state at the step that the resumed one goes on from.
        end: the same at its end.
        loaded: the resumed process before its first step.
        ended: the same at its end.
    """
    theirs = {_variable(path) for each in (loaded, ended) for path in each}

    def is_alone(path: str) -> bool:
        function, _, inside = _variable(path).partition("/")
        both = all(each.kinds.get(function, NO_KIND).name == VARIABLES for each in (saved, loaded))
        return bool(inside) and both and _variable(path) not in theirs

    for path in paths:
        leaf = saved.leaf(path)
        if leaf is None or path not in end or end[path].digest != leaf.digest:
            continue
        if leaf.role == "alias" and is_alone(str(leaf.value).removeprefix("= ")):
            if path not in loaded and loaded.has(path):  # by its other name, which is the only one there
                yield path
        elif start.get(path) == leaf.digest and is_alone(path):
            yield path


def _variable(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _is_none(path: str, leaf: SavedLeaf) -> bool:
    """Whether a variable has nothing in it."""
    return leaf.kept and leaf.value is None and path.count("/") == 1
