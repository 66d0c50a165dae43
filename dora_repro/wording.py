"""Counts in words: `1 step`, `3 steps`, `1,024 leaves`. One function, so that no message says "1 steps"."""

_IRREGULAR = {"leaf": "leaves", "epoch": "epochs"}
_VOWELS = "aeiou"


def counted(count: int, noun: str) -> str:
    """A count and its noun, as `1 step`, `0 leaves`, `2,000 resumed runs`.

    Args:
        count: how many.
        noun: in the singular; of several words the last one is declined.
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def differ(count: int, total: int) -> str:
    """The verb of `count` out of `total` things: `1 of 3 leaves differs`, `0 of 1 leaf differs`, `2 of 3 differ`.

    Args:
        count: the number of things that differ.
        total: the number of things that were compared.
    """
    return "differs" if count == 1 or total == 1 else "differ"


def plural(noun: str) -> str:
    """The plural of an English noun, by rule: `steps`, `batches`, `entries`; of several words, of the last one."""
    before, space, last = noun.rpartition(" ")
    if last in _IRREGULAR:
        many = _IRREGULAR[last]
    elif last.endswith("y") and last[-2:-1] not in _VOWELS:
        many = f"{last[:-1]}ies"
    elif last.endswith(("s", "x", "ch", "sh")):
        many = f"{last}es"
    else:
        many = f"{last}s"
    return f"{before}{space}{many}"
