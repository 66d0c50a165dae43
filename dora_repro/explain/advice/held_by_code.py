"""What code alone holds: variables that functions close over, what hooks keep, variables of suspended generators.

No line of save or load reaches it, so there is a sentence in place of lines.
"""

import re
from collections.abc import Iterable

from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.lost_state import Advice
from dora_repro.explain.trials.search_result import OBJECT, Part
from dora_repro.state.paths import names_inside, parents
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import suspended

_HOOK = re.compile(r"/\w*hooks\.\d+$")


def held_by_code(part: Part, saved: Snapshot) -> Advice | None:
    """Advise on a part that code alone holds; None for all else.

    Args:
        part: of what was lost.
        saved: the reference's state at the save.
    """
    if part.role == OBJECT and _HOOK.search(part.name):
        return _lost_hook(part.name, saved)
    of_hook = _of_hook(part.leaves)
    if of_hook is not None and part.role == OBJECT:
        return of_hook
    return _closed_over(part.leaves, saved) or _of_suspended(part.leaves, saved) or of_hook


def _lost_hook(hook: str, saved: Snapshot) -> Advice:
    """Advise on a hook that was registered while training: code, which no file holds."""
    name = saved.get(f"{hook}/name")
    function = "" if name is None else str(name.value).rpartition(".")[2].partition(" ")[0]
    named = f"`{hook}` ({function})" if function else f"`{hook}`"
    return Advice(
        sentence=f"The hook {named} is registered while training and not by loading: register it again in load(), "
        "where the run that was saved had it."
    )


def _closed_over(leaves: tuple[str, ...], saved: Snapshot) -> Advice | None:
    """Advise on variables that a function closes over, or has as a default argument."""
    for function in reversed(parents(leaves[0])):
        name = saved.get(f"{function}/name")
        what = ""
        if leaves[0].removeprefix(f"{function}/").partition("/")[0].endswith("="):
            what = "a default argument"
        elif name is not None and any(mark in str(name.value) for mark in ("<locals>", "<lambda>")):
            what = "in the closure"
        if what:
            listed = _listed(names_inside(leaves, function))
            return Advice(
                sentence=f"{listed}: {what} of `{function}`, out of reach of save and load. Keep it on the run, or on "
                "an object with state_dict() and load_state_dict()."
            )
    return None


def _of_suspended(leaves: tuple[str, ...], saved: Snapshot) -> Advice | None:
    """Advise on variables of a suspended generator or coroutine that the run holds."""
    for frame in suspended(saved, {}):
        if leaves[0].startswith(f"{frame}/"):
            inside = (expressions.without_functions(leaf, saved.kinds).partition("/")[0] for leaf in leaves)
            names = tuple(dict.fromkeys(inside))
            return Advice(
                sentence=f"{_listed(names)}: in the suspended function `{frame}`, out of reach of save and load. Keep "
                f"it on the run (self.{names[0]}), save it and load it, and let the function use that."
            )
    return None


def _of_hook(leaves: tuple[str, ...]) -> Advice | None:
    """Advise on what the object of a hook keeps."""
    above = parents(leaves[0])
    for hook in above:
        if _HOOK.search(hook):
            names = names_inside(leaves, f"{hook}/self" if f"{hook}/self" in above else hook)
            return Advice(
                sentence=f"{_listed(names)}: kept by the hook `{hook}` alone, out of reach of save and load. Keep its "
                "object on the run as well, save it and load it by that name."
            )
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
