"""A result shows itself: printed on a terminal, displayed in a notebook, in the message of a failed assertion.

How results look is the matter of `show`, which knows them all; they know nothing of it but these lines. These are the
only imports against the order of the rooms, made when something is shown: computing a result loads no screen. They
name the modules that come last in `show`: once these are there, all kinds of results are registered.
"""

from dora_repro.printable import printable


class Shown:
    """A result that `show` can put into text and HTML."""

    __slots__ = ()

    def __str__(self) -> str:
        from dora_repro.show.journal import as_text

        return printable(as_text(self))

    def __repr__(self) -> str:
        # pytest shows this, not `str`, for `assert report.passed, report`.
        from dora_repro.show.journal import as_summary

        summary = as_summary(self)
        return type(summary)(printable(summary))

    def _repr_html_(self) -> str:
        from dora_repro.show.journal_page import as_html

        return as_html(self)
