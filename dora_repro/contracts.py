"""What the rooms hand each other: the values of a run, plain data, and what a run has to offer.

Types alone: nothing of this is looked at while the kit works, and importing it loads nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

Value: TypeAlias = object
"""A live value of a run: a tensor, an array, plain data, a generator's state, or an object of any class at all."""

Scalar: TypeAlias = bool | int | float | complex | str | bytes | None

Plain: TypeAlias = "Scalar | Sequence[Plain] | Mapping[Scalar, Plain] | set[Scalar] | frozenset[Scalar]"
"""Plain data: scalars, and containers of plain data; what is digested and written by value."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What JSON can say: what sides, logs and reports write."""


@runtime_checkable
class Run(Protocol):
    """One training run, advanced a step at a time. Nothing to inherit: any object with these methods is one."""

    def step(self) -> object:
        """Do one optimizer step; return its loss (a number, or a tensor of one element), if there is one.

        Raises:
            StopIteration: training is over.
        """

    def save(self, path: str, /) -> object:
        """Save to `path`, which does not exist yet; as a file or as a folder."""

    def load(self, path: str, /) -> object:
        """Load what `save` wrote to `path`."""


Factory: TypeAlias = Callable[[], Run]
"""Builds a run from nothing; called afresh for each side of a check."""
