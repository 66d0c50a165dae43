"""Evidence for a notebook to look at, where nobody names a folder: of a fault of the gallery, checked on the spot."""

from pathlib import Path

from dora_repro.checks.options import request_of
from dora_repro.checks.running import run_check
from dora_repro.faults import gallery
from dora_repro.kept.opening import KeptCheck, evidence
from dora_repro.scratch import ScratchFolder

_KEPT: list[ScratchFolder] = []  # removed when the interpreter ends


def opened(folder: str, fault: str) -> KeptCheck:
    """The evidence in a folder; or that of a fault, which is checked for it.

    Args:
        folder: that a check was told to keep; empty for none.
        fault: a name of the gallery.

    Raises:
        BadInput: as `evidence`, or no fault has that name.
    """
    if folder:
        return evidence(folder)
    chosen = gallery.find(fault)
    _KEPT.append(ScratchFolder("evidence"))
    place = Path(_KEPT[-1].name, "kept")
    run_check(request_of(chosen.factory, chosen.steps, (chosen.save_at,), {"folder": place}, title=fault))
    return evidence(place)
