"""Results as HTML: what a notebook shows of a report or a comparison, and a check's whole page.

The words are the console's: the answer first, then the evidence, folded. Templates (`templates/`) lay them out and
escape every name. A page is one file that loads nothing: its figures lie in it.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.contracts import Json
from dora_repro.errors import MissingExtra
from dora_repro.printable import one_line, printable
from dora_repro.show import captions
from dora_repro.show.answer import headline_and_details
from dora_repro.show.console import overview, verdict_line
from dora_repro.show.evidence import evidence
from dora_repro.show.groups import Names
from dora_repro.show.screen import CODE
from dora_repro.show.sections import Block, Wording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell: TypeAlias = str | int | float | None

ROWS = 20  # of a table in a notebook; the rest is counted
KINDS = {Verdict.EXACT: "passed", Verdict.WITHIN_TOLERANCE: "passed", Verdict.INCONCLUSIVE: "unsure"}
# As the names of leaves, but no code: such a word is broken rather than put on a line of its own on a narrow page.
_LONG_WORD = re.compile(r"((?<!\S)[^\s()\[\]\"']{24,}(?!\S))")
_MARKS = {"✓": "yes", "✅": "yes", "✗": "no", "❌": "no", "⚠": "maybe"}


@singledispatch
def as_html(result: object) -> str:
    """A result as a fragment of HTML; each kind of result is registered below, beside what lays it out.

    Raises:
        TypeError: it is no result.
    """
    raise TypeError(f"cannot show a {type(result).__name__} as HTML")


@as_html.register
def report_html(report: Report, names: Names | None = None, parameters: str = "Parameters") -> str:
    """A report as a fragment for a notebook: the answer, and the evidence folded.

    Args:
        report: what a check found.
        names: gives the name that is shown for a leaf's path; by default the path itself.
        parameters: what the trained parameters are called.
    """
    # A stored notebook should say the same each time it is run: no seconds.
    wording = Wording(names or str, parameters=parameters, timed=False)
    return _template("answer.html").render(
        answer=headline_and_details(report, wording.names),
        kind=_kind(report),
        blocks=evidence(report, wording),
        verdict=verdict_line(report),
    )


@as_html.register
def reports_html(reports: Reports) -> str:
    """Several reports: the answer, a line each, and the evidence of the first of the worst."""
    worst = next((report for report in reports.reports if report.verdict is reports.verdict), None)
    blocks = evidence(worst, Wording(timed=False)) if worst is not None and not worst.passed else []
    return _template("answer.html").render(
        answer=headline_and_details(reports),
        kind=_kind(reports),
        blocks=[overview(reports), *blocks],
        verdict=verdict_line(reports),
    )


@as_html.register
def comparison_html(comparison: Comparison) -> str:
    """A comparison as a table of the leaves that differ."""
    equal = len(comparison.compared) - len(comparison.differences)
    rows = [
        (d.path, d.kind, d.expected, f"{d.differing}/{d.total}" if d.total else "", _size(d.max_abs), d.max_ulp or "")
        for d in comparison.differences[:ROWS]
    ]
    return html_table(
        f"{comparison.name}: {equal} of {len(comparison.compared)} equal by bytes",
        ("leaf", "how", "expected", "elements", "max diff", "max ULP"),
        rows,
        total=len(comparison.differences),
    )


@dataclass(frozen=True)
class Drawing:
    """A figure of a page: what it is, what is seen on it, and the PNG in base64."""

    title: str
    caption: str
    data: str


@dataclass(frozen=True)
class Part:
    """One report of a page.

    Attributes:
        title: of the report.
        kind: `passed`, `failed` or `unsure`.
        answer: its headline, and its other lines.
        blocks: the evidence.
        figures: what was drawn of it.
    """

    title: str
    kind: str
    answer: tuple[str, list[str]]
    blocks: list[Block]
    figures: list[Drawing]


def page(
    result: Report | Reports,
    *,
    asked: Mapping[str, Json] | None = None,
    figures: bool = True,
    names: Names | None = None,
    about: Sequence[str] = (),
    parameters: str = "Parameters",
) -> str:
    """A check as one HTML page that loads nothing: the answer, all of the evidence, figures, the environment.

    Args:
        result: what a check found, or several.
        asked: what was asked for, shown beside the environment: the command, the configuration.
        figures: draw them, where matplotlib is installed.
        names: gives the name that is shown for a leaf's path; by default the path itself.
        about: lines on what was run.
        parameters: what the trained parameters are called.
    """
    reports = result.reports if isinstance(result, Reports) else (result,)
    wording = Wording(names or str, verbose=True, parameters=parameters)
    several = isinstance(result, Reports)
    parts = [
        Part(
            report.title,
            _kind(report),
            headline_and_details(report, wording.names),
            evidence(report, wording, () if several else about),
            _drawings(report, names or str) if figures and not (several and report.passed) else [],
        )
        for report in reports
    ]
    return _template("page.html").render(
        title=f"{result.title}: {result.verdict}" if reports else result.title,
        question="Is the resumed run the same run, bit for bit?",
        kind=_kind(result),
        overall=headline_and_details(result, wording.names) if isinstance(result, Reports) else None,
        overview=overview(result, about) if isinstance(result, Reports) else None,
        parts=parts,
        environment=_flat({**(asked or {}), **(reports[-1].environment if reports else {})}),
        verdict=verdict_line(result),
    )


def _kind(result: Report | Reports) -> str:
    if isinstance(result, Reports) and not result.reports:
        return "unsure"
    return KINDS.get(result.verdict, "failed")


def _drawings(report: Report, names: Names) -> list[Drawing]:
    """What can be drawn of a report; nothing where matplotlib is not installed."""
    try:
        from dora_repro.show import figures
    except MissingExtra:
        return []
    drawn = []
    if report.reference is not None and any(step.loss is not None for step in report.reference.steps):
        drawn.append(Drawing("Loss", captions.of_losses(report), png(figures.losses(report))))
    drift = report.drift
    if drift is not None and drift.first is not None:
        picture = png(figures.drift_map(drift, names=names))
        drawn.append(Drawing("Drift of the parameters", captions.of_drift_map(drift), picture))
        picture = png(figures.ulp_histogram(drift))
        drawn.append(Drawing("Sizes of the differences", captions.of_ulp_histogram(drift), picture))
    return drawn


def png(figure: "Figure") -> str:
    """A figure as PNG, in base64."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return base64.b64encode(file.getvalue()).decode()


