"""Many paths of leaves told as one: `optimizer/*/exp_avg`."""

import re
from collections.abc import Iterable

_ADAPTER = re.compile(r"\.(lora_\w+\..+)$")  # of the peft library


def pattern(paths: Iterable[str]) -> str:
    """What paths have in common, the rest as a star: `optimizer/*/exp_avg`; one path alone as it is."""
    several = list(dict.fromkeys(paths))
    if len(several) == 1:
        return several[0]
    first, last = ends(several[0])
    if not first:
        return "*" if last == "*" else f"*.{last}"
    if last == "*":
        return f"{first}/*"
    if all("." in path.rpartition("/")[2] for path in several):
        heads = {path.rpartition("/")[0] for path in several}
        return f"{heads.pop() if len(heads) == 1 else first}/*.{last}"
    return f"{first}/*/{last}" if any(path.count("/") > 1 for path in several) else f"{first}/*.{last}"


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


def ancestors(paths: Iterable[str]) -> set[str]:
    """Every path that one of these lies below."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found
