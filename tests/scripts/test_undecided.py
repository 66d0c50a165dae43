"""Where launches of a script came to no verdict: the reason in a line, what happened below it, and what to do."""

from dataclasses import replace
from pathlib import Path

import pytest

from dora_repro.scripts import undecided
from dora_repro.scripts.commands import Launchable
from dora_repro.scripts.launching import Launch


@pytest.fixture
def ran(tmp_path):
    log = tmp_path / "side.log"
    log.write_text("one\ntwo\n", encoding="utf-8")
    return Launch("resumed", Launchable(("train", "--resume"), {}), tmp_path / "side", 0, 5.0, log, installed=1)


def test_one_that_was_ended_from_outside_or_at_its_limit(ran):
    slow = undecided.unfinished(replace(ran, code=None))
    assert slow.reason == "the resumed run did not finish within 5 s\ntrain --resume\none\ntwo"
    assert "--timeout" in slow.next_step
    killed = undecided.unfinished(replace(ran, code=-15))
    assert killed.reason.startswith("the resumed run was ended by SIGTERM\n")
    assert "run the check again" in killed.next_step


def test_one_that_did_no_step(ran):
    assert undecided.without_step(ran).reason.startswith("the resumed run did no training step\n")
    never = undecided.without_step(replace(ran, installed=0))
    assert never.reason.startswith("the resume command did not train: it never imported torch\n")
    assert "{newest}" in never.next_step


def test_one_that_began_anew(ran):
    own = undecided.began_anew(ran, True, [Path("/else/where.pt")])
    assert "began anew; it read /else/where.pt, which the killed run had not written\n" in own.reason
    assert own.next_step.startswith("let --resume name")
    same = undecided.began_anew(ran, False, [])
    assert same.reason.startswith("it did not resume: it began anew\n")
    assert "--resume {newest}" in same.next_step


def test_a_forked_process_that_trains_is_no_pass():
    told = undecided.forked()
    assert "os.fork()" in told.reason and "spawn" in told.next_step
