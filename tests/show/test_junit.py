"""JUnit, read back as continuous integration reads it."""

from xml.etree import ElementTree

import pytest

from dora_repro.checks.report import Reports
from dora_repro.comparison.leaves import Comparison
from dora_repro.show.answer import answer
from dora_repro.show.console import report_text
from dora_repro.show.junit import clean, junit_text
from tests.show.made import different, differs, inconclusive, latent, report, tolerated


def counts(element: ElementTree.Element) -> tuple[int, ...]:
    return tuple(int(element.get(name)) for name in ("tests", "failures", "errors", "skipped"))


def read(made) -> ElementTree.Element:
    return ElementTree.fromstring(junit_text(made).encode())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (report(), (4, 0, 0, 0)),
        (tolerated(), (4, 0, 0, 0)),
        (latent(), (4, 1, 0, 0)),
        (different(), (4, 3, 0, 0)),
        (inconclusive(), (4, 0, 1, 2)),
    ],
    ids=lambda value: str(getattr(value, "verdict", "")),
)
def test_each_verdict_has_its_counts(made, expected):
    root = read(made)
    assert counts(root) == expected == counts(root.find("testsuite"))
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == ["load", "parameters", "outputs", "verdict"]
    verdict = root.findall(".//testcase")[-1]
    assert (verdict.find("failure") is None and verdict.find("error") is None) == made.passed


def test_a_failure_says_what_differs():
    failures = list(read(different()).iter("failure"))
    assert failures[0].get("message").startswith("parameters: not exact; beyond the study's tolerance 1e-08")
    assert failures[0].text == "model/a.m  f32[64]  3/64 (4.69 %)  max diff = 1.23e-04  max 2 ULP at [17]"
    assert failures[-1].get("message") == answer(different())[0]
    assert failures[-1].text == report_text(different())


def test_several_reports_are_several_suites():
    root = read(Reports("every step", (report(title="resumed at step 0"), different(title="resumed at step 1"))))
    assert [suite.get("name") for suite in root] == ["resumed at step 0", "resumed at step 1"]
    assert counts(root) == (8, 3, 0, 0)


def test_what_xml_cannot_hold_is_written_out_and_markup_escaped():
    path = 'model/<a & "b">\x00\x1b[31m\ud800\uffff'
    made = different(comparisons=(Comparison("parameters", (path,), (differs(path),), 1e-8),), title="<&>\x07")
    root = read(made)
    assert next(root.iter("failure")).text.startswith(r'model/<a & "b">\x00\x1b[31m\ud800\uffff  f32')
    assert root.find("testsuite").get("name") == r"<&>\x07"


def test_clean_leaves_ordinary_text_alone():
    assert clean("tab\t line\n ✓ 😀 é") == "tab\t line\n ✓ 😀 é"
