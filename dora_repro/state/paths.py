"""Paths of leaves as text: selected by globs, summarized as one pattern (`optimizer/*/exp_avg`), their ancestors."""

import fnmatch
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import takewhile

from dora_repro.wording import counted

_ADAPTER = re.compile(r"\.(lora_\w+\..+)$")  # of the peft library


def matching(glob: str, paths: Collection[str]) -> list[str]:
    """The paths that one glob selects, in their order.

    A glob that is itself one of the paths selects that path alone: the brackets of `outputs/loss[2]` are part of its
    name. Any other matches as in `fnmatch.fnmatchcase`: `*` stands for any characters, `/` included, and case counts.
    """
    if glob in paths:
        return [glob]
    matches = _compiled(glob).match
    return [path for path in paths if matches(path)]


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def select(globs: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The paths that any of the globs selects (see `matching`), in their order and each once."""
    paths = dict.fromkeys(paths)
    selected = {path for glob in globs for path in matching(glob, paths)}
    return [path for path in paths if path in selected]


def pattern(paths: Iterable[str]) -> str:
    """What paths have in common, the rest as a star: `optimizer/*/exp_avg`; one path alone as it is.

    The paths are of one kind: their `ends` are the same.
    """
    several = list(dict.fromkeys(paths))
    if len(several) == 1:
        return several[0]
    first, last = ends(several[0])
    head = shared_parents(several) or first
    slash = "/" if head else ""
    if last == "*":
        return f"{head}{slash}*"
    *closer, widest = (f"{head}{slash}{star}{last}" for star in ("*/", "*.", "*"))
    return next((glob for glob in closer if len(matching(glob, several)) == len(several)), widest)


def shared_parents(paths: Iterable[str]) -> str:
    """The path that all of these lie below, as deep as there is one; empty where there is none."""
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*(path.split("/")[:-1] for path in paths), strict=False))
    return "/".join(names[0] for names in shared)


def few(paths: Iterable[str], limit: int = 3) -> str:
    """Paths by their patterns, the first few."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths):
        kinds.setdefault(ends(path), []).append(path)
    words = [pattern(inside) for inside in kinds.values()]
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {counted(more, 'more kind')}" if more > 0 else "")


def ends(path: str) -> tuple[str, str]:
    """The first name of a path, and the last name of its last part, with an adapter's before it; a number there stands
    for any, but for a position in a list that has a name of its own (`params.3`)."""
    first, slash, rest = path.partition("/")
    last = rest.rpartition("/")[2] if slash else first
    adapter = _ADAPTER.search(last)  # `lora_A.default.weight`: what it is, and not that it is a weight
    name = adapter[1] if adapter else last.rpartition(".")[2]
    if "/" not in rest or not name.isdigit():
        last = name
    return (first if slash else ""), ("*" if last.isdigit() else last)


def parents(path: str) -> list[str]:
    """The paths that a path lies below, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def names_inside(paths: Iterable[str], holder: str) -> tuple[str, ...]:
    """The names of what a holder has that these paths lie in, each once; a default argument's without its `=`."""
    inside = (path.removeprefix(f"{holder}/") for path in paths if path.startswith(f"{holder}/"))
    return tuple(dict.fromkeys(name.partition("/")[0].removesuffix("=") for name in inside))


def ancestors(paths: Iterable[str]) -> set[str]:
    """Every path that one of these lies below."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found
