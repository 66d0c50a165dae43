"""Is a training run that was saved, killed and resumed the same run, bit for bit? If not: where, and why?

The public names, imported when they are first used: `import dora_repro` alone imports no torch.

    report = dora_repro.check(MyRun, steps=6, save_at=3)
"""

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


_PLACES = {
    "errors": ("BadInput", "MissingExtra"),
    "checks.checks": ("check", "every_step", "twice"),
    "checks.report": ("Control", "Report", "Reports", "SetAside", "Verdict"),
    "explain.explanation": ("Cause", "Explanation"),
    "comparison.leaves": ("compare", "Comparison"),
    "checkpoint.contents": ("inspect", "Contents"),
    "state.snapshot": ("Snapshot",),
    "comparison.drift": ("Drift",),
    "difference": ("LeafDifference",),
    "trace": ("Divergence", "Trace"),
    "recording": ("Recorder",),
}
_get, _names, __all__ = lazily(__name__, _PLACES)


def __getattr__(name: str) -> object:
    if name == "study":
        return importlib.import_module("dora_repro.study")
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("dora-repro")
        except metadata.PackageNotFoundError:  # used from a checkout without being installed
            return "unknown"
    return _get(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_names(), "study", "__version__"})
