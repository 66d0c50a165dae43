"""What stands for a name of a file that this kit does not build: inert, with what the file says of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from dora_repro.checkpoint.guard import FileValue


@dataclass(eq=False, slots=True, repr=False)
class Stub:
    """What a name of the file would have been: never imported, never called.

    Attributes:
        name: module and qualified name.
        args: that it was called with; None for the bare name (a class or function as a value).
        state: that was set on it.
        items: that were appended to it.
        entries: (key, value) pairs that were set in it.
    """

    name: str
    args: tuple[FileValue, ...] | None = None
    state: FileValue = None
    items: list[FileValue] = field(default_factory=list)
    entries: list[tuple[FileValue, FileValue]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Stub({self.name})" if self.args is None else f"Stub({self.name}, {len(self.args)} arguments)"


Constructor: TypeAlias = Callable[..., FileValue]
"""Builds a value from the arguments that a file gives: any number of any values, so each checks its own."""
