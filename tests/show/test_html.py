"""HTML of results: every word of the answer is there, every name is escaped, and a page loads nothing."""

import re
from html.parser import HTMLParser

import pytest

from dora_repro.checks.report import Reports
from dora_repro.comparison.leaves import Comparison, compare
from dora_repro.show.answer import answer, headline_and_details
from dora_repro.show.console import verdict_line
from dora_repro.show.evidence import evidence
from dora_repro.show.html import html_table, mark_apart, page, words_apart
from dora_repro.show.sections import Wording
from dora_repro.trace import Divergence, Step, Trace
from tests.show import made

EVIL = "<script>alert('x')</script>&\"quoted\""


class Text(HTMLParser):
    """Tags and visible text; a tag that is closed wrongly raises."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.text, self.sources = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Text(html).text))


@pytest.mark.parametrize("report", [made.report(), made.different(), made.latent(), made.inconclusive()])
def test_a_report_shows_itself_with_every_line_of_its_text(report):
    shown = text_of(report._repr_html_())
    blocks = [*evidence(report, Wording(timed=False))]
    headline, details = headline_and_details(report)
    for line in [
        headline,
        *details,
        *(line for block in blocks for line in block.text.splitlines()),
        verdict_line(report),
    ]:
        assert re.sub(r"\s+", " ", line).strip().rstrip(":") in shown
    assert "Cost: 3 + 1 steps (reference + resumed)" in shown and "1.2 + 0.5 s" not in shown  # the same each time


def test_every_name_is_escaped():
    found = made.differs(f"model/{EVIL}")
    report = made.different(
        title=EVIL,
        reason=EVIL,
        divergence=Divergence(3, "update", EVIL, "value", found),
        comparisons=(Comparison(EVIL, (found.path,), (found,), 1e-8),),
        lost=(found,),
        latent=(EVIL,),
        notes=(EVIL,),
        error=EVIL,
        uncaptured={EVIL: EVIL},
        environment={EVIL: EVIL, "flags": {EVIL: EVIL}},
    )
    for html in (
        report._repr_html_(),
        page(report, asked={EVIL: EVIL}, about=[EVIL]),
        report.comparisons[0]._repr_html_(),
    ):
        assert "script" not in Text(html).tags
        assert "alert('x')" in text_of(html)


def test_a_page_is_whole_and_loads_nothing():
    html = page(made.different(), asked={"command": "dora-repro quick"})
    parsed = Text(html)
    assert html.lstrip().startswith("<!DOCTYPE html>") and parsed.tags[:2] == ["html", "head"]
    assert 'name="viewport"' in html
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert not re.search(r"https?://", html)
    words = text_of(html)
    assert (
        "❌ TEST FAILED: Checkpoint loading has issues" in words and "dora-repro quick" in words and "3.11.7" in words
    )


def test_a_page_of_several_reports_has_each_of_them():
    reports = Reports("every step", (made.report(title="resumed at step 0"), made.different(title="resumed at step 1")))
    words = text_of(page(reports))
    assert "resumed at step 0" in words and "resumed at step 1" in words
    shown = text_of(reports._repr_html_())
    assert "every step: 2 resumed runs against one" in shown and "TEST FAILED" in shown


def test_a_comparison_shows_itself():
    many = compare({str(index): index for index in range(30)}, {}, name="load")
    assert "load: 0 of 30 equal by bytes" in text_of(many._repr_html_())
    assert "… and 10 more" in text_of(many._repr_html_())


def test_a_table_escapes_sets_numbers_apart_and_counts_what_it_leaves_out():
    html = html_table(EVIL, ("<b>", "how many"), [(EVIL, 3), ("none", None)], total=1002)
    parsed = Text(html)
    assert {"script", "b"}.isdisjoint(parsed.tags)
    assert parsed.tags.count("th") == 2 and parsed.tags.count("td") == 4
    assert '<td class="number">3</td>' in html and "<td></td>" in html
    assert "… and 1,000 more" in text_of(html)


def test_a_table_that_is_whole_counts_nothing_and_one_without_rows_is_a_title():
    whole = html_table("title", ("a",), [("b",)], total=1, centred=True, height=420)
    assert "more" not in text_of(whole)
    assert '<table class="centred">' in whole and "max-height: 420px" in whole
    assert "table" not in Text(html_table("nothing here", ("a",), [])).tags
    assert "about" not in html_table("", ("a",), [("b",)]).partition("</style>")[2]


def test_the_repr_of_a_report_is_its_answer_and_that_of_a_comparison_one_line():
    both = Reports("twice", (made.report(), made.latent()))
    assert repr(both) == "\n".join(answer(both)) and repr(both.reports[1]) == "\n".join(answer(both.reports[1]))
    assert repr(made.comparisons()[0]) == "Comparison(load: 0 of 2 leaves differ)"


def test_a_mark_is_set_apart_at_the_beginning_of_a_line_alone():
    assert mark_apart("  ✗ a ✓ b") == ("  ", "✗", "no", " a ✓ b")
    assert mark_apart("✅ TEST PASSED") == ("", "✅", "yes", " TEST PASSED")
    assert mark_apart("    state[0] = 1") == ("    ", "", "", "state[0] = 1")
    assert mark_apart("") == ("", "", "", "")


@pytest.mark.parametrize("show", [lambda report: report._repr_html_(), page], ids=["notebook", "page"])
def test_the_answer_comes_first_and_the_evidence_is_folded(show):
    html = show(made.explained())
    body = html.partition("</style>")[2]
    assert body.index('class="answer failed"') < body.index("<details>") < body.index('class="verdict failed"')
    folded = body.partition("<details>")[2]
    assert "✗</span> DIFFERENT: resumed after step 2 of 3" in body and "<details open" not in body
    for word in ("Parameters right after loading", "What was lost", "Why: these together", "Control: "):
        assert f'<summary><span class="about">{word}' in folded


def test_a_page_holds_all_of_the_evidence_and_a_notebook_the_first_of_it():
    lost = tuple(made.missing(f"part{number}/x{number}") for number in range(20))
    report = made.explained(lost=lost)
    assert "part19/x19" in page(report) and "Trials: " in page(report)
    assert "part19/x19" not in report._repr_html_() and "… and 8 more leaves" in report._repr_html_()


def test_figures_have_a_title_and_a_caption_that_says_what_is_seen():
    losses = Trace([Step(number, 4.0 - number, (), (), {}) for number in (1, 2, 3)])
    words = text_of(page(made.different(reference=losses, resumed=Trace(losses.steps[2:]))))
    assert "Loss. Loss of both runs at each step (top) and their difference (bottom)" in words
    assert "The losses are equal at every resumed step." in words
    assert "Loss of both runs" not in text_of(page(made.different(reference=losses), figures=False))


def test_a_long_name_may_break_and_is_not_pushed_off_its_mark():
    for text in (" a.b: x", 'save(): state["optimizer"] = self.optimizer.state_dict()'):
        assert words_apart(text) == [(text, False)]
    name = "clip_model.visual.transformer.resblocks.1.m:"
    assert words_apart(f" {name} max diff = 0") == [(" ", False), (name, True), (" max diff = 0", False)]
    text = page(made.different(), names=lambda path: f"clip_model.visual.resblocks.{path}")
    assert '<span class="mark no">✗</span> <span class="name">clip_model.visual.resblocks.model/a.m:</span> max' in text
