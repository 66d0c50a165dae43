"""Many paths of leaves told as one: `optimizer/*/exp_avg`."""

from collections.abc import Iterable


def pattern(paths: Iterable[str]) -> str:
    """What paths have in common, the rest as a star: `optimizer/*/exp_avg`; one path alone as it is."""
    several = list(dict.fromkeys(paths))
    if len(several) == 1:
        return several[0]
    first, last = ends(several[0])
    if not first:
        return "*" if last == "*" else f"*.{last}"
    if any(path.count("/") > 1 for path in several):
        return f"{first}/*/{last}" if last != "*" else f"{first}/*"
    return f"{first}/*.{last}" if last != "*" else f"{first}/*"


def ends(path: str) -> tuple[str, str]:
    """The first name of a path, and the last name of its last part; a number there stands for any."""
    first, slash, rest = path.partition("/")
    last = rest.rpartition("/")[2] if slash else first
    if "/" not in rest:
        last = last.rpartition(".")[2]
    return (first if slash else ""), ("*" if last.isdigit() else last)
