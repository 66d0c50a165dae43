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
    assert first.updates[1] >= 8
    assert "resumed from epoch" in preempted(command, tmp_path / "journal", None, ["--level", "full"])
    assert read_journal(tmp_path / "journal").starts[1].ended is not None


def test_one_that_ends_before_is_no_preemption(tmp_path):
    with pytest.raises(RuntimeError, match="did not come to 3 updates; it printed\nhello"):
        preempted([sys.executable, "-c", "print('hello')"], tmp_path, 3)
