"""The order in which an optimizer's groups hold their parameters. A `set` of them has another one in each process.

The order alone changes no step. But a `state_dict` of an optimizer identifies parameters by position, so that what was
saved in one order and is loaded in another gives each parameter the moments of a different one.
"""

import re
from collections.abc import Iterator

from dora_repro.state.snapshot import Snapshot

_PARAMETERS_OF_GROUP = re.compile(r"(.*)/group\.\d+/params$")


def reordered(one: Snapshot, other: Snapshot) -> tuple[str, ...]:
    """Paths of the groups that hold the same parameters in both, in different orders."""
    return tuple(_reordered(one, other))


def _reordered(one: Snapshot, other: Snapshot) -> Iterator[str]:
    for path in one:
        if path in other and _PARAMETERS_OF_GROUP.match(path):
            names, others = one[path].value, other[path].value
            if isinstance(names, list) and isinstance(others, list) and names != others:
                if sorted(map(str, names)) == sorted(map(str, others)):
                    yield path


def optimizer_of(path: str) -> str:
    """The path of the optimizer of a group's parameters."""
    found = _PARAMETERS_OF_GROUP.match(path)
    return found[1] if found else ""
