"""Progress of a check: a bar for each side on a terminal, none elsewhere; and how far it came, for whoever stops it."""

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Never, TextIO

from dora_repro.sides.protocol import Event

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(AbstractContextManager):
    """Listen to a check (`on_event`) and draw a bar for the side that works; the bar disappears at the end.

    Args:
        steps: number of the last step, for the bars; None if it is not known beforehand.
        stream: where to draw; no bar is drawn unless it is a terminal.
        wanted: whether to draw at all.
    """

    def __init__(self, steps: int | None = None, stream: TextIO | None = None, wanted: bool = True):
        self._steps, self._stream = steps, stream or sys.stderr
        self._wanted = wanted and self._stream.isatty()
        self._bar: tqdm[Never] | None = None
        self._side: str | None = None
        self._step = 0
        self._sides_begun = 0

    def __enter__(self) -> "Progress":
        self._draw("starting", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def on_event(self, side: str, event: Event) -> None:
        """Draw what a side reports while it runs.

        Args:
            side: `reference`, `resumed`, or what is repeated.
            event: `built`, `loaded`, `step`, `saved`, and the step it is at.
        """
        kind = event["event"]
        self._step = event.get("step", self._step)
        if kind in ("built", "loaded") or side != self._side:
            self._side = side
            self._sides_begun += 1
            self._draw(side, self._step)
        elif kind == "step" and self._bar is not None:
            self._bar.update(self._step - self._bar.n)
        elif kind == "saved" and self._bar is not None:
            self._bar.set_postfix_str(f"saved after step {self._step}")

    @property
    def reached(self) -> str:
        """How far it came, as the end of a sentence."""
        if self._side is None:
            return "before the first step"
        of = f" of {self._steps}" if self._steps else ""
        return f"the {self._side} side was at step {self._step}{of}"

    def _draw(self, title: str, done: int) -> None:
        self._clear()
        if not self._wanted:
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread that redraws: this process is forked
        self._bar = tqdm(
            desc=title, total=self._steps, initial=done, unit="step", file=self._stream, leave=False, dynamic_ncols=True
        )

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
