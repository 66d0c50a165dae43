"""The words of a test that failed, and the pages that are kept."""

import traceback

import pytest

from dora_repro.errors import BadInput
from dora_repro.pytest_plugin import telling
from dora_repro.show.answer import answer
from dora_repro.show.console import as_text
from tests.show import made


def test_a_failure_says_the_answer_then_where_more_is_then_the_line_that_asked():
    report = made.different()
    text = telling.failure(report, "tests/test_a.py:7", None, whole=False).splitlines()
    assert text[:-2] == answer(report)
    assert text[-2:] == [
        "  The evidence: -vv shows it, --resume-exact-html DIR keeps it.",
        "tests/test_a.py:7: DIFFERENT",
    ]
    kept = telling.failure(report, "a.py:7", "pages/a.html", whole=False).splitlines()
    assert kept[-2:] == ["  Page: pages/a.html", "a.py:7: DIFFERENT"]


def test_a_failure_is_told_whole_where_that_is_asked_for():
    report = made.different()
    assert telling.failure(report, "a.py:7", None, whole=True) == f"{as_text(report)}\na.py:7: DIFFERENT"


def test_what_cannot_be_asked_is_told_in_eighty_columns_and_a_log_stays_as_it_is():
    error = BadInput(f"{'word ' * 30}end\nTraceback:\n  {'x' * 100}")
    lines = telling.cannot(error, "a.py:7").splitlines()
    assert lines[0].startswith("✗ resume_exact: word word") and lines[1].startswith("  word")
    assert max(map(len, lines[:3])) <= 80
    assert lines[-3:] == ["Traceback:", f"  {'x' * 100}", "a.py:7: nothing was compared"]


def test_a_place_is_that_of_the_call_seen_from_where_pytest_was_started(tmp_path):
    here = telling.place(traceback.extract_stack(limit=1)[0], tmp_path)
    assert here.startswith("..") and "test_telling.py:" in here


def test_each_call_of_each_test_has_a_page_of_its_own(tmp_path):
    folder, report = tmp_path / "new" / "pages", made.report()
    long = "x" * 200
    names = ["tests/test_a.py::test_b[1-a/b]", "tests/test_a.py::test_b[2]", f"t.py::{long}1", f"t.py::{long}2"]
    kept = [telling.keep(report, folder, name, 1) for name in names] + [telling.keep(report, folder, names[0], 2)]
    assert len({path.name for path in kept}) == len(kept) == len(list(folder.iterdir()))
    assert kept[0].name == "tests-test_a-test_b-1-a-b.html" and kept[-1].name == "tests-test_a-test_b-1-a-b-2.html"
    assert names[0] in kept[0].read_text(encoding="utf-8")


def test_pages_that_cannot_be_written_are_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"resume-exact-html=.*name a folder that can be written to"):
        telling.keep(made.report(), tmp_path / "file" / "pages", "t.py::test_a", 1)
