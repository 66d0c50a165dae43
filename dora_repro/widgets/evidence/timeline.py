"""The timeline of a check (SVG): the uninterrupted, the killed and the resumed run, saves and the first difference."""

from dora_repro.kept.opening import KeptReport
from dora_repro.trace import Trace
from dora_repro.widgets.lanes import (
    AXIS,
    BLUE,
    LANE,
    RED,
    TOP,
    Scale,
    axis,
    drawn,
    first_difference,
    kill,
    lane,
    save,
)
from dora_repro.wording import counted


def timeline(report: KeptReport) -> str:
    """Draw the runs of a report, a lane for each: those steps of the resumed one in red that are not the
    uninterrupted run's."""
    whole, found = report.report, report.report.divergence
    done, lanes = _last(whole.reference), 1
    scale = Scale(max(whole.steps, done, _last(whole.resumed)))
    parts = [lane(scale, TOP, "uninterrupted", 0, done, BLUE)]
    parts += [save(scale.x(step), TOP, step, BLUE) for step in report.saves]
    if report.killed is not None:
        y, last = TOP + LANE * lanes, _last(report.killed)
        parts += [lane(scale, y, "killed", 0, last, BLUE), kill(scale.x(last) + 9, y)]
        parts += [save(scale.x(step), y, step, BLUE) for step in report.saves if step <= last]
        lanes += 1
    if whole.resumed is not None:
        y, begun, last = TOP + LANE * lanes, whole.save_at, _last(whole.resumed, whole.save_at)
        alike = last if found is None else max(begun, min(found.step - 1, last))
        x = scale.x(begun)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{y - LANE + 8}" y2="{y - 6}" stroke="{BLUE}" stroke-dasharray="2 2"/>'
        )
        if alike < last:
            parts.append(lane(scale, y, "", alike, last, RED))
        parts.append(lane(scale, y, "resumed", begun, alike, BLUE))
        lanes += 1
    height = TOP + LANE * (lanes - 1) + 12 + AXIS
    parts.append(axis(scale, height - 4))
    if found is not None:
        parts.append(first_difference(scale, found.step, found.phase, height))
    return drawn(parts, height, description(report))


def description(report: KeptReport) -> str:
    """Say in words what the timeline shows."""
    whole = report.report
    saves = "".join(f", saved after step {step}" for step in report.saves)
    words = [f"uninterrupted: {counted(_last(whole.reference), 'step')}{saves}"]
    if report.killed is not None:
        words.append(f"killed after step {_last(report.killed)}")
    if whole.resumed is not None:
        words.append(f"resumed after step {whole.save_at}, at its end after step {_last(whole.resumed, whole.save_at)}")
    if whole.divergence is not None:
        words.append(f"first differs at {whole.divergence.where}")
    return "; ".join(words)


def _last(trace: Trace | None, otherwise: int = 0) -> int:
    return trace.steps[-1].number if trace is not None and trace.steps else otherwise
