"""Fuzzing sees what it is to see, and finds nothing in whole files."""

import pytest

from tests import fuzzing
from tests.fuzzed import TARGETS, Found, Target


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_no_finds(name, tmp_path, capsys):
    one = fuzzing.Fuzzing(name, tmp_path)
    for seed in TARGETS[name].seeds():
        one.one(seed)
    assert not one.found and one.tried and capsys.readouterr().out == ""


def spin(data, folder):
    while True:
        pass


def take(data, folder):
    assert len(b"\1" * (fuzzing.MEMORY << 11))


def swallow(data, folder):
    raise Found("x" * 200)


@pytest.mark.parametrize(
    ("look", "words"),
    [(spin, "more than 2 s of CPU"), (take, "MiB"), (swallow, "Found: 'xxx")],
    ids=["time", "memory", "a lie"],
)
def test_a_fault_is_found_once_and_kept(look, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fuzzing, "SECONDS", 2)
    monkeypatch.setitem(TARGETS, "planted", Target(lambda: [b"seed"], look))
    one = fuzzing.Fuzzing("planted", tmp_path)
    one.one(b"seed")
    one.one(b"seed")
    assert words in capsys.readouterr().out and (tmp_path / "planted-1").read_bytes() == b"seed"
    assert len(one.found) == 1 and str(one) == "planted: 2 files (drawn at random), 1 finds"
