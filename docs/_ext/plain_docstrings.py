"""Docstrings are plain text with code in single backticks; this makes them safe for reStructuredText.

Outside code, characters that reStructuredText would take for markup are escaped; code becomes a literal, also where a
letter follows it (`leaf`s). Default values in signatures that have no literal form are shown as `...`. Fields of named
tuples, and those whose default is a class, are described where their own class describes them, and not a second time as
"Alias for field number 0" or by the docstring of the default.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")

_EMPHASIS = re.compile(r"(?<!\w)(\*\w[\w -]*\w\*)(?!\w)|([*|\\])")  # *a word*, kept; or markup, escaped


def as_restructured_text(lines: list[str]) -> list[str]:
    """The lines of a docstring, as reStructuredText that says the same."""
    parts = _CODE.split("\n".join(lines))
    texts = [_EMPHASIS.sub(lambda match: match[1] or f"\\{match[2]}", part) for part in parts[::2]]
    texts = [re.sub(r"(\w)_(?=\W|$)", r"\1\\_", part) for part in texts]
    codes = [re.sub(r"\s*\n\s*", " ", part) for part in parts[1::2]]
    whole = texts[0]
    for code, after in zip(codes, texts[1:], strict=True):
        before = "\\ " if re.search(r"\w\Z", whole) else ""
        whole += f"{before}``{code}``" + ("\\ " if re.match(r"\w", after) else "") + after
    return whole.split("\n")


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = as_restructured_text(lines)
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = f": {lines[0]}"  # napoleon takes what stands before the first colon for a type: here, nothing


def literal_defaults(signature: str | None) -> str | None:
    """A signature in which each default like `<factory>` or `<object object at 0x7f>` is `...`."""
    return signature and re.sub(r"<[^<>]*(?:<[^<>]*>)?[^<>]*>", "...", signature)


def _process_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return literal_defaults(signature), returns


def _skip(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    alias = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias or (isinstance(obj, type) and obj.__module__ == "builtins") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process, priority=100)  # before napoleon, which is at 500
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
