"""Lines that are appended, and read up to the last whole one."""

import os

import pytest

from dora_repro.journal.lines import Appended, read_lines, to_bytes, to_text

LINES = [{"number": 1}, {"text": "two\nlines"}, {"list": [None, 0.5]}]


@pytest.fixture
def written(tmp_path):
    file = Appended(tmp_path / "lines")
    for line in LINES:
        file.add(line)
    file.close()
    assert file.size == (tmp_path / "lines").stat().st_size
    return tmp_path / "lines"


def test_what_was_added_is_read(written):
    assert read_lines(written) == (LINES, False)


def test_cut_off_anywhere_the_whole_lines_are_read(written):
    data = written.read_bytes()
    for size in range(len(data)):
        written.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert read_lines(written) == (LINES[:whole], not data[:size].endswith(b"\n") and size > 0)


def test_what_follows_a_damaged_line_is_not_read(written):
    first, second, third = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(first + b"\0" * (len(second) - 1) + b"\n" + third)
    assert read_lines(written) == (LINES[:1], True)
    written.write_bytes(first + b"[1]\n" + third)
    assert read_lines(written) == (LINES[:1], True)


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none") == ([], False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_damaged_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert read_lines(tmp_path / "pipe") == read_lines(tmp_path / "folder") == ([], True)


def test_nobody_else_writes_to_the_file(written):
    with pytest.raises(FileExistsError):
        Appended(written)


def test_a_digest_comes_back():
    digest = bytes(range(16))
    assert to_bytes(to_text(digest)) == digest
