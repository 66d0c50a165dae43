"""What a side and its parent say to each other, as types: lines of JSON over the side's standard streams.

What a line holds is the matter of those who write and read it, so its values are `Any` here: this is where one process
ends and the next begins.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Event: TypeAlias = Mapping[str, Any]
"""What a side says: `event` is its name (`built`, `loaded`, `step`, `saved`, `imported`, `done`, `ready`, `answer`)."""

Question: TypeAlias = Mapping[str, Any]
"""What the parent asks of a side that answers questions."""

Answer: TypeAlias = Callable[[Question], Mapping[str, Any]]
"""Answers one question, in whatever interpreter; the answer has no `event`."""

Emit: TypeAlias = Callable[[Event], None]
"""Sends an event to the parent."""

Request: TypeAlias = Callable[[], Question]
"""Waits for the next line of the parent."""

OnEvent: TypeAlias = Callable[[str, Event], None]
"""Called in the parent with the name of a side and its event."""


def ignore(event: Event) -> None:
    """An `Emit` where nobody listens."""
