"""State at the beginning of a round: kept, and that of another run put in. The scripts are executed here."""

import contextlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dora_repro.scripts import assignment
from dora_repro.scripts.assignment import Assignment, Given, Meet, Round
from dora_repro.scripts.files import Files
from dora_repro.scripts.meeting import Meeting
from dora_repro.scripts.place import Place
from dora_repro.state.snapshot import Snapshot

TEXT = """
import torch

def main():
    buffer, start = [], 0
    if resume:
        start = torch.load(f"{out}/a.pt")["next"]
    for number in range(start, 4):
        buffer.append(number)
        passed()
        seen.append(sum(buffer))
        if number == 1:
            torch.save({"next": 2}, f"{out}/a.pt")

main()
"""


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Executes the script with a meeting; returns its place, and what it saw in its rounds."""
    (tmp_path / "out").mkdir()

    def run(name, meet, given=None, claimed_first=False):
        path, seen = tmp_path / "train.py", []
        path.write_text(TEXT, encoding="utf-8")
        place = Place(tmp_path / name, tmp_path / name, 0, True)
        job = Assignment(tmp_path / name, tmp_path / "out", meet=meet, given=given)
        job.write(tmp_path / "job.json")
        assert Assignment.read(tmp_path / "job.json") == job
        meeting = Meeting(job, place, {}, contextlib.nullcontext)

        def passed():
            if not place.path.exists():
                place.claim()
                meeting.claimed()
            meeting.passes(sys._getframe(1))

        names = {"__name__": "__main__", "__file__": str(path), "resume": meet.round is not None}
        names |= {"out": str(tmp_path / "out"), "seen": seen, "passed": passed}

        def execute():
            files = Files(tmp_path / "out", lambda: (len(seen), 0))
            files.watch_torch()
            meeting.install(files, lambda: len(seen))
            exec(compile(TEXT, str(path), "exec"), names)
            files.close()

        with monkeypatch.context() as patched, ThreadPoolExecutor(1) as alone:  # no frame of pytest leads to the script
            patched.setattr(torch, "save", torch.save)
            alone.submit(execute).result()
        return place.path, seen

    return run


def test_state_of_one_run_is_put_into_another_where_both_come_by(ran, tmp_path):
    kept, seen = ran("kept", Meet(after=2))
    assert seen == [0, 1, 3, 6]
    found = Round(**json.loads((kept / assignment.ROUND).read_text(encoding="utf-8")))
    line = next(number for number, text in enumerate(TEXT.splitlines(), 1) if "buffer.append" in text)
    assert (found.function, found.line) == ("main", line)
    state = kept / assignment.AT_ROUND
    assert Snapshot.read(state)["main/buffer"].value == [0, 1]
    meet = Meet(None, found, (str((tmp_path / "out" / "a.pt").resolve()),))
    lost, seen = ran("lost", meet)
    assert seen == [2, 5] and Snapshot.read(lost / assignment.AT_ROUND)["main/buffer"].value == []
    put, seen = ran("put", meet, Given(state, ("main/buffer",)))
    assert seen == [3, 6]
    assert json.loads((put / assignment.MISSING).read_text(encoding="utf-8")) == {}


def test_a_round_after_a_save_that_is_not_made_is_not_met(ran):
    kept, _ = ran("kept", Meet(after=9))
    assert not (kept / assignment.ROUND).exists()
