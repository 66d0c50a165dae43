"""Shorten names for an axis: what all of them have in common is left out."""

from collections.abc import Sequence

from dora_repro.printable import one_line

LONGEST = 40  # characters; a longer one loses its middle


def shortened(names: Sequence[str]) -> list[str]:
    """Leave out of each name the parts, between dots or slashes, that all names have in the same place.

    The last part always stays. Names that would become equal keep all their parts.

    Args:
        names: to be shown together.
    """
    split = [name.replace("/", ".").split(".") for name in names]
    if len({*map(len, split)}) == 1:
        places = [place for place, kinds in enumerate(zip(*split, strict=True)) if len({*kinds}) > 1]
        places += [len(split[0]) - 1] if len(split[0]) - 1 not in places else []
        return [cut(".".join(parts[place] for place in places)) for parts in split]
    same = [set(parts) for parts in zip(*split, strict=False)]
    front = _shared(same, split)
    back = [set(parts) for parts in zip(*(reversed(parts[front:-1]) for parts in split), strict=False)]
    end = next((place for place, kinds in enumerate(back) if len(kinds) > 1), len(back))
    short = [[*parts[front : len(parts) - 1 - end], parts[-1]] for parts in split]
    if len({tuple(parts) for parts in short}) < len({tuple(parts) for parts in split}):
        short = split
    return [cut(".".join(parts)) for parts in short]


def _shared(same: list[set[str]], split: list[list[str]]) -> int:
    """Count the leading parts that all names share, leaving each name at least its last part."""
    shortest = min(map(len, split), default=1) - 1
    return next((place for place, kinds in enumerate(same[:shortest]) if len(kinds) > 1), shortest)


def cut(name: str, longest: int = LONGEST) -> str:
    """Shorten a name to at most `longest` characters: a longer one loses its middle; what is not seen is escaped."""
    name = one_line(name)
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def in_legend(name: str) -> str:
    """A name for a legend, which leaves out what begins with an underscore: with a space before that."""
    return f" {name}" if name.startswith("_") else name
