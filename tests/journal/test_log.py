"""A log from anywhere is read up to the first line that no start writes."""

import json
import math

import pytest

from dora_repro.journal.known import Known
from dora_repro.journal.layout import LOG
from dora_repro.journal.log import head_of, read_log
from dora_repro.journal.reading import read_journal
from dora_repro.show.journal_page import journal_page
from tests.journal.journals import make, resumed, wrote
from tests.show.test_hostile_names import BAD, lies

STATE = {"compared": 5, "lost": {"moment": ["m"]}, "other": [], "unknown": []}
DAMAGED = {
    "no kind": {"update": 1},
    "a kind of another type": {"kind": []},
    "a time in words": {"kind": "start", "time": "now"},
    "a time without end": {"kind": "end", "time": math.inf},
    "a time that no calendar has": {"kind": "end", "time": 1e300},
    "arguments that are a number": {"kind": "start", "argv": 1.5},
    "a host that is a list": {"kind": "start", "host": []},
    "a level that is a number": {"kind": "start", "level": 1},
    "an environment in words": {"kind": "start", "environment": "x"},
    "reads that are none": {"kind": "began", "reads": 1.5},
    "a problem that is a list": {"kind": "failed", "problem": []},
    "a checkpoint without a path": {**wrote("a.pt", 2), "path": None},
    "a checkpoint after half an update": {**wrote("a.pt", 2), "update": 0.5},
    "a digest that is a number": {**wrote("a.pt", 2), "digest": 5},
    "a source that is endless": {**resumed(1, 2), "update": math.inf},
    "a source before the first": {**resumed(1, 2), "update": -1},
    "a source by yes or no": {**resumed(1, 2), "start": True},
    "a source without files": {**resumed(1, 2), "files": []},
    "a state in words": {**resumed(1, 2), "state": "x"},
    "a loss that is a number": {**resumed(1, 2), "state": {**STATE, "lost": 3}},
    "a loss of nothing": {**resumed(1, 2), "state": {**STATE, "lost": {"moment": []}}},
    "a loss of numbers": {**resumed(1, 2), "state": {**STATE, "lost": {"moment": [1]}}},
    "a count in words": {**resumed(1, 2), "state": {**STATE, "compared": "5"}},
    "others that are none": {**resumed(1, 2), "state": {**STATE, "other": None}},
    "unknown that is a text": {**resumed(1, 2), "state": {**STATE, "unknown": "m"}},
    "updates without number": {"kind": "repeated", "last": None},
    "a difference without place": {"kind": "differs", "update": 3, "phase": "batch", "how": "value"},
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_line_that_no_start_writes_is_damage(line, tmp_path):
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), updates="abcd")
    second = make(tmp_path, 2, line, resumed(1, 2), updates="cd", base=2)
    assert ([each["kind"] for each in read_log(second)[0]], read_log(second)[1]) == (["start"], True)
    journal = read_journal(tmp_path)
    assert journal.starts[1].problem == "its log is damaged or was cut off" and journal.verdict == "INCONCLUSIVE"
    assert str(journal) and journal_page(journal) and json.dumps(journal.to_dict(), allow_nan=False)
    assert Known(tmp_path).sources({"b.pt": 1}) == []


def test_lines_that_a_start_writes_are_read_whole(tmp_path):
    lines = [
        wrote("a.pt", 2), {"kind": "writes", "path": "a.pt", "update": 2, "backwards": 0}, resumed(1, 2),
        {**resumed(1, 2), "state": None}, {"kind": "began", "reads": ["a"]}, {"kind": "refused"},
        {"kind": "repeated", "last": 4}, {"kind": "differs", "update": 3, "phase": "a", "leaf": "b", "how": "value"},
        {"kind": "failed", "problem": "x"}, {"kind": "end", "time": 1.9e9, "update": 4}, {"kind": "another"},
    ]  # fmt: skip
    folder = make(tmp_path, 1, *lines)
    assert read_log(folder) == ([head_of(folder), *lines], False)


def test_a_log_that_begins_with_another_line_says_nothing_of_its_start(tmp_path):
    first = make(tmp_path, 1, updates="abcd", environment={"torch": "1"})
    make(tmp_path, 2, resumed(1, 2), updates="cd", base=2, environment={"torch": "2"})
    assert read_journal(tmp_path).starts[1].moved == ("torch 1 → 2",)
    (first / LOG).write_text(json.dumps({"kind": "another", "environment": ["torch"], "level": 3}) + "\n")
    assert head_of(first) == {} and read_journal(tmp_path).starts[1].moved == ()


def test_the_number_of_ranks_is_whatever_the_environment_says(tmp_path):
    for number, (said, ranks) in enumerate({"4": 4, "many": 1, "": 1, "9" * 5000: 1}.items(), 1):
        folder = make(tmp_path, number)
        (folder / LOG).write_text(json.dumps({"kind": "start", "world": said}) + "\n")
        assert read_journal(tmp_path).starts[-1].world == ranks


def test_no_name_in_a_log_lies(tmp_path):
    state = {"compared": 5, "lost": {f"k{BAD}": [f"a{BAD}"]}, "other": [f"o{BAD}"], "unknown": [f"u{BAD}"]}
    told = {"kind": "differs", "update": 3, "phase": f"p{BAD}", "leaf": f"l{BAD}", "how": "value"}
    failed = {"kind": "failed", "problem": f"x{BAD}"}
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), environment={"torch": "1"})
    second = {**resumed(1, 2), "files": [f"/f{BAD}"], "state": state}
    make(tmp_path, 2, second, told, failed, base=2, environment={"torch": f"2{BAD}", f"n{BAD}": 1})
    make(tmp_path, 3, {"kind": "began", "reads": [f"/r{BAD}"]}, {"kind": "failed", "problem": "<script>"})
    journal = read_journal(tmp_path)
    page = journal_page(journal)
    for text in (str(journal), repr(journal), journal._repr_html_(), page):
        assert text.encode() and lies(text) == []
    assert "\\u202e" in str(journal) and "<script>" not in page
