"""Whole scripts, launched, killed and resumed: the verdict, the place, and what is refused."""

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import TRAIN, commands, script


def test_a_script_that_saves_all_is_exact(tmp_path):
    report = check_script(*commands(tmp_path), kill_after=4, folder=tmp_path / "kept")
    assert report.summary == "EXACT"
    assert (report.save_at, report.steps) == (3, 9)
    assert report.notes[0] == "Resumed from epoch0.pt, written after step 3."
    assert report.control.deterministic
    assert (tmp_path / "kept" / "out-reference" / "epoch2.pt").exists()


@pytest.mark.parametrize(
    ("lost", "summary"),
    [
        ("optimizer", "DIFFERENT: first differs at step 7, phase update, main/model/0.weight"),
        ("rng", "DIFFERENT: first differs at step 7, phase batch, batch/0"),
        ("best", "LATENT"),
    ],
)
def test_what_is_lost_shows_where_it_first_has_an_effect(tmp_path, lost, summary):
    run, resume = commands(tmp_path, more=f"--lose {lost}")
    report = check_script(run, resume)  # killed between the second and the third checkpoint
    assert report.summary == summary
    assert report.save_at == 6
    if lost == "best":
        assert "main/best" in report.latent


def test_a_script_that_begins_anew_has_not_resumed(tmp_path):
    run, _ = commands(tmp_path)
    report = check_script(run, run, kill_after=4)
    assert report.summary == "INCONCLUSIVE"
    assert report.reason == "it did not resume: it began anew"


def test_one_that_is_not_deterministic_is_not_accused(tmp_path):
    run, resume = commands(tmp_path, TRAIN.replace("torch.manual_seed(0)", "torch.seed()"))
    report = check_script(run, resume, kill_after=4)
    assert report.verdict == "INCONCLUSIVE"
    assert report.reason.startswith("not deterministic")


def test_one_that_raises_while_resuming_is_different(tmp_path):
    run, resume = commands(tmp_path, TRAIN.replace('state["best"]', 'state["no such key"]'))
    report = check_script(run, resume, kill_after=4)
    assert report.summary == "DIFFERENT: first differs at step 3, phase load, run/exception"
    assert "KeyError" in report.error


@pytest.mark.parametrize(
    ("run", "options", "says"),
    [
        ("{command} --out out", {}, "does not say where it writes"),
        ("{command} --out {out} --no-such-option", {}, "ended with exit code 2"),
        ("{command} --out {out}", {"kill_after": 9}, "the run is over after 9 steps"),
        ("{command} --out {out}", {"kill_after": 2}, "no checkpoint had been written"),
        ("{command} --out {out}", {"kill_after": 0}, "from 1"),
        ("{python} -c pass {out}", {}, "nothing was recorded"),
        ("{python} -c 'import torch' {out}", {}, "did not train"),
    ],
)
def test_what_cannot_be_checked_is_refused(tmp_path, run, options, says):
    with pytest.raises(BadInput, match=says):
        check_script(run.replace("{command}", script(tmp_path)), **options)
