"""A journal as text, in a notebook and as a page."""

import pytest

from dora_repro.journal.reading import read_journal
from dora_repro.show.journal_page import journal_page
from tests.journal.journals import make, resumed, wrote


@pytest.fixture
def journal(tmp_path):
    """A right resume, a wrong one, and one that read a file of somebody else."""
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), updates="abcd")
    make(tmp_path, 2, resumed(1, 2), updates="cdef", base=2)
    lost = resumed(2, 4, {"moment": ["optimizer/<w>/exp_avg"], "generator": ["rng/torch.cpu"]})
    make(tmp_path, 3, lost, updates="xy", base=4)
    make(tmp_path, 4, {"kind": "began", "reads": ["/data/other.pt"]}, updates="a")
    return read_journal(tmp_path)


def test_the_text_begins_with_the_answer_and_has_a_line_for_each_start(journal):
    lines = str(journal).splitlines()
    assert lines[0] == ("✗ DIFFERENT: 1 of 2 resumes exact; 1 start began anew though there was a checkpoint")
    rows = [line for line in lines if line[:1].isdigit()]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
    assert "3–4 equal" in rows[1]
    assert rows[1].endswith("✓ EXACT")
    assert "differs at 5" in rows[2]
    assert rows[2].endswith("✗ DIFFERENT")
    assert "nothing: began anew" in rows[3]


def test_what_did_not_go_on_as_it_was_is_told_in_full(journal):
    text = str(journal)
    assert "✗ first differs in phase update: parameter/w" in text
    assert "moment: optimizer/<w>/exp_avg" in text
    assert "optimizer/<w>/exp_avg and rng/torch.cpu are not what they were when it was saved" in text
    assert "It read no checkpoint that an earlier start had written. It read other.pt." in text
    assert "Start 2" not in text


def test_of_starts_that_went_alike_the_same_is_told_once(tmp_path):
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), updates="abcd")
    lost = {"moment": [f"opt/{name}/exp_avg" for name in "vwxyz"]}
    for number in (2, 3, 4, 6):
        make(tmp_path, number, resumed(1, 2, lost), updates="cx", base=2)
    make(tmp_path, 5, resumed(1, 2), updates="cd", base=2)
    text = str(read_journal(tmp_path))
    assert text.count("3 equal, differs at 4") == 4
    *_, last = text.split("\n\nStarts ")
    assert last.splitlines() == [
        "2–4 and 6",
        "  ✗ first differs in phase update: parameter/w",
        "  ✗ 5 moments of opt are not what they were when it was saved",
        "      moment: 5 × opt/*/exp_avg",
        "",
        'Why, and the lines that mend it: dora-repro check --run "…" on the same command.',
    ]


def test_a_start_that_cannot_be_judged_is_counted_and_accused_of_nothing(tmp_path):
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), updates="ab")
    make(tmp_path, 2, resumed(1, 2, unknown=["rng/torch.cpu"]), updates="c", base=2)
    make(tmp_path, 3, resumed(2, 2), updates="c", base=2)
    text = str(read_journal(tmp_path))
    assert text.startswith("⚠ INCONCLUSIVE: 1 of 2 resumes exact, 1 cannot be judged\n")
    assert "rng/torch.cpu not compared, since the job was over before its next update" in text
    assert "Why, and" not in text


def test_the_summary_is_short(journal):
    assert repr(journal).splitlines() == str(journal).splitlines()[:2]


def test_the_page_loads_nothing_and_escapes_names(journal):
    page = journal_page(journal)
    assert "optimizer/&lt;w&gt;/exp_avg" in page
    assert "<w>" not in page
    assert "http" not in page
    assert page.count("<tr>") >= 5
    assert "DIFFERENT" in journal._repr_html_()
