"""Lines of save that write a file of their own: when they run, and that what they wrote follows a file's renaming."""

import os
import sys

import pytest

from dora_repro.scripts import beside
from dora_repro.scripts.beside import AfterWriting, keep_together


def opening(listening, path):
    listening.opened(path, sys._getframe(1))
    return open(path, "w")


def writes(listening, path):
    with opening(listening, path) as file:
        file.write("a")
    return os.path.getsize(path)


def test_it_is_told_once_the_statement_is_over_that_wrote(tmp_path):
    told = []
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        line = writes.__code__.co_firstlineno + 1
        listening = AfterWriting(
            {(__file__, line)}, lambda path, frame, call: told.append((os.path.getsize(path), call))
        )
        assert writes(listening, str(tmp_path / "a")) == 1
        assert sys.gettrace() is None
        assert listening._trace(sys._getframe(), "line", None) is None, "done: asked once more, while others are traced"
        writes(AfterWriting({(__file__, 1)}, None), str(tmp_path / "a"))
    finally:
        sys.settrace(tracing)
    assert told == [(1, {"file": __file__, "line": line, "function": "writes"})]


@pytest.mark.parametrize("name", ["rename", "replace"])
def test_what_lies_beside_a_file_is_renamed_with_it(tmp_path, monkeypatch, name):
    for each in ("rename", "replace"):
        monkeypatch.setattr(beside.os, each, getattr(os, each))
    keep_together(lambda old, new: None)
    for each in ("a", "a.more", "alone"):
        (tmp_path / each).touch()
    getattr(os, name)(tmp_path / "a", tmp_path / "b")
    getattr(os, name)(tmp_path / "alone", tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == ["b", "b.more", "c"]


def library(listening, folder, frame):
    listening.opened(f"{folder}/a.tmp", frame)
    os.replace(f"{folder}/a.tmp", f"{folder}/a")
    os.rename(folder, "new")


def saves(listening, folder):
    library(listening, folder, sys._getframe())
    return listening


def test_a_file_that_is_renamed_by_the_statement_that_wrote_it_is_told_by_its_new_name(tmp_path, monkeypatch):
    """As DCP writes `.metadata`: what is saved beside `.metadata.tmp` would be found by nobody."""
    for each in ("rename", "replace"):
        monkeypatch.setattr(beside.os, each, getattr(os, each))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.tmp").touch()
    told, tracing = [], sys.gettrace()
    sys.settrace(None)
    try:
        line = saves.__code__.co_firstlineno + 1
        listening = AfterWriting({(__file__, line)}, lambda path, frame, call: told.append(path))
        keep_together(listening.renamed)
        saves(listening, f"{tmp_path}/old")
    finally:
        sys.settrace(tracing)
    assert told == [f"{tmp_path}/new/a"]
