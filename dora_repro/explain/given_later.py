"""Variables that their function gives a value only after the lines of load, and what it makes as arguments of a call:
no such line could set them.
"""

from collections.abc import Iterable
from dataclasses import replace

from dora_repro.explain.advice.fit import Fit
from dora_repro.explain.audit.lookup import STALE
from dora_repro.explain.audited import Audited
from dora_repro.explain.trials.search_result import OBJECT, Part, name_of
from dora_repro.explain.trials.trial import DATA
from dora_repro.state.paths import ancestors
from dora_repro.state.rebuild import ARGUMENTS, NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot

_LATER = "{0}: given a value only after loading, so no line of load can set it: restore what it is made of{1}."
_ARGUMENT = "{0}: made after loading, for the next step, so no line of load can set it: restore what it is made of{1}."
_ANEW = "{0}: given another value after loading, and before the next step: restore what that is made of{1}."


def parted_by_line(part: Part, audited: Audited, fit: Fit) -> list[Part]:
    """A part as two, where a line of load could set some of its variables alone."""
    later = tuple(leaf for leaf in part.leaves if _has_later_value(leaf, audited, fit))
    rest = tuple(leaf for leaf in part.leaves if leaf not in later)
    if part.role == OBJECT or part.name == DATA or not later or not rest:
        return [part]  # a batch in hand goes with the batches
    return [replace(part, name=name_of(leaves), leaves=leaves) for leaves in (rest, later)]


def is_given_later(part: Part, audited: Audited, fit: Fit) -> bool:
    """Whether a part is such variables alone."""
    leaves = _variables(part)
    return bool(leaves) and all(_has_later_value(leaf, audited, fit) for leaf in leaves)


def is_argument(leaf: str, saved: Snapshot) -> bool:
    """Whether a leaf is an argument of the call in which a function waits, or in one."""
    return any(saved.kinds.get(above, NO_KIND).name == ARGUMENTS for above in ancestors([leaf]))


def sentence_on(part: Part, fit: Fit, audited: Audited) -> str:
    """The sentence in place of lines for such a part."""
    if any(is_argument(leaf, audited.saved) for leaf in _variables(part)):
        return _ARGUMENT.format(f"`{part.name}`", "")
    names = [leaf.rpartition("/")[2] for leaf in _variables(part)]
    words = _ANEW if all(name in fit.again for name in names) else _LATER
    sources = sources_of(names, fit, audited)
    return words.format(", ".join(f"`{name}`" for name in names), f" ({sources})" if sources else "")


def sources_of(names: Iterable[str], fit: Fit, audited: Audited) -> str:
    """Which variables of a function that differ right after loading others of it are made of, as code; empty where it
    is not known that any are."""
    made, root = fit.made_of(names) - {*names, *fit.later}, f"{audited.function}/"
    differ = {
        path.removeprefix(root).partition("/")[0]
        for path in audited.load
        if path.startswith(root) and path not in audited.marks and _may_be_read(path, audited.saved)
    }
    return ", ".join(f"`{name}`" for name in sorted(made & differ))


def _may_be_read(path: str, saved: Snapshot) -> bool:
    """Whether the reference has a leaf there that other values can be made of: no gradient, and no second name."""
    return path in saved and saved[path].role not in ("gradient", "alias")


def _variables(part: Part) -> tuple[str, ...]:
    return (part.name,) if part.role == OBJECT else part.leaves


def _has_later_value(leaf: str, audited: Audited, fit: Fit) -> bool:
    if is_argument(leaf, audited.saved):
        return True
    holder, _, name = leaf.rpartition("/")
    if not fit.known or audited.saved.kinds.get(holder, NO_KIND).name != VARIABLES:
        return False
    return name in fit.later or (name in fit.again and _went_on(leaf, audited))


def _went_on(leaf: str, audited: Audited) -> bool:
    """Whether the file has a variable by its name, and the reference gave it another value since it was written."""
    status = audited.save.leaves.get(leaf)
    return status is not None and (status.status == STALE or bool(status.near))
