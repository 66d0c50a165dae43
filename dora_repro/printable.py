"""Text that cannot lie: what a terminal or a page would obey, hide or reorder is written out as an escape.

Names come from files that somebody else made. A name with a line break would forge a line of a report, one with ESC
would colour it or set the terminal's title, one with U+202E would turn it around, and a lone surrogate cannot be
written at all. `one_line` is for whatever stands within a line (a path, a key, the name of a class or file), and is
used where that text is made. `printable` is for a whole text, where it goes out.
"""

import html
import json
import os
import unicodedata

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"})  # controls, formats, surrogates, breaks, no letters
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks that show nothing


def one_line(text: str) -> str:
    """The text with an escape, as Python writes it (`\\x1b`, `\\n`, `\\u202e`), for each character that is not seen."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def printable(text: str) -> str:
    """As `one_line`, but line breaks (`\\n`) and tabs stay: a text of several lines."""
    return "".join(char if char in "\n\t" else _shown(char) for char in text)


def named(path: str | os.PathLike[str]) -> str:
    """The name of a file for a message."""
    return one_line(os.fsdecode(os.fspath(path)))


def in_html(text: str) -> str:
    """A text as HTML, markup escaped, too."""
    return html.escape(printable(text))


def json_text(data: object, indent: int | None = 2) -> str:
    """JSON to be read by people, too: letters as they are, and JSON's escapes for what would not be seen.

    Raises:
        ValueError: a number that JSON does not know (NaN, Infinity).
    """
    text = json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)  # what is below a space is escaped
    return "".join(json.dumps(char)[1:-1] if char != "\n" and _unseen(char) else char for char in text)


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii") if _unseen(char) else char


def _unseen(char: str) -> bool:
    return unicodedata.category(char) in _CATEGORIES or char in _INVISIBLE
