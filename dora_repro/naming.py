"""`dora_repro.record`: a script names what it wants to have looked at. Loads no torch where nothing is recorded."""

import os

from dora_repro.contracts import Value
from dora_repro.journal import setting
from dora_repro.scripts.assignment import VARIABLE


def record(**objects: Value) -> None:
    """Name objects of a script for a check of it, or for its journal; does nothing, in under a microsecond, elsewhere.

    What the variables of the script's own functions reach is found without. Name here what is reached by none of them,
    or what should have a name of its own in the answer. May be called any number of times. Where `DORA_REPRO_JOURNAL`
    is set and the script was not started by `dora-repro watch`, the journal begins with the first call: make it before
    anything is loaded.

    Args:
        objects: by the names that they are to have: `record(ema=ema, sampler=sampler)`.
    """
    if is_recorded():
        _name(objects)


_without = -1  # how many variables there were when neither of the two was among them


def is_recorded() -> bool:
    """Whether this process is part of a check, or keeps a journal."""
    global _without
    count = len(os.environ)  # a step may ask: looking for a variable that is not there takes ten times as long
    if count == _without:
        return False
    found = VARIABLE in os.environ or setting.VARIABLE in os.environ
    _without = -1 if found else count
    return found


def _name(objects: dict[str, Value]) -> None:
    import torch  # noqa: F401  # where it had not been: this installs the recorder, as it would later

    from dora_repro.scripts import installing

    if installing.name_objects(objects):
        return
    if VARIABLE in os.environ:
        installing.install_late()
    else:
        from dora_repro.journal.installing import install

        install()
    installing.name_objects(objects)
