"""Variables of a script that only the resumed process has: the checkpoint that it read, and what it took out of it.

They stay where a function left them, and what an optimizer took over of the checkpoint changes in there with each step.
They are nothing that was lost: what the script goes on to work with has a name of its own.
"""

from collections.abc import Container, Iterable, Iterator

from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.module_variables import PREFIX
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


def _variable(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _is_none(path: str, leaf: SavedLeaf) -> bool:
    """Whether a variable has nothing in it."""
    return leaf.kept and leaf.value is None and path.count("/") == 1
