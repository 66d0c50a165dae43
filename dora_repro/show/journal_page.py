"""The journal of a training as HTML: a table in a notebook, and a page of its own."""

from dora_repro.journal.reading import Journal
from dora_repro.show.html import KINDS, as_html, html_table, rendered
from dora_repro.show.journal import HEADS, details, headline, rows

__all__ = ["as_html", "journal_page"]


@as_html.register
def _(journal: Journal) -> str:
    return html_table(headline(journal)[0], HEADS, rows(journal))


def journal_page(journal: Journal) -> str:
    """A journal as one HTML page that loads nothing."""
    first, *rest = headline(journal)
    return rendered(
        "journal.html",
        title=f"Journal {journal.folder}: {journal.verdict}",
        question="Did each start go on as the one before it was, bit for bit?",
        kind=KINDS.get(journal.verdict, "failed"),
        answer=(first, rest),
        starts=html_table("", HEADS, rows(journal)),
        details=details(journal),
        verdict=first,
    )
