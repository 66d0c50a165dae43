"""Accelerate: `name(accelerator)` after `load_state()`, or before the loop."""

from typing import Any

from dora_repro.errors import MissingExtra
from dora_repro.naming import is_recorded, record

try:
    from accelerate import Accelerator
except ImportError as error:
    raise MissingExtra("accelerate", "accelerate", "naming an Accelerator's objects") from error

__all__ = ["name"]


def name(accelerator: Any) -> None:
    """Name what went through `prepare()` and `register_for_checkpointing()`: `accelerate/optimizers` and so on.

    For a check or a journal; does nothing where neither is.

    Args:
        accelerator: an `accelerate.Accelerator`; call it when all is prepared, and loaded in a run that is resumed.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(accelerator, Accelerator):
        raise TypeError(f"expected an accelerate.Accelerator, got {type(accelerator).__name__}")
    if is_recorded():
        from dora_repro.scripts.libraries import parts_of_accelerator

        record(accelerate=parts_of_accelerator(accelerator))
