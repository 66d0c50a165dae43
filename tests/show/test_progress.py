"""Bars on a terminal, nothing elsewhere, and how far a check came."""

import io

from dora_repro.show.progress import Progress

EVENTS = [
    ("reference", {"event": "built", "step": 0}),
    ("reference", {"event": "step", "step": 1}),
    ("reference", {"event": "saved", "step": 1}),
    ("reference", {"event": "step", "step": 2}),
    ("resumed", {"event": "loaded", "step": 1}),
    ("resumed", {"event": "step", "step": 2}),
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def heard(stream, **options) -> Progress:
    with Progress(2, stream, **options) as progress:
        for side, event in EVENTS:
            progress.on_event(side, event)
    return progress


def test_a_terminal_gets_a_bar_for_each_side_and_keeps_none():
    stream = Terminal()
    heard(stream)
    written = stream.getvalue()
    assert "reference:   0%" in written and "resumed:  50%" in written
    assert written.endswith("\r")  # the last bar is wiped
    assert "\n" not in written


def test_anything_else_gets_nothing():
    stream = io.StringIO()
    heard(stream)
    assert stream.getvalue() == ""
    stream = Terminal()
    heard(stream, wanted=False)
    assert stream.getvalue() == ""


def test_it_knows_how_far_the_check_came():
    with Progress(2, io.StringIO()) as progress:
        assert progress.reached == "before the first step"
        progress.on_event(*EVENTS[0])
        progress.on_event(*EVENTS[1])
        assert progress.reached == "the reference side was at step 1 of 2"
    assert heard(io.StringIO()).reached == "the resumed side was at step 2 of 2"


def test_bars_are_gone_when_the_check_is_stopped():
    stream = Terminal()
    try:
        with Progress(None, stream) as progress:
            progress.on_event(*EVENTS[0])
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert stream.getvalue().endswith("\r")
    assert progress.reached == "the reference side was at step 0"
