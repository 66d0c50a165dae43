"""A training that is started under its journal and killed, to see what the journal says."""

import sys

import pytest

from dora_repro.journal.preempting import preempted
from dora_repro.journal.reading import read_journal
from tests.journal.trainings import TRAIN


@pytest.fixture
def command(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "out").mkdir()
    return [sys.executable, str(tmp_path / "train.py"), str(tmp_path / "out"), "0"]


def test_it_is_killed_after_so_many_updates_and_what_was_said_is_returned(tmp_path, command):
    assert preempted(command, tmp_path / "journal", 8) == ""
    first = read_journal(tmp_path / "journal").starts[0]
    assert first.ended is None
    assert first.updates == (1, 8)
    said = preempted(command, tmp_path / "journal", level="full")
    assert said.endswith("updates 7 to 8 repeated bit for bit")
    assert read_journal(tmp_path / "journal").starts[1].ended is not None


def test_one_that_ends_otherwise_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="was to be killed after 3 updates; exit code 0, and it printed\nhello"):
        preempted([sys.executable, "-c", "print('hello')"], tmp_path, 3)
