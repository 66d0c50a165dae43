"""Is a training run that was saved, killed and resumed the same run, bit for bit? If not: where, and why?

The public names, imported when they are first used: `import dora_repro` alone imports no torch.

    report = dora_repro.check(MyRun, steps=6, save_at=3)
"""

import importlib
from typing import TYPE_CHECKING

from dora_repro.lazy import lazily

if TYPE_CHECKING:  # what type checkers and editors see of the table below; a test compares the two
    from dora_repro import study as study
    from dora_repro.checkpoint.contents import Contents as Contents
    from dora_repro.checkpoint.contents import inspect as inspect
    from dora_repro.checks.checks import check as check
    from dora_repro.checks.checks import every_step as every_step
    from dora_repro.checks.checks import twice as twice
    from dora_repro.checks.report import Control as Control
    from dora_repro.checks.report import Report as Report
    from dora_repro.checks.report import Reports as Reports
    from dora_repro.checks.report import SetAside as SetAside
    from dora_repro.checks.report import Verdict as Verdict
    from dora_repro.comparison.drift import Drift as Drift
    from dora_repro.comparison.leaves import Comparison as Comparison
    from dora_repro.comparison.leaves import compare as compare
    from dora_repro.contracts import Factory as Factory
    from dora_repro.contracts import Run as Run
    from dora_repro.difference import LeafDifference as LeafDifference
    from dora_repro.driving.stepwise import stepwise as stepwise
    from dora_repro.errors import BadInput as BadInput
    from dora_repro.errors import MissingExtra as MissingExtra
    from dora_repro.explain.explanation import Cause as Cause
    from dora_repro.explain.explanation import Explanation as Explanation
    from dora_repro.kept.opening import evidence as evidence
    from dora_repro.naming import record as record
    from dora_repro.recording import Recorder as Recorder
    from dora_repro.scripts.checking import check_script as check_script
    from dora_repro.state.snapshot import Snapshot as Snapshot
    from dora_repro.trace import Divergence as Divergence
    from dora_repro.trace import Trace as Trace

    __version__: str

_PLACES = {
    "checks.checks": ("check", "every_step", "twice"),
    "checks.report": ("Control", "Report", "Reports", "SetAside", "Verdict"),
    "trace": ("Divergence", "Trace"),
    "explain.explanation": ("Cause", "Explanation"),
    "comparison.leaves": ("compare", "Comparison"),
    "difference": ("LeafDifference",),
    "comparison.drift": ("Drift",),
    "checkpoint.contents": ("inspect", "Contents"),
    "driving.stepwise": ("stepwise",),
    "scripts.checking": ("check_script",),
    "naming": ("record",),
    "kept.opening": ("evidence",),
    "recording": ("Recorder",),
    "state.snapshot": ("Snapshot",),
    "contracts": ("Factory", "Run"),
    "errors": ("BadInput", "MissingExtra"),
}
_get, _names, __all__ = lazily(__name__, _PLACES)


if not TYPE_CHECKING:  # a type checker would take it for a promise that every name exists

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
