"""Modules whose names are imported when they are first used, so that importing the package alone loads no torch."""

import importlib
from collections.abc import Callable, Mapping


def lazily(
    module: str, places: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """(`__getattr__`, `__dir__`, `__all__`) of a module whose names are imported when they are first used.

    Args:
        module: its name.
        places: for each module below `dora_repro` the names to take from there.
    """
    place_of = {name: f"dora_repro.{place}" for place, names in places.items() for name in names}

    def get(name: str) -> object:
        if name in place_of:
            return getattr(importlib.import_module(place_of[name]), name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get, lambda: sorted(place_of), list(place_of)
