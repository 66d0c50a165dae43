"""A report as text: the answer first, then the evidence for it, then what differs and the verdict's own line.

Plain text, without colours or codes: `screen.py` knows what a terminal can show. The lines of the evidence have the
form of the study's README, and so has the last line, which is the verdict's alone.
"""

from collections.abc import Sequence
from functools import singledispatch
from math import isnan

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.show.answer import MARKS, answer
from dora_repro.show.evidence import evidence, first_line
from dora_repro.show.groups import Names
from dora_repro.show.sections import Block, Wording, resumed_steps
from dora_repro.wording import counted


@singledispatch
def as_text(result: object) -> str:
    """A result as lines of text; each kind of result is registered below, beside what words it.

    Raises:
        TypeError: it is no result.
    """
    raise TypeError(f"cannot show a {type(result).__name__} as text")


@singledispatch
def as_summary(result: object) -> str:
    """A result in few lines, as its `repr`: of a report the answer.

    Raises:
        TypeError: it is no result.
    """
    raise TypeError(f"cannot summarize a {type(result).__name__}")


@as_summary.register
def _(result: Report | Reports) -> str:
    return Whole("\n".join(answer(result)))


class Whole(str):
    """A short text that pytest shows whole.

    For `assert report.passed, report` pytest takes the `repr` of the report and, unless it is called with `-v`, cuts
    its middle out where its `len` is over 240. An answer is ten lines at most, so there is no need to.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return min(super().__len__(), 240)


@as_text.register
def _(comparison: Comparison) -> str:
    equal = len(comparison.compared) - len(comparison.differences)
    head = f"{comparison.name}: {equal} of {len(comparison.compared)} equal by bytes"
    return "\n".join([head, *(f"  {difference}" for difference in comparison.differences)])


@as_text.register
def report_text(
    report: Report,
    names: Names | None = None,
    verbose: bool = False,
    *,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
) -> str:
    """A report as lines of text: the answer first, the verdict's line last.

    Args:
        report: what a check found.
        names: gives the name that is shown for a leaf's path; by default the path itself.
        verbose: list every parameter, every leaf and every trial, and the environment.
        about: lines on what was run, shown in the evidence.
        parameters: what the trained parameters are called.
    """
    wording = Wording(names or str, verbose, parameters)
    blocks = [block.text for block in evidence(report, wording, about)]
    return "\n\n".join(["\n".join(answer(report, wording.names)), *blocks, "\n".join(conclusion(report, wording))])


def conclusion(report: Report, wording: Wording) -> list[str]:
    """The last lines: which of the comparisons differ, and the verdict's line."""
    return [*_what_differs(report, wording), verdict_line(report)]


@as_text.register
def reports_text(
    reports: Reports,
    names: Names | None = None,
    verbose: bool = False,
    *,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
) -> str:
    """Several reports: the answer, a line each, the evidence of the first of the worst, the verdict's line last.

    Args:
        reports: what several checks found.
        names: gives the name that is shown for a leaf's path; by default the path itself.
        verbose: give the evidence of all of them, and all of it.
        about: lines on what was run.
        parameters: what the trained parameters are called.
    """
    wording = Wording(names or str, verbose, parameters)
    worst = next((report for report in reports.reports if report.verdict is reports.verdict), None)
    in_full = reports.reports if verbose else (worst,) if worst and not worst.passed else ()
    blocks = [overview(reports, about), *(block for report in in_full for block in _in_full(report, wording))]
    texts = ["\n".join(answer(reports, wording.names)), *(block.text for block in blocks)]
    return "\n\n".join([*texts, *_cost_of_all(reports), verdict_line(reports)])


def overview(reports: Reports, about: Sequence[str] = ()) -> Block:
    """A line for each of several reports."""
    resumed = counted(len(reports.reports), "resumed run")
    lines = [
        f"{MARKS.get(report.verdict, '✗')} {report.title}: {report.verdict}  {first_line(report.reason)}"
        for report in reports.reports
    ]
    title = f"{reports.title}: {resumed} against one that was not interrupted"
    return Block(title, (*(f"  {line}" for line in about), *lines))


def _in_full(report: Report, wording: Wording) -> list[Block]:
    """A report's evidence, and what differs; the verdict's line stands at the end of all."""
    differing = _what_differs(report, wording)
    return [*evidence(report, wording), *([Block(differing[0], tuple(differing[1:]))] if differing else [])]


def _cost_of_all(reports: Reports) -> list[str]:
    alone = sum(report.steps_done.get("resumed", 0) for report in reports.reports)
    longest = max((report.steps_done.get("reference", 0) for report in reports.reports), default=0)
    return [f"Cost: {counted(longest, 'step')} uninterrupted, {alone} resumed"] if alone + longest else []


def verdict_line(result: Report | Reports) -> str:
    """The last line: the verdict in words, in the study's where it has them."""
    if isinstance(result, Report):
        return _verdict_line(result)
    worst = next((report for report in result.reports if report.verdict is result.verdict), None)
    return _verdict_line(worst, f"{worst.title}: ") if worst is not None else "⚠ INCONCLUSIVE: nothing was resumed"


def _verdict_line(report: Report, where: str = "") -> str:
    return {
        Verdict.EXACT: "✅ TEST PASSED: Checkpoint loading is reproducible!",
        Verdict.WITHIN_TOLERANCE: f"✅ TEST PASSED within tolerance {report.tolerance or 0:g}, not exact",
        Verdict.LATENT: f"❌ TEST FAILED: state lost, no effect in {counted(resumed_steps(report), 'step')}",
        Verdict.DIFFERENT: "❌ TEST FAILED: Checkpoint loading has issues",
        Verdict.INCONCLUSIVE: f"⚠ INCONCLUSIVE: {where}{first_line(report.reason)}",
    }[report.verdict]


def _largest(comparison: Comparison) -> str:
    """The largest difference; where not every one is a size, how many leaves differ."""
    if isnan(comparison.max_abs):
        return f"{len(comparison.differences)} of {len(comparison.compared)}, not all by a size"
    return f"max: {comparison.max_abs:.2e}"


def _what_differs(report: Report, wording: Wording) -> list[str]:
    if report.verdict is not Verdict.DIFFERENT:
        return []
    words = {
        "load": f"{wording.parameters} differ right after loading",
        "parameters": f"{wording.parameters} differ",
        "outputs": "Outputs differ",
    }
    lines = [
        f"  - {words.get(comparison.name, comparison.name)} ({_largest(comparison)})"
        for comparison in report.comparisons
        if comparison.differences
    ]
    if not lines and report.divergence is not None:
        lines = [f"  - The runs differ ({report.divergence.where})"]
    return ["What differs:", *lines]
