"""Remember what a function says of a type: asked for every value of a walk, of a few hundred types."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def per_type(function: Callable[[type], Result]) -> Callable[[type], Result]:
    """`functools.lru_cache` for functions of a type."""
    return lru_cache(maxsize=4096)(function)
