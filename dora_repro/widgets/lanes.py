"""What timelines are drawn of (SVG): lanes of steps, saves, kills, the first difference, the numbers of the steps.

Lines and words take the colour of the page's text, so that they read on a dark page as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dora_repro.printable import in_html

WIDTH, LEFT, TOP, LANE, AXIS = 780, 128, 26, 26, 18  # pixels
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"
TALLEST = 190  # pixels; a timeline of many processes scrolls, so that what is below it stays in view
DOTS = 60  # steps that each have a dot


@dataclass(frozen=True)
class Scale:
    """Steps to pixels.

    Attributes:
        last: the last step that is drawn.
    """

    last: int

    def x(self, step: float) -> float:
        """Where a step is drawn."""
        return LEFT + 12 + step * (WIDTH - LEFT - 40) / max(self.last, 1)


def lane(scale: Scale, y: int, name: str, begun: int, done: int, colour: str) -> str:
    """Draw a line with a dot for each step, or at its ends if there are many."""
    steps = range(begun, done + 1) if done - begun <= DOTS else (begun, done)
    dots = "".join(f'<circle cx="{scale.x(step)}" cy="{y}" r="3.5" fill="{colour}"/>' for step in steps)
    return (
        f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{name}</text>'
        f'<line x1="{scale.x(begun)}" x2="{scale.x(done)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>{dots}'
    )


def axis(scale: Scale, y: int) -> str:
    """Draw the numbers of the steps, at most 20."""
    every = next(gap for gap in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000) if scale.last / gap <= 20)
    ticks = (
        f'<text x="{scale.x(step)}" y="{y}" text-anchor="middle" font-size="10">{step}</text>'
        for step in range(0, scale.last + 1, every)
    )
    return f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" font-size="10">step</text>{"".join(ticks)}'


def save(x: float, y: float, step: int, colour: str) -> str:
    """Draw a save."""
    return (
        f'<rect x="{x - 6}" y="{y - 6}" width="12" height="12" fill="{colour}"><title>saved after step {step}</title>'
        f'</rect><text x="{x}" y="{y + 4}" text-anchor="middle" fill="white" font-size="10">S</text>'
    )


def kill(x: float, y: float) -> str:
    """Draw the end of a process that was killed."""
    return f'<text x="{x}" y="{y + 5}" fill="{RED}" font-weight="bold">✕<title>killed</title></text>'


def first_difference(scale: Scale, step: int, phase: str, height: float) -> str:
    """Draw where two runs first differ, through all lanes."""
    x = scale.x(step)
    return (
        f'<line x1="{x}" x2="{x}" y1="{TOP - 10}" y2="{height - AXIS}" stroke="{RED}" stroke-dasharray="3 3"/>'
        f'<text x="{min(x, WIDTH - 190)}" y="{TOP - 14}" fill="{RED}" font-weight="bold">'
        f"first differs: step {step}, {in_html(phase)}</text>"
    )


def drawn(parts: Sequence[str], height: float, description: str) -> str:
    """The whole of a timeline, as HTML.

    Args:
        parts: what it is drawn of.
        height: in pixels.
        description: the same in words.
    """
    style = f'style="max-width:{WIDTH}px" font-size="12" font-family="sans-serif" fill="currentColor" stroke="none"'
    label = f'role="img" aria-label="{in_html(description)}"'
    picture = f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" {style} {label}>{"".join(parts)}</svg>'
    # In reversed order a scrolled box begins at its end, where the newest process is.
    return (
        f'<div style="max-height:{TALLEST}px; overflow-y:auto; display:flex; flex-direction:column-reverse">'
        f"{picture}</div>"
    )
