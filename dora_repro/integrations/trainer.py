"""transformers' Trainer: `Trainer(…, callbacks=[DoraReproCallback()])`."""

from typing import Any

from dora_repro.errors import MissingExtra
from dora_repro.integrations.naming import record_libraries

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtra("transformers", "trainer", "DoraReproCallback of the Trainer") from error

__all__ = ["DoraReproCallback"]


class DoraReproCallback(TrainerCallback):
    """Names `trainer/state`, `trainer/optimizer`, `callback/EarlyStoppingCallback` and so on, for a check.

    When training begins model, optimizer, schedule, state and callbacks are restored; the generators are later, and are
    looked at with the first step.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        record_libraries()
