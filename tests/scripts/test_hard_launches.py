"""Scripts that behave badly in other ways than their state: each must still be judged by its training alone."""

import signal

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.checking import check_script
from dora_repro.scripts.request import as_signal
from tests.scripts.trainings import TRAIN, commands

STEP = "            optimizer.step()\n"
SAVE = '        torch.save({**state, "rng": torch.get_rng_state()}, os.path.join(args.out, f"epoch{epoch}.pt"))\n'
DONE = '    print("done", best)\n'

BEST = SAVE + '        torch.save({"model": model.state_dict()}, os.path.join(args.out, "model_best.pt"))\n'
DELETES = SAVE + '        if epoch: os.remove(os.path.join(args.out, f"epoch{epoch - 1}.pt"))\n'
TALKS = STEP + '            print("x" * 6_000_000)\n'
TO_ANOTHER_FOLDER = '    os.chdir("/"); torch.manual_seed(0)\n'
FORKS = "    pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\n    torch.manual_seed(0)\n"
TRAINS_FORKED = """    if not os.fork():
        other = nn.Linear(1, 1)
        other(torch.ones(1)).backward()
        torch.optim.SGD(other.parameters(), lr=0.1).step()
        os._exit(0)
    os.wait()
    torch.manual_seed(0)
"""

ENDS = "    os._exit(0)\n"


def changed(*pairs):
    """The training with lines replaced, each of which it has once."""
    text = TRAIN
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def test_what_a_script_does_besides_accuses_nobody(tmp_path):
    """It forks, changes directory, writes 6 MB a step to the terminal and ends without Python's own way out."""
    seeded = "    torch.manual_seed(0)\n"
    text = changed((seeded, FORKS + TO_ANOTHER_FOLDER), (STEP, TALKS), (DONE, ENDS))
    report = check_script(*commands(tmp_path, text), kill_after=4, explain=False)
    assert (report.summary, report.save_at, report.steps) == ("EXACT", 3, 9), str(report)


def test_a_process_that_it_forks_and_that_trains_is_named_and_is_no_pass(tmp_path):
    text = changed(("    torch.manual_seed(0)\n", TRAINS_FORKED))
    report = check_script(*commands(tmp_path, text), kill_after=4)
    assert report.verdict == "INCONCLUSIVE" and "os.fork()" in report.reason


def test_a_copy_of_the_best_is_no_checkpoint_to_resume_from(tmp_path):
    text = changed((SAVE, BEST), (DONE, ""))  # and it prints nothing
    report = check_script(*commands(tmp_path, text), kill_after=4, explain=False)
    assert (report.summary, report.save_at) == ("EXACT", 3), str(report)
    assert any("{newest} stood for epoch0.pt; model_best.pt is younger" in note for note in report.notes)


def test_what_is_lost_is_seen_where_old_checkpoints_are_deleted(tmp_path):
    text = TRAIN.replace(SAVE, DELETES)
    run, resume = commands(tmp_path, text, more="--lose optimizer")
    report = check_script(run, resume, kill_after=7, explain=False)
    assert report.summary == "DIFFERENT: first differs at step 7, phase update, main/model/0.weight"


def test_an_error_that_is_caught_on_the_way_to_a_good_end_is_no_equal_end(tmp_path):
    text = TRAIN.replace("\nmain()\n", "\ntry:\n    main()\nexcept Exception:\n    raise SystemExit(0)\n")
    late = f"            if args.resume and epoch == 2: raise ValueError('late')\n{STEP}"
    run, resume = commands(tmp_path, text.replace(STEP, late))
    report = check_script(run, resume, kill_after=4, explain=False)
    assert report.summary == "DIFFERENT: first differs at step 7, phase epoch_end, run/finished"


def test_a_script_that_saves_when_it_is_told_to_end_is_killed_all_the_same(tmp_path):
    handler = (
        "    import signal\n"
        '    late = lambda *_: (torch.save({}, os.path.join(args.out, "epoch9.pt")), os._exit(0))\n'
        "    signal.signal(signal.SIGTERM, late)\n    torch.manual_seed(0)\n"
    )
    text = TRAIN.replace("    torch.manual_seed(0)\n", handler)
    report = check_script(*commands(tmp_path, text), kill_after=4, explain=False)
    assert (report.summary, report.save_at) == ("EXACT", 3), str(report)


AT_SIGNAL = """
import argparse, signal, sys, torch
p = argparse.ArgumentParser(); p.add_argument("--out"); p.add_argument("--resume"); p.add_argument("--lose")
args = p.parse_args()
asked = []
signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
done = 0
if args.resume:
    state = torch.load(args.resume)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    done = state["done"]
    if args.lose != "rng":
        torch.set_rng_state(state["rng"])
while done < 8:
    loss = (model(torch.randn(8, 4)) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    done += 1
    if asked:
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**parts, "done": done, "rng": torch.get_rng_state()}, f"{args.out}/stopped.pt")
        sys.exit(75)
torch.save(model.state_dict(), f"{args.out}/final.pt")
"""
"""Saves when a cluster asks it to, as most do before they take a machine away, and has its job put into the queue."""


@pytest.mark.parametrize(("lost", "summary"), [("", "EXACT"), ("rng", "DIFFERENT: first differs at step 6")])
def test_a_script_that_saves_when_it_is_sent_a_signal_is_resumed_from_there(tmp_path, lost, summary):
    run, resume = commands(tmp_path, AT_SIGNAL, f"--lose {lost}" * bool(lost))
    report = check_script(run, resume, signal="USR1")
    assert report.summary.startswith(summary) and report.save_at == 5, str(report)
    sent = "SIGUSR1 was sent when step 5 had made its update; the script ended with exit code 75."
    assert sent in report.notes
    if lost:
        assert [cause.name for cause in report.causes] == ["rng/torch.cpu"] and report.explanation.lines_tried.restores


def test_one_that_saves_in_the_handler_has_saved_before_the_schedule(tmp_path):
    """The handler runs between two lines of the step; that the run is over then accuses nobody."""
    parts = (
        '{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": done, "rng": torch.get_rng_state()}'
    )
    handler = f'(torch.save({parts}, args.out + "/stopped.pt"), os._exit(0))'
    text = AT_SIGNAL.replace("asked.append(number)", handler).replace("import argparse,", "import argparse, os,")
    report = check_script(*commands(tmp_path, text), signal="USR1", kill_after=4, explain=False)
    assert report.control.deterministic, str(report)
    assert "train.py/done" in {each.path for each in report.lost}


def test_one_that_is_not_sent_its_signal_is_refused_with_what_to_do(tmp_path):
    run, resume = commands(tmp_path, AT_SIGNAL)
    with pytest.raises(BadInput, match=r"when it is sent a signal, name that \(--signal\)"):
        check_script(run, resume, kill_after=4)
    deaf = AT_SIGNAL.replace("    if asked:", "    if asked and done == 9:")
    with pytest.raises(BadInput, match="was sent SIGUSR1 and went on to its end, after 8 steps"):
        check_script(*commands(tmp_path, deaf), signal="SIGUSR1", kill_after=4)
    with pytest.raises(BadInput, match="was sent SIGTERM after step 4 and was ended by SIGTERM, without a checkpoint"):
        check_script(run, resume, signal="TERM", kill_after=4)


def test_signals_have_their_names():
    assert as_signal("usr1") is signal.SIGUSR1 and as_signal("SIGTERM") is signal.SIGTERM
    assert as_signal(None) is None and as_signal("KILL") is None
    for wrong in ("STOP", "TERMINATE", "15"):
        with pytest.raises(BadInput, match="name one that the script handles"):
            as_signal(wrong)
