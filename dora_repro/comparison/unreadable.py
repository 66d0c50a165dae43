"""Files of two folders that cannot be read: the others are compared, and these are named with the reason."""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from dora_repro.checkpoint.reading import Leaves
from dora_repro.contracts import Value
from dora_repro.difference import LeafDifference
from dora_repro.errors import BadInput
from dora_repro.state.paths import select

T = TypeVar("T")


def value_in(side: Mapping[str, Value], path: str, otherwise: T) -> Value | T:
    """A leaf's value, or `otherwise` where there is none, or where its file turns out not to be readable.

    Raises:
        BadInput: it cannot be read, and is in no folder whose other files are compared.
    """
    try:
        return side.get(path, otherwise)
    except BadInput as error:
        if not isinstance(side, Leaves):
            raise
        side.leave_out(path, error)
        return otherwise


def unread(first: Mapping[str, Value], second: Mapping[str, Value], ignore: Iterable[str]) -> list[LeafDifference]:
    """A difference for each file that could not be read on one side or on both, but for those that are left out."""
    one, other = (side.about.unread if isinstance(side, Leaves) else {} for side in (first, second))
    names = sorted({*one, *other})
    out = set(select(ignore, names))
    return [
        LeafDifference(name, "unreadable", one.get(name, ""), other.get(name, "")) for name in names if name not in out
    ]


def is_below(path: str, files: Collection[str]) -> bool:
    """Whether a path lies in one of the files, or stands for all that is in one."""
    return any(path == file or path.startswith(f"{file}/") for file in files)
