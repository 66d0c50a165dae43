"""The timeline of a lab (SVG): both runs, step by step, with saves, kills, loads, transplants and the first divergence.

Lines and words take the colour of the page's text, so that they read on a dark page as well.
"""

import html
from dataclasses import dataclass

from dora_repro.lab.lab import Lab
from dora_repro.lab.process import Process
from dora_repro.wording import counted

WIDTH, LEFT, TOP, LANE, AXIS = 780, 128, 26, 26, 18  # pixels
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"
TALLEST = 190  # pixels; a timeline of many processes scrolls, so that what is below it stays in view
_DOTS = 60  # steps that each have a dot


@dataclass(frozen=True)
class _Scale:
    """Steps to pixels."""

    last: int

    def x(self, step: float) -> float:
        return LEFT + 12 + step * (WIDTH - LEFT - 40) / max(self.last, 1)


def timeline(lab: Lab) -> str:
    """Draw both runs, a lane for each process; empty if nothing is built."""
    if lab.reference is None:
        return ""
    scale = _Scale(max(lab.steps, lab.reference_steps, *(process.done for process in lab.processes)))
    height = TOP + LANE * len(lab.processes) + 12 + AXIS
    parts = [_lane(scale, TOP, "uninterrupted", 0, lab.reference_steps, BLUE)]
    for index, process in enumerate(lab.processes):
        parts.append(_process(scale, TOP + LANE * (index + 1), index, process, lab.processes[:index]))
    parts.append(_axis(scale, height - 4))
    if (divergence := lab.divergence) is not None:
        x = scale.x(divergence.step)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{TOP - 10}" y2="{height - AXIS}" stroke="{RED}" stroke-dasharray="3 3"/>'
            f'<text x="{min(x, WIDTH - 190)}" y="{TOP - 14}" fill="{RED}" font-weight="bold">'
            f"first differs: step {divergence.step}, {html.escape(divergence.phase)}</text>"
        )
    style = f'style="max-width:{WIDTH}px" font-size="12" font-family="sans-serif" fill="currentColor" stroke="none"'
    label = f'role="img" aria-label="{html.escape(description(lab))}"'
    drawn = f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" {style} {label}>{"".join(parts)}</svg>'
    # In reversed order a scrolled box begins at its end, where the newest process is.
    return (
        f'<div style="max-height:{TALLEST}px; overflow-y:auto; display:flex; flex-direction:column-reverse">'
        f"{drawn}</div>"
    )


def description(lab: Lab) -> str:
    """Say in words what the timeline shows."""
    words = [f"uninterrupted: {counted(lab.reference_steps, 'step')}"]
    for process in lab.processes:
        begun = f"loaded at step {process.start}" if process.loaded else "built"
        saves = "".join(f", saved after step {step}" for step in process.saves)
        given = "".join(f", {name} transplanted at step {step}" for step, name in process.transplants)
        words.append(f"interrupted: {begun}{given}{saves}, {_end(process)} step {process.done}")
    return "; ".join(words)


def _end(process: Process) -> str:
    return "at" if process.alive else "killed after"


def _process(scale: _Scale, y: int, index: int, process: Process, before: list[Process]) -> str:
    """Draw one process of the interrupted run; `before` are those it may have been loaded from."""
    name = ("interrupted" if index == 0 else "resumed") + ("" if process.alive else ", killed")
    parts = [_lane(scale, y, name, process.start, process.done, RED)]
    if process.loaded:
        lane = next(at for at, each in reversed(list(enumerate(before))) if process.path in each.saves.values())
        x, above = scale.x(process.start), TOP + LANE * (lane + 1)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{above + 8}" y2="{y - 6}" stroke="{RED}" stroke-dasharray="2 2"/>')
    for step in process.saves:
        x = scale.x(step)
        parts.append(
            f'<rect x="{x - 6}" y="{y - 6}" width="12" height="12" fill="{RED}"><title>saved after step {step}</title>'
            f'</rect><text x="{x}" y="{y + 4}" text-anchor="middle" fill="white" font-size="10">S</text>'
        )
    for step, given in process.transplants:
        parts.append(
            f'<circle cx="{scale.x(step)}" cy="{y}" r="7" fill="none" stroke="{GREEN}" stroke-width="3">'
            f"<title>transplanted: {html.escape(given)}</title></circle>"
        )
    if not process.alive:
        x = scale.x(process.done) + 9
        parts.append(f'<text x="{x}" y="{y + 5}" fill="{RED}" font-weight="bold">✕<title>killed</title></text>')
    return "".join(parts)


def _lane(scale: _Scale, y: int, name: str, begun: int, done: int, colour: str) -> str:
    """Draw a line with a dot for each step, or at its ends if there are many."""
    steps = range(begun, done + 1) if done - begun <= _DOTS else (begun, done)
    dots = "".join(f'<circle cx="{scale.x(step)}" cy="{y}" r="3.5" fill="{colour}"/>' for step in steps)
    return (
        f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{name}</text>'
        f'<line x1="{scale.x(begun)}" x2="{scale.x(done)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>{dots}'
    )


def _axis(scale: _Scale, y: int) -> str:
    """Draw the numbers of the steps, at most 20."""
    every = next(gap for gap in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000) if scale.last / gap <= 20)
    ticks = (
        f'<text x="{scale.x(step)}" y="{y}" text-anchor="middle" font-size="10">{step}</text>'
        for step in range(0, scale.last + 1, every)
    )
    return f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" font-size="10">step</text>{"".join(ticks)}'
