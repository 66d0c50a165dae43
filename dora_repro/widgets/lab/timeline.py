"""The timeline of a lab (SVG): both runs, step by step, with saves, kills, loads, transplants and the first divergence.

Lines and words take the colour of the page's text, so that they read on a dark page as well.
"""

from dora_repro.lab.lab import Lab
from dora_repro.lab.process import Process
from dora_repro.printable import in_html
from dora_repro.widgets.lanes import (
    AXIS,
    BLUE,
    GREEN,
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


def timeline(lab: Lab) -> str:
    """Draw both runs, a lane for each process; empty if nothing is built."""
    if lab.reference is None:
        return ""
    scale = Scale(max(lab.steps, lab.reference_steps, *(process.done for process in lab.processes)))
    height = TOP + LANE * len(lab.processes) + 12 + AXIS
    parts = [lane(scale, TOP, "uninterrupted", 0, lab.reference_steps, BLUE)]
    for index, process in enumerate(lab.processes):
        parts.append(_process(scale, TOP + LANE * (index + 1), index, process, lab.processes[:index]))
    parts.append(axis(scale, height - 4))
    if (divergence := lab.divergence) is not None:
        parts.append(first_difference(scale, divergence.step, divergence.phase, height))
    return drawn(parts, height, description(lab))


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


def _process(scale: Scale, y: int, index: int, process: Process, before: list[Process]) -> str:
    """Draw one process of the interrupted run; `before` are those it may have been loaded from."""
    name = ("interrupted" if index == 0 else "resumed") + ("" if process.alive else ", killed")
    parts = [lane(scale, y, name, process.start, process.done, RED)]
    if process.loaded:
        from_lane = next(at for at, each in reversed(list(enumerate(before))) if process.path in each.saves.values())
        x, above = scale.x(process.start), TOP + LANE * (from_lane + 1)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{above + 8}" y2="{y - 6}" stroke="{RED}" stroke-dasharray="2 2"/>')
    for step in process.saves:
        x = scale.x(step)
        parts.append(save(x, y, step, RED))
    for step, given in process.transplants:
        parts.append(
            f'<circle cx="{scale.x(step)}" cy="{y}" r="7" fill="none" stroke="{GREEN}" stroke-width="3">'
            f"<title>transplanted: {in_html(given)}</title></circle>"
        )
    if not process.alive:
        parts.append(kill(scale.x(process.done) + 9, y))
    return "".join(parts)
