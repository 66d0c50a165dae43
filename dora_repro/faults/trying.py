"""Checks and explains a fault like any run, and compares the result with what is declared beside the fault."""

import importlib.util
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dora_repro.checks.expectation import Expectation, Met, UnexpectedVerdict
from dora_repro.checks.options import Options, request_of
from dora_repro.checks.report import Report
from dora_repro.checks.running import run_check
from dora_repro.faults.gallery import Fault
from dora_repro.sides.interpreters import Interpreters
from dora_repro.state.paths import matching, select

# A package that a fault may need -> what pip installs it by.
PACKAGES = {
    "greenlet": "'dora-repro[stepwise]'",
    "torchmetrics": "torchmetrics",
    "torchdata": "torchdata",
    "schedulefree": "schedulefree",
}


@dataclass(frozen=True)
class Tried:
    """A fault, and the result of its check.

    Attributes:
        fault: the fault.
        report: the result; None where the fault was skipped.
        skipped: why it was skipped; empty where it was not.
        seconds: wall time of check and explanation together.
    """

    fault: Fault
    report: Report | None = None
    skipped: str = ""
    seconds: float = 0.0

    @property
    def verdict_right(self) -> bool:
        """Whether the verdict is the declared one."""
        return self.report is not None and str(self.report.verdict) == self.fault.verdict

    @property
    def place_right(self) -> bool:
        """Whether the first divergence is at the declared step and phase; where it is by chance, none is declared."""
        if self.report is None:
            return False
        if self.fault.verdict == str(self.report.verdict) == "INCONCLUSIVE":
            return True
        found = self.report.divergence
        at = (found.step, found.phase) if found is not None else (None, None)
        return at == (self.fault.step, self.fault.phase)

    @property
    def cause_right(self) -> bool:
        """Whether the explanation names exactly one of the declared causes."""
        if self.report is None:
            return False
        explanation = self.report.explanation
        named = explanation.leaves if explanation is not None else ()
        if not self.fault.causes:
            return not named
        return any(
            _matches(named, globs) and (bool(globs) or (explanation is not None and bool(explanation.unexplained)))
            for globs in self.fault.causes
        )

    @property
    def as_declared(self) -> bool:
        """Whether verdict, place and cause are as declared."""
        return self.verdict_right and self.place_right and self.cause_right

    def check(self) -> Met:
        """Compare the result with what is declared.

        Raises:
            UnexpectedVerdict: verdict, place or cause differs, or the fault was skipped.
        """
        fault = self.fault
        what = f"{fault.verdict}, step {fault.step}, phase {fault.phase}" if fault.phase else fault.verdict
        if self.report is None or not self.as_declared:
            raise UnexpectedVerdict(f"{fault.name} is declared as {what}, by {fault.causes}; found {self.report!r}")
        cause = " + ".join(cause.name for cause in self.report.causes)
        reason = f"declared beside the fault, as is its cause ({cause})" if cause else "declared beside the fault"
        return Expectation((self.report.verdict,), reason).check(self.report)


def _matches(leaves: Iterable[str], globs: Iterable[str]) -> bool:
    """Whether every leaf matches a glob, and every glob a leaf."""
    leaves, globs = tuple(leaves), tuple(globs)
    return set(select(globs, leaves)) == set(leaves) and all(matching(glob, leaves) for glob in globs)


def try_fault(fault: Fault, *, in_process: bool = False, interpreters: Interpreters | None = None) -> Tried:
    """Check one fault, each side in a process of its own unless `in_process`."""
    if reason := missing(fault.needs):
        return Tried(fault, skipped=reason)
    begun = time.perf_counter()
    options: Options = {"in_process": in_process}
    request = request_of(fault.factory, fault.steps, (fault.save_at,), options, title=fault.name)
    report = run_check(replace(request, interpreters=interpreters))
    return Tried(fault, report, seconds=time.perf_counter() - begun)


def try_all(faults: Iterable[Fault], *, in_process: bool = False) -> Iterator[Tried]:
    """Check several, one after the other; the interpreters of the next get ready while one works."""
    faults = tuple(faults)
    if in_process:
        yield from (try_fault(fault, in_process=True) for fault in faults)
        return
    with Interpreters(("dora_repro.faults.plain",)) as interpreters:
        for index, fault in enumerate(faults):
            interpreters.later = 2 * (len(faults) - index - 1)
            yield try_fault(fault, interpreters=interpreters)


def missing(needs: str) -> str:
    """Why a fault cannot be checked here; empty where it can."""
    if needs == "cuda":
        import torch

        return "" if torch.cuda.is_available() else "needs a CUDA device; torch sees none here"
    if needs in PACKAGES:
        found = importlib.util.find_spec(needs) is not None
        return "" if found else f"needs the package {needs!r}: pip install {PACKAGES[needs]}"
    return f"needs {needs}, and a check trains in one process" if needs else ""
