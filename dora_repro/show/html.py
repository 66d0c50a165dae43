"""Results as HTML: what a notebook shows of a report or a comparison, and a check's whole page.

The words are the console's; templates (`templates/`) lay them out and escape every name. A page is one file that loads
nothing: its figures lie in it.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, singledispatch
from pathlib import Path
from typing import TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.errors import MissingExtra
from dora_repro.show.console import report_blocks, reports_text, verdict_line

Cell: TypeAlias = str | int | float | None

ROWS = 20  # of a table in a notebook; the rest is counted
KINDS = {Verdict.EXACT: "passed", Verdict.WITHIN_TOLERANCE: "passed", Verdict.INCONCLUSIVE: "unsure"}


@singledispatch
def as_html(result: object) -> str:
    """A result as a fragment of HTML; each kind of result is registered below, beside what lays it out.

    Raises:
        TypeError: it is no result.
    """
    raise TypeError(f"cannot show a {type(result).__name__} as HTML")


@as_html.register
def report_html(report: Report, **wording: object) -> str:
    """A report as a fragment for a notebook; long lists unfold. `wording` as for `console.report_blocks`."""
    # A kept notebook should say the same each time it is run: no seconds.
    return _template("answer.html").render(answers=[_told(report, 8, {"timed": False, **wording})])


@as_html.register
def reports_html(reports: Reports) -> str:
    """Several reports: a line each, then the first of the worst in full."""
    lines = reports_text(reports).splitlines()
    told = {"verdict": lines[-1], "kind": KINDS.get(reports.verdict, "failed"), "blocks": [lines[:-1]]}
    return _template("answer.html").render(answers=[{**told, "folded_from": 80}])


@as_html.register
def comparison_html(comparison: Comparison) -> str:
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


def page(
    result: Report | Reports,
    *,
    asked: Mapping[str, object] | None = None,
    figures: bool = True,
    names: Callable[[str], str] | None = None,
    **wording: object,
) -> str:
    """A check as one HTML page that loads nothing: verdict, differences, figures, environment.

    Args:
        asked: what was asked for, shown beside the environment: the command, the configuration.
        figures: draw them, where matplotlib is installed.
        names, wording: as for `console.report_blocks`.
    """
    reports = result.reports if isinstance(result, Reports) else (result,)
    answers = []
    for report in reports:
        told = _told(report, 14, {"names": names, **wording})
        drawn = _figures(report, names) if figures and (len(reports) == 1 or not report.passed) else []
        answers.append({**told, "title": report.title, "figures": drawn})
    title = f"{result.title}: {result.verdict}"
    question = "Is the resumed run the same run, bit for bit?"
    environment = reports[-1].environment if reports else {}
    rows = [*_flat(asked or {}), *_flat({key: value for key, value in environment.items() if key != "flags"})]
    rows += [(f"flag {name}", str(value)) for name, value in environment.get("flags", {}).items()]
    return _template("page.html").render(title=title, question=question, answers=answers, environment=rows)


def _told(report: Report, folded_from: int, wording: dict) -> dict[str, object]:
    blocks = report_blocks(report, **wording)
    blocks[-1] = blocks[-1][:-1]  # the verdict stands above
    return {
        "verdict": verdict_line(report),
        "kind": KINDS.get(report.verdict, "failed"),
        "blocks": [block for block in blocks if block],
        "folded_from": folded_from,
    }


def _figures(report: Report, names: Callable[[str], str] | None) -> list[tuple[str, str]]:
    """(caption, PNG as base64) of what can be drawn of a report; none where matplotlib is not installed."""
    try:
        from dora_repro.show import figures
    except MissingExtra:
        return []
    drawn = []
    if report.reference is not None and any(step.loss is not None for step in report.reference.steps):
        drawn.append(("Loss of both sides, and how far apart they are", figures.losses(report)))
    if report.drift is not None and report.drift.first is not None:
        drawn.append(
            ("How far apart the parameters are, step by step", figures.drift_map(report.drift, names=names or str))
        )
        drawn.append(("How many elements are how far apart, at the end", figures.ulp_histogram(report.drift)))
    return [(caption, png(figure)) for caption, figure in drawn]


def png(figure: object) -> str:
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
        title: What the table shows, above it; may be empty.
        heads: The head of each column.
        rows: The cells of each row. Numbers are set to the right, and None is left empty.
        total: How many rows there are in all; where it is more than those given, the rest is counted below.
        centred: Centre all cells, as is best for marks.
        height: In pixels, at most; a longer table scrolls. By default as high as it is.
    """
    more = f"… and {total - len(rows):,} more" if total is not None and total > len(rows) else ""
    return _template("table.html").render(
        title=title, heads=heads, rows=rows, more=more, centred=centred, height=height
    )


def _flat(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Nested plain data as rows of two."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{key} {name}", text) for name, text in _flat(value)]
        else:
            rows.append((str(key), str(value)))
    return rows


def _size(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    folder = Path(__file__).with_name("templates")
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template(name: str):
    return _environment().get_template(name)
