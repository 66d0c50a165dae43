"""`dora_repro.record`: a script names what it wants to have looked at. Loads no torch where no check runs."""

import os

from dora_repro.contracts import Value
from dora_repro.scripts.assignment import VARIABLE


def record(**objects: Value) -> None:
    """Name objects of a script for a check of it; does nothing, in under a microsecond, where no check runs.

    A check of a script finds by itself what the variables of the script's own functions reach. Name here what is
    reached by none of them, or what should have a name of its own in the answer. May be called any number of times.

    Args:
        objects: by the names that they are to have: `record(ema=ema, sampler=sampler)`.
    """
    if VARIABLE in os.environ:
        import torch  # noqa: F401  # where it had not been: this installs the recorder, as it would later

        from dora_repro.scripts.installing import name_objects

        name_objects(objects)
