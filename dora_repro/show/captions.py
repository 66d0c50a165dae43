"""What a page's figures show, in words: read from the same results, so that a caption says what is seen."""

import math

from dora_repro.checks.report import Report
from dora_repro.comparison.drift import Drift
from dora_repro.trace import Trace
from dora_repro.wording import counted


def of_losses(report: Report) -> str:
    """The caption of `figures.losses`: where the losses part, and by how much."""
    expected, actual = _losses(report.reference), _losses(report.resumed)
    apart = {step: abs(loss - expected[step]) for step, loss in actual.items() if step in expected}
    seen = "Loss of both runs at each step (top) and their difference (bottom); dotted: saved and loaded"
    marked = f"; solid: the first difference, at step {report.divergence.step}" if report.divergence is not None else ""
    if not apart:
        return f"{seen}{marked}. The resumed run has no loss to compare."
    if not any(apart.values()):
        return f"{seen}{marked}. The losses are equal at every resumed step."
    first = next(step for step, size in apart.items() if size)
    largest = max(apart, key=lambda step: math.inf if math.isnan(apart[step]) else apart[step])
    most = f"{apart[largest]:.1e}"
    if first == largest:
        return f"{seen}{marked}. The losses first differ at step {first}, and by the most there: {most}."
    return (
        f"{seen}{marked}. The losses first differ at step {first}; the largest difference is {most}, at step {largest}."
    )


def of_drift_map(drift: Drift) -> str:
    """The caption of `figures.drift_map`: how many parameters differ, since when, and by how much at the end."""
    seen = (
        "Largest absolute difference of each parameter (rows) at the end of each step (columns), on a logarithmic "
        "scale; grey: equal by bytes."
    )
    if drift.first is None:
        return f"{seen} All parameters are equal at every step."
    differing = int((drift.share[:, -1] != 0).sum())
    first, last = drift.first[0], drift.steps[-1]
    since = (
        f"At the end of step {last}, the first with a difference"
        if first == last
        else f"The first differences are at the end of step {first}; at the end of step {last}"
    )
    return (
        f"{seen} {since}, {differing} of {counted(len(drift.leaves), 'parameter')} differ, by at most "
        f"{drift.max_abs[:, -1].max():.1e}."
    )


def of_ulp_histogram(drift: Drift) -> str:
    """The caption of `figures.ulp_histogram` at the last step: how many elements differ, and the largest distance."""
    step = drift.steps[-1]
    sizes = [drift.expected[step][path].numel() for path in drift.leaves]
    differing = round(sum(share * size for share, size in zip(drift.share[:, -1], sizes, strict=True)))
    total = sum(sizes)
    return (
        f"Number of elements by their distance in units in the last place (ULP), at the end of step {step}. "
        f"{differing:,} of {counted(total, 'element')} differ, by at most {int(drift.max_ulp[:, -1].max()):,} ULP."
    )


def _losses(trace: Trace | None) -> dict[int, float]:
    return {step.number: step.loss for step in trace.steps if step.loss is not None} if trace is not None else {}