def html_table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    total: int | None = None,
    centred: bool = False,
    height: int | None = None,
) -> str:
    """A table as a fragment of HTML, in the colours of the page it is shown on; everything in it is escaped.

    Args:
        title: what the table shows, above it; may be empty.
        heads: the head of each column.
        rows: the cells of each row. Numbers are set to the right, and None is left empty.
        total: how many rows there are in all; where it is more than those given, the rest is counted below.
        centred: centre all cells, as is best for marks.
        height: in pixels, at most; a longer table scrolls. By default as high as it is.
    """
    more = f"… and {total - len(rows):,} more" if total is not None and total > len(rows) else ""
    return _template("table.html").render(
        title=title, heads=heads, rows=rows, more=more, centred=centred, height=height
    )


def mark_apart(line: str) -> tuple[str, str, str, str]:
    """(indentation, mark, `yes`, `no` or `maybe`, the rest) of a line; mark and kind are empty where there is none."""
    rest = line.lstrip(" ")
    mark = rest[:1] if rest[:1] in _MARKS else ""
    return line[: len(line) - len(rest)], mark, _MARKS.get(mark, ""), rest.removeprefix(mark)


def words_apart(text: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is a long word, as the names of leaves are."""
    return [(piece, bool(number % 2)) for number, piece in enumerate(_LONG_WORD.split(text)) if piece]


def _flat(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Nested plain data as rows of two."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{key} {name}", text) for name, text in _flat(value)]
        else:
            rows.append((one_line(str(key)), one_line(str(value))))
    return rows


def _size(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"


def _seen(value: object) -> object:
    """What a template fills in: text without what a page would hide or turn around; markup and numbers as they are."""
    return printable(value) if type(value) is str else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    folder = Path(__file__).with_name("templates")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mark_apart"] = mark_apart
    environment.filters["words_apart"] = words_apart
    environment.globals["code_indent"] = CODE
    return environment


def rendered(name: str, **fields: object) -> str:
    """A template with its fields filled in; what is no markup is escaped."""
    return _template(name).render(**fields)


def _template(name: str) -> Template:
    return _environment().get_template(name)
