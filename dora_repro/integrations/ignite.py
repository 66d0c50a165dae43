"""Ignite: `attach(trainer)` before `trainer.run(…)`."""

from typing import Any

from dora_repro.errors import MissingExtra
from dora_repro.integrations.naming import record_libraries

try:
    from ignite.engine import Engine, Events
except ImportError as error:
    raise MissingExtra("ignite", "ignite", "naming an Engine's state") from error

__all__ = ["attach"]


def attach(trainer: Any) -> None:
    """Let an engine name `ignite/state`, `handler/EarlyStopping` and so on, for a check, when it starts.

    Its state is restored by then, and its handlers are, if `load_state_dict()` was called before `run()`.

    Args:
        trainer: the `ignite.engine.Engine` that trains.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(trainer, Engine):
        raise TypeError(f"expected an ignite.engine.Engine, got {type(trainer).__name__}")
    trainer.add_event_handler(Events.STARTED, record_libraries)
