"""What a stream can show of a text: colours on a terminal, plain words where the symbols do not exist."""

import re
import shutil
import textwrap
from typing import TextIO

from dora_repro.printable import printable

NARROWEST = 40  # columns that a terminal is taken to have at least
CODE = 6  # spaces of indentation: lines of code have as many or more, and are not folded, so that they can be copied

# A size with its name, a count with its noun: never broken between them.
_WHOLE = re.compile(r"max diff(?: =|:) \S+|max \d+ ULP|[\d,]+ × \S+")
_HARD_SPACE = "\u00a0"

# For streams that cannot say them (LC_ALL=C, a Windows code page, PYTHONIOENCODING=ascii).
_WORDS = {
    "✓": "ok", "✗": "x", "✅": "[ok]", "❌": "[x]", "⚠": "[!]", "×": "x", "…": "...", "–": "-", "−": "-", "’": "'",
}  # fmt: skip  # a table
_COLOURS = {"✓": "green", "✗": "red", "✅": "green", "❌": "red", "⚠": "yellow"}


def fitted(text: str, stream: TextIO) -> str:
    """The text as `stream` can write it: without symbols it lacks; folded and coloured if it is a terminal."""
    text, encoding = printable(text), getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return in_words(text).encode(encoding, "replace").decode(encoding)
    return painted(folded(text, max(shutil.get_terminal_size().columns, NARROWEST))) if stream.isatty() else text


def folded(text: str, width: int = 110) -> str:
    """The text with its long lines broken between words, where a view would break them within: a notebook's does.

    Lines of code (see `CODE`) stay whole.

    Args:
        text: lines of text.
        width: of the view, in characters.
    """
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        if len(line) <= width or len(indent) >= CODE:
            lines.append(line)
            continue
        wrapper = textwrap.TextWrapper(width, indent, f"{indent}  ", break_long_words=False, break_on_hyphens=False)
        whole = _WHOLE.sub(lambda found: found[0].replace(" ", _HARD_SPACE), line.lstrip())
        lines += [each.replace(_HARD_SPACE, " ") for each in wrapper.wrap(whole)]
    return "\n".join(lines)


def in_words(text: str) -> str:
    """The text with words for symbols."""
    return text.translate({ord(symbol): word for symbol, word in _WORDS.items()})


def painted(text: str) -> str:
    """The text with terminal colours on the lines that begin with a mark."""
    import click

    return "\n".join(
        click.style(line, fg=_COLOURS[mark], bold=mark in "✅❌⚠" or None)
        if (mark := line.lstrip()[:1]) in _COLOURS
        else line
        for line in text.split("\n")
    )
