"""What the adapters have in common: they name what is around the hook that a library calls."""

import os

from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.assignment import VARIABLE


def is_checked() -> bool:
    """Whether this process is part of a check."""
    return VARIABLE in os.environ


def record_libraries() -> None:
    """Name what the training libraries hold whose functions lead to the caller; does nothing where no check runs."""
    if is_checked():
        import torch  # noqa: F401  # where it had not been: this installs the recorder, as it would later

        from dora_repro.scripts.libraries import parts_around
        from dora_repro.scripts.naming import record

        record(**parts_around(get_frame(1)))
