"""Transplants from evidence that was kept: what comes of them, and that the evidence stays as it was."""

import fcntl
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import dora_repro
from dora_repro import BadInput
from dora_repro.kept.process import Cancelled
from dora_repro.kept.transplants import BATCHES, FURTHER, GENERATORS, Transplants
from dora_repro.scripts.assignment import VARIABLE
from tests.kept.conftest import contents

_WORKER = "PYTEST_XDIST_WORKER"


@pytest.fixture
def copied(every, tmp_path):
    """A copy of the run object's evidence."""
    return Path(shutil.copytree(every[1], tmp_path / "kept"))


def test_what_is_put_back_tells_what_matters_and_the_evidence_stays_as_it_was(copied):
    before = contents(copied)
    with Transplants(dora_repro.evidence(copied).first) as transplants:
        assert transplants.choices == ("rng/torch.cpu", "model (4 gradients)", BATCHES, GENERATORS)
        nothing = transplants.make()
        assert nothing.reproduced
        assert str(nothing) == (
            "With nothing put back: it first differs at step 2, phase forward, outputs/model."
        )
        restored = transplants.make("rng/torch.cpu")
        assert restored.result.restores and restored.leaves == 1
        assert str(restored) == "With rng/torch.cpu put back: all 2 remaining steps are as the reference's."
        other = transplants.make("model/*.weight/grad")
        assert other.leaves == 2 and str(other).endswith("So it does with nothing put back.")
        assert transplants.make(GENERATORS).result.restores
    assert contents(copied) == before
    again = Transplants(dora_repro.evidence(copied).first)
    assert [str(each) for each in again.made[:2]] == [str(nothing), str(restored)] and len(again.made) == 4
    assert Transplants(dora_repro.evidence(copied).reports[1]).made == []


def test_a_name_that_is_none_is_refused_with_the_nearest(copied):
    transplants = Transplants(dora_repro.evidence(copied).first)
    with pytest.raises(BadInput, match=r"'rng/torch.gpu' is no component .* did you mean 'rng/torch.cpu'"):
        transplants.make("rng/torch.gpu")
    assert transplants.made == []


def test_lines_of_transplants_that_are_not_whole_are_passed_over(copied):
    (copied / FURTHER).write_text('{"report": 0, "made": {}}\n{"rep\n[]\n', encoding="utf-8")
    assert Transplants(dora_repro.evidence(copied).first).made == []


def test_it_is_said_why_no_transplant_can_be_made(copied):
    path = copied / "evidence.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["answers"][0]["trial"] = {}
    data["answers"][1]["report"].update(verdict="EXACT", divergence=None, latent=[])
    data["answers"][1]["trial"] = {}
    path.write_text(json.dumps(data), encoding="utf-8")
    first, second = dora_repro.evidence(copied).reports
    with pytest.raises(BadInput, match="the factory of the run could not be kept"):
        Transplants(first).make()
    with pytest.raises(BadInput, match="there is nothing to put back"):
        Transplants(second).make()


def test_a_script_is_launched_again_and_leaves_nothing_beside_its_evidence(launched):
    _, folder = launched
    before = contents(folder)
    steps = []
    with Transplants(dora_repro.evidence(folder).first) as transplants:
        assert "main/optimizer (12 moments)" in transplants.choices
        made = transplants.make("main/optimizer (12 moments)", on_event=steps.append)
        assert made.reproduced
        assert str(made) == "With main/optimizer (12 moments) put back: all 6 remaining steps are as the reference's."
        assert made.without.divergence.place == "step 4, phase update, main/model/0.weight"
        with (folder / "evidence.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(BadInput, match="another trial is at work in"):
                transplants.make("main/start")
    assert [event["step"] for event in steps if event["event"] == "step"][-1] == 6
    assert contents(folder) == before
    assert not (folder / "out").exists()


def test_where_the_script_is_another_by_now_nothing_is_said_of_the_one_that_was_checked(launched):
    _, folder = launched
    script = folder.parent / "train.py"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace('if args.lose != "optimizer"', "if True"), encoding="utf-8")
    try:
        with Transplants(dora_repro.evidence(folder).first) as transplants:
            made = transplants.make()
    finally:
        script.write_text(text, encoding="utf-8")
    assert not made.reproduced
    assert "This tells nothing about the run that was checked: resumed anew with nothing put back, all 6" in str(made)


def test_one_that_is_closed_in_the_middle_leaves_no_process_and_no_folder(launched):
    _, folder = launched
    transplants = Transplants(dora_repro.evidence(folder).first)
    begun, before = threading.Event(), len(transplants.made)
    with ThreadPoolExecutor() as pool:
        made = pool.submit(lambda: transplants.make(on_event=lambda event: begun.set()))
        assert begun.wait(120)
        transplants.close()
        with pytest.raises(Cancelled, match="ended before it had come to a result"):
            made.result(60)
    assert len(transplants.made) == before
    assert not (folder / "out").exists()
    jobs = [_job_of(process) for process in psutil.process_iter()]
    assert not [job for job in jobs if "trial-1.json" in job and "scratch" in job]


def _job_of(process: psutil.Process) -> str:
    """The job of a process that this worker's tests have launched: those beside it have such of their own."""
    try:
        given = process.environ()
    except (psutil.Error, OSError):
        return ""
    return given.get(VARIABLE, "") if given.get(_WORKER) == os.environ.get(_WORKER) else ""
