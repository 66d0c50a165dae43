"""What the adapters have in common: they name what is around the hook that a library calls."""

from dora_repro.naming import is_recorded, record
from dora_repro.private_names.of_cpython import get_frame


def record_libraries() -> None:
    """Name what the training libraries hold whose functions lead to the caller; does nothing elsewhere."""
    if is_recorded():
        import torch  # noqa: F401  # where it had not been: this installs the recorder, as it would later

        from dora_repro.scripts.libraries import parts_around

        record(**parts_around(get_frame(1)))
