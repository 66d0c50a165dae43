"""Make docs/answer.svg: what a terminal shows of `dora-repro quick --checkpoint dora-only`.

    python docs/make_answer.py

The command runs on a terminal of its own (POSIX only), and what it prints, colours and all, is drawn as text. The
README quotes from it, and a test compares the two.
"""

import os
import pty
import re
import subprocess
import sys
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("answer.svg")
COMMAND = ("quick", "--checkpoint", "dora-only")
COLUMNS = 120  # of the terminal

LINE, CHARACTER, MARGIN = 18, 7.83, 16  # pixels: a line's height, a character's width at 13 px, the border
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341"}  # what click writes for red, green, yellow
BACKGROUND, TEXT, DIM = "#161b22", "#c9d1d9", "#8b949e"
_CODES = re.compile(r"\x1b\[([\d;]*)m")


def main() -> None:
    lines = on_terminal([sys.executable, "-m", "dora_repro", *COMMAND])
    PICTURE.write_text(drawn([f"$ dora-repro {' '.join(COMMAND)}", *lines]), encoding="utf-8")


def on_terminal(command: list[str]) -> list[str]:
    """The lines that a command prints on a terminal of `COLUMNS`, with its colour codes, without its progress bars."""
    ours, theirs = pty.openpty()
    wide = {**os.environ, "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=wide):
        os.close(theirs)
        printed = bytearray()
        while True:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # EIO: the other end is closed, as Linux says it
                break
            if not read:
                break
            printed += read
    os.close(ours)
    return printed.decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")


def drawn(lines: list[str]) -> str:
    """Lines of a terminal as SVG."""
    width = max(len(uncoloured(line)) for line in lines) * CHARACTER + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    body = [
        f'<text x="{MARGIN}" y="{MARGIN + LINE * (number + 0.75):g}"{_look(line, number)}>'
        f"{escape(uncoloured(line))}</text>{_cross(line, number)}"
        for number, line in enumerate(lines)
        if line
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
            f'height="{height}" font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" '
            f'font-size="13" fill="{TEXT}" xml:space="preserve">',
            "<style>text { white-space: pre }</style>",
            f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
            *body,
            "</svg>\n",
        ]
    )


def uncoloured(line: str) -> str:
    """A line without its colour codes."""
    return _CODES.sub("", line)


def _cross(line: str, number: int) -> str:
    """A cross over the emoji that a line begins with, which many fonts lack."""
    if not uncoloured(line).startswith("❌"):
        return ""
    top, red = MARGIN + LINE * (number + 0.25), COLOURS["31"]
    return (
        f'<rect x="{MARGIN}" y="{top - 3:g}" width="{1.8 * CHARACTER:g}" height="{LINE - 2}" fill="{BACKGROUND}"/>'
        f'<path d="M{MARGIN + 1} {top:g} l9 9 m0 -9 l-9 9" stroke="{red}" stroke-width="2.5"/>'
    )


def _look(line: str, number: int) -> str:
    codes = {code for found in _CODES.findall(line) for code in found.split(";")}
    look = "".join(f' fill="{colour}"' for code, colour in COLOURS.items() if code in codes)
    if number == 0:
        look = f' fill="{DIM}"'
    return look + (' font-weight="bold"' if "1" in codes else "")


if __name__ == "__main__":
    main()
