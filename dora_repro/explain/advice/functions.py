"""Which function lines go into that save and restore a leaf: the one that is the run, or one that is suspended."""

from dora_repro.state.frames import LINE, POSITION
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot


def function_of_run(saved: Snapshot) -> str:
    """The function that is the whole run, which saves and loads by itself; empty where a run has these methods.

    Args:
        saved: the reference's state at the save.
    """
    roots = sorted({path.partition("/")[0] for path, kind in saved.kinds.items() if kind.name == VARIABLES})
    driven = [root for root in roots if f"{root}/{POSITION}" in saved]
    if driven:
        return driven[0]
    # A script's functions are running, the outermost first, its module before them.
    running = [root for root in saved.kinds if root in roots and f"{root}/{LINE}" not in saved]
    return running[min(1, len(running) - 1)] if running else ""


def function_of_leaf(path: str, saved: Snapshot) -> str:
    """The function whose lines restore a leaf: that of a variable, in a greenlet that waits; for all else, the one that
    is the whole run. Empty for a run that is none.

    Args:
        path: of the leaf.
        saved: the reference's state at the save.
    """
    parts = path.split("/")
    for count in range(len(parts) - 1, 0, -1):
        holder = "/".join(parts[:count])
        if saved.kinds.get(holder, NO_KIND).name == VARIABLES:
            last = parts[count - 1]
            place = saved.get(f"{holder}/{POSITION}")
            if place is None or f"{last}, line " in str(place.value):
                return last.removesuffix("()")
            return str(place.value).partition(",")[0]
    return function_of_run(saved)
