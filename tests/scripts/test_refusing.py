"""What a check of a script cannot go on with: each message has the thing, the value and the next move."""

import json
from dataclasses import replace

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts import assignment, refusing
from dora_repro.scripts.commands import Command, Launchable
from dora_repro.scripts.launching import Launch
from dora_repro.trace import Step, TraceWriter


@pytest.fixture
def ran(tmp_path):
    """A launch that trained for two steps, and printed a word."""
    folder = tmp_path / "side"
    folder.mkdir()
    lines = TraceWriter(folder / assignment.STEPS, {})
    for number in (1, 2):
        lines.step(Step(number, None, (), (), {}))
    lines.close(True, ())
    log = tmp_path / "side.log"
    log.write_text("a word\n", encoding="utf-8")
    return Launch("reference", Launchable(("train",), {}), folder, 0, 5.0, log, installed=1)


def command(text="{python} train.py --out {out}"):
    return Command(text, "--run")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, r"did not finish within 5 s after 2 steps; give more time \(--timeout\)"),
        (-9, "was ended by SIGKILL, .* after 2 steps; run the check again"),
        (143, "was ended by SIGTERM after 2 steps; run the check again"),
        (3, "ended with exit code 3 after 2 steps; fix it first"),
    ],
)
def test_a_run_that_came_to_no_end(ran, code, says):
    refusing.require_end(ran)
    with pytest.raises(BadInput, match=f"(?s){says}; its last lines:\n  a word"):
        refusing.require_end(replace(ran, code=code))


@pytest.mark.parametrize(
    ("changes", "text", "says"),
    [
        ({"installed": 0}, "{python} -sE train.py {out}", "with -sE: leave -sE out for the check, or call dora_repro"),
        ({"installed": 0}, None, "either it never imports torch"),
    ],
)
def test_a_run_that_was_not_recorded(ran, changes, text, says):
    refusing.require_record(ran, command())
    with pytest.raises(BadInput, match=f"(?s){says}.*The command was --run="):
        refusing.require_record(replace(ran, **changes), command(text) if text else command())


def test_one_whose_python_lacks_a_package(ran, tmp_path):
    lacks = replace(ran, kept_out=("ModuleNotFoundError: No module named 'xxhash'",))
    refusing.require_record(lacks, command())  # a helper of another Python
    with pytest.raises(BadInput, match=r"No module named 'xxhash'.*install dora_repro there"):
        refusing.require_record(replace(lacks, folder=tmp_path / "none"), command())


def test_a_record_that_broke_off_is_nobodys_difference(ran):
    for require in (refusing.require_no_problem, lambda one: refusing.require_kill(one, 2)):
        with pytest.raises(BadInput, match="the reference run trained, but its record broke off: it broke"):
            require(replace(ran, problems=("it broke",)))


def test_a_run_that_did_not_train(ran, tmp_path):
    with pytest.raises(BadInput, match=r"(?s)did not train.*Give the command that trains.*a word"):
        refusing.require_record(replace(ran, folder=tmp_path / "none"), command())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0, "but it was over after 2 steps, and the first run of the same command was not"),
        (None, r"but it did not finish within 5 s after 2 steps; give more time \(--timeout\)"),
        (-15, "but it was ended by SIGTERM after 2 steps; run the check again"),
        (1, "but it ended with exit code 1 after 2 steps"),
    ],
)
def test_a_run_that_ended_before_it_was_killed(ran, code, says):
    with pytest.raises(BadInput, match=f"to be killed after step 4, {says}"):
        refusing.require_kill(replace(ran, code=code), 4)
    (ran.folder / assignment.KILLED).touch()
    refusing.require_kill(replace(ran, code=-9), 4)


def test_what_was_read_of_another_launch(ran, tmp_path):
    def reads(*paths):
        entries = [{"kind": "read", "path": str(path), "step": 0} for path in paths]
        text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        (ran.folder / assignment.FILES).write_text(text, encoding="utf-8")

    out = tmp_path / "out"
    reads(out / "a.pt", tmp_path.parent / "pretrained.pt")
    refusing.require_own_files(ran, tmp_path, out)
    assert refusing.read_elsewhere(ran, out) == [tmp_path.parent / "pretrained.pt"]
    reads(tmp_path / "out-reference" / "a.pt")
    with pytest.raises(BadInput, match=r"read out-reference/a.pt, .*: use \{newest\} or \{out\} in --resume"):
        refusing.require_own_files(ran, tmp_path, out)
