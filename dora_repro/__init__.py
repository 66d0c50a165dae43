"""Is a training run that was saved, killed and resumed the same run, bit for bit? If not: where, and why?

The public names, imported when they are first used: `import dora_repro` alone imports no torch.

    report = dora_repro.check(MyRun, steps=6, save_at=3)
"""

import importlib

_PLACES = {
    "errors": ("BadInput", "MissingExtra"),
    "checks.checks": ("check", "every_step", "twice"),
    "checks.report": ("Control", "Divergence", "Report", "Reports", "Verdict"),
    "checks.study": ("quick", "full", "every_step_of", "twice_of", "quick_config", "contents_of"),
    "checks.expectation": ("BrokenPromise", "promise"),
    "comparison.leaves": ("compare", "Comparison", "LeafDifference"),
    "state.snapshot": ("Snapshot",),
    "comparison.drift": ("Drift",),
    "trace": ("Trace",),
    "recording": ("Recorder",),
    "subject.config": ("TrainingConfig",),
    "subject.training": ("TrainingRun",),
}
_PLACE_OF = {name: f"dora_repro.{place}" for place, names in _PLACES.items() for name in names}

__all__ = list(_PLACE_OF)


def __getattr__(name: str) -> object:
    if name in _PLACE_OF:
        return getattr(importlib.import_module(_PLACE_OF[name]), name)
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("dora-repro")
        except metadata.PackageNotFoundError:  # used from a checkout without being installed
            return "unknown"
    raise AttributeError(f"module 'dora_repro' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
