"""Whole scripts, launched, killed and resumed: the verdict, the place, and what is refused."""

import errno
import os

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


def test_what_loops_leave_in_variables_after_loading_is_no_loss(tmp_path):
    loads = '            optimizer.load_state_dict(state["optimizer"])\n'
    assert loads in TRAIN
    moves = """
            for moments in optimizer.state.values():
                for key, value in moments.items():
                    moments[key] = value.to("cpu")
            for group in optimizer.param_groups:
                assert group["lr"]
            for parameter in model.parameters():
                assert parameter.requires_grad
"""
    report = check_script(*commands(tmp_path, TRAIN.replace(loads, loads + moves)), kill_after=4)
    assert report.summary == "EXACT"


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
    report = check_script(run, resume, explain=False)  # killed between the second and the third checkpoint
    assert report.summary == summary
    assert report.save_at == 6
    if lost == "best":
        assert "main/best" in report.latent


def test_a_script_that_begins_anew_has_not_resumed(tmp_path):
    run, _ = commands(tmp_path)
    report = check_script(run, run, kill_after=4)
    assert report.summary == "INCONCLUSIVE"
    assert report.reason.splitlines()[0] == "it did not resume: it began anew"
    assert "let --resume name what the killed run wrote" in str(report)


def test_one_that_is_ended_while_it_resumes_is_not_accused(tmp_path):
    ended = "            if args.resume and epoch == 2: os.kill(os.getpid(), 15)\n            optimizer.step()\n"
    run, resume = commands(tmp_path, TRAIN.replace("            optimizer.step()\n", ended))
    report = check_script(run, resume, kill_after=4)
    assert report.verdict == "INCONCLUSIVE"
    assert report.reason.startswith("the resumed run was ended by SIGTERM\n")


def test_a_process_that_trains_for_another_is_not_the_one_that_is_judged(tmp_path):
    helper = (
        "import subprocess, sys, torch\nm = torch.nn.Linear(1, 1)\no = torch.optim.SGD(m.parameters(), 0.1)\n"
        "for _ in range(6):\n    m(torch.ones(1)).backward()\n    o.step()\n"
    )
    (tmp_path / "helper.py").write_text(helper, encoding="utf-8")
    call = (
        f"    import subprocess, sys; subprocess.run([sys.executable, {str(tmp_path / 'helper.py')!r}], check=True)\n"
    )
    run, resume = commands(tmp_path, TRAIN.replace("    torch.manual_seed(0)\n", f"{call}    torch.manual_seed(0)\n"))
    report = check_script(run, resume, kill_after=4)
    assert report.summary == "EXACT"
    assert (report.save_at, report.steps) == (3, 9)
    assert any("Further processes trained" in note for note in report.notes)


def test_a_checkpoint_that_a_thread_writes_late_accuses_nobody(tmp_path):
    save = '        torch.save({**state, "rng": torch.get_rng_state()}, os.path.join(args.out, f"epoch{epoch}.pt"))\n'
    late = (
        "        import copy, threading, time\n"
        '        taken = copy.deepcopy({**state, "rng": torch.get_rng_state()})\n'
        "        def write(taken=taken, name=os.path.join(args.out, f'epoch{epoch}.pt')):\n"
        "            time.sleep(0.7)\n"
        "            torch.save(taken, name)\n"
        "        threading.Thread(target=write).start()\n"
    )
    text = TRAIN.replace(save, late).replace(
        "            optimizer.zero_grad()\n",
        "            import time; time.sleep(0.4)\n            optimizer.zero_grad()\n",
    )
    report = check_script(*commands(tmp_path, text), kill_after=5)
    assert (report.summary, report.save_at) == ("EXACT", 3)
    assert "written later than its state was taken" in report.notes[0]


def test_a_report_of_a_script_has_its_name_and_its_commands(tmp_path):
    run, _ = commands(tmp_path)
    report = check_script(run, "{python} -c 'import sys; print(sys.argv)' {newest}", kill_after=4)
    text = str(report)
    assert report.title == "train.py"
    assert f"Script:  {run}" in text and "Resumed: {python} -c" in text
    assert "it never imported torch" in text and "epoch0.pt" in text


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
        ("{command} --out {out}", {"kill_after": (4, 4)}, "each step once"),
        ("{command} --out {out}", {"resume": "{command} --resume a.pt"}, "cannot find what the killed run wrote"),
        ("{command} --out {out}", {"folder": "/dev/null/kept"}, "name one that can be written to"),
        ("{command} --out {out}", {"folder": "/dev/null"}, "is a file: name a new folder"),
        ("{python} -c pass {out}", {}, "nothing was recorded"),
        ("{python} -c 'import torch' {out}", {}, "did not train"),
    ],
)
def test_what_cannot_be_checked_is_refused(tmp_path, run, options, says):
    if "resume" in options:
        options = {"resume": options["resume"].replace("{command}", script(tmp_path))}
    with pytest.raises(BadInput, match=says):
        check_script(run.replace("{command}", script(tmp_path)), **options)


def test_a_disk_that_is_full_meanwhile_is_told_as_such(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dora_repro.scripts.workplace.launch", full)
    for folder in (None, tmp_path / "kept"):
        with pytest.raises(BadInput, match=r"No space left on device; name one .*\(--keep\)"):
            check_script(f"{script(tmp_path)} --out {{out}}", folder=folder)
    monkeypatch.setattr("dora_repro.scripts.workplace.launch", lambda *args, **options: open(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):  # a defect, and not the user's folder
        check_script(f"{script(tmp_path)} --out {{out}}")
