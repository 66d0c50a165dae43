"""Cache the results of a function of a type: called for every value of a walk, which are of a few hundred types."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def per_type(function: Callable[[type], Result]) -> Callable[[type], Result]:
    """`functools.lru_cache` for functions of a type."""
    return lru_cache(maxsize=4096)(function)
