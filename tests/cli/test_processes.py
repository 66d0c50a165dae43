"""The command as a user runs it: in a process of its own, with real checks, stopped in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
RUNS = str(ROOT / "tests" / "runs.py")
COMMAND = [sys.executable, "-m", "dora_repro"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(**more), capture_output=True, timeout=300
    )  # fmt: skip


def test_a_run_of_ones_own_passes_and_its_reports_are_written(tmp_path):
    wanted = ["--json", "r.json", "--junit", "r.xml", "--keep", "kept"]
    done = run("check", f"{RUNS}:Plain", "--steps", "4", "--save-at", "2", *wanted, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "✓ model/0.weight: max diff = 0.00e+00\n" in text
    assert text.endswith("✅ TEST PASSED: Checkpoint loading is reproducible!\n")
    assert "\x1b" not in text  # no terminal: no colours, no bars
    assert done.stderr == b"Evidence: kept (dora-repro lab --on kept)\n"
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["verdict"] == "EXACT"
    assert (tmp_path / "r.xml").exists()
    # The evidence that was kept can be looked at.
    same = [str(path) for path in (tmp_path / "kept").rglob("trace.jsonl")]
    done = run("diff", *sorted(same), folder=tmp_path)
    assert done.returncode == 0 and "Compared steps 3–4" in done.stdout.decode()


def test_a_forgetful_run_fails_and_a_stream_without_symbols_gets_words(tmp_path):
    (tmp_path / "forgetful.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.runs import Forgetful\n"
        "def run():\n    return Forgetful('optimizer')\n",
        encoding="utf-8",
    )
    more = {"PYTHONIOENCODING": "ascii"}
    done = run("check", "forgetful:run", "--steps", "4", "--save-at", "2", "--in-process", folder=tmp_path, **more)
    assert done.returncode == 1, done.stderr.decode()
    text = done.stdout.decode("ascii")
    assert "x model/0.weight: max diff = " in text
    assert "  4 x optimizer/*/exp_avg  missing\n" in text
    assert text.endswith("[x] TEST FAILED: Checkpoint loading has issues\n")


def test_bad_input_is_code_2_in_a_process_too(tmp_path):
    done = run("check", "nowhere:run", "--steps", "4", "--save-at", "2", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"Error: there is no module 'nowhere', neither here nor among what is installed\n"


def test_a_reader_that_had_enough_is_no_defect(tmp_path):
    command = subprocess.Popen(
        [*COMMAND, "--help"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    errors = command.stderr.read()
    command.stderr.close()
    command.wait(timeout=60)
    assert b"Traceback" not in errors and command.returncode != 70


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("words", [("--help",), ("quick", "--in-process"), ("inspect", "a.pt")])
def test_an_answer_that_cannot_be_printed_is_no_verdict_and_no_defect(words, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    said = "Error: the answer could not be printed: No space left on device; send it elsewhere\n"
    assert (done.returncode, done.stderr) == (2, said)


WHOSE = """\
import os
from pathlib import Path
from tests.runs import Plain

class Run(Plain):
    def __init__(self):
        super().__init__()
        command = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
        with Path(os.environ["SEEN"]).open("a") as seen:
            print("started for that" if b"worker_main" in command else "the command", file=seen)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")
def test_one_of_two_interpreters_is_the_command_itself(tmp_path):
    (tmp_path / "whose.py").write_text(WHOSE, encoding="utf-8")
    words = [*COMMAND, "check", "whose:Run", "--steps", "2", "--save-at", "1", "--quiet"]
    subprocess.run(words, cwd=tmp_path, env=environment(SEEN=str(tmp_path / "seen")), check=True)
    assert sorted((tmp_path / "seen").read_text().splitlines()[:2]) == ["started for that", "the command"]


SLOW = """\
import os, time
from pathlib import Path
from tests.runs import Plain

class Run(Plain):
    def step(self):
        with Path(os.environ["SEEN"]).open("a") as seen:
            print(os.getpid(), file=seen)
        if self.count == 2:
            time.sleep(600)
        return super().step()
"""


def alive(number: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(number: int) -> list[int]:
    """What a process started, and what these did: a side is a fork of an interpreter."""
    found = []
    for task in Path(f"/proc/{number}/task").glob("*/children"):
        found += [int(word) for word in task.read_text(encoding="utf-8").split()]
    return [*found, *(other for child in found for other in descendants(child))]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux lists them")
def test_ctrl_c_leaves_no_process_no_folder_and_no_half_report(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    seen = tmp_path / "seen"
    command = subprocess.Popen(
        [*COMMAND, "check", "slow:Run", "--steps", "4", "--save-at", "1", "--json", "r.json"],
        cwd=tmp_path, env=environment(SEEN=str(seen), TMPDIR=str(tmp_path / "temporary")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 120
        while not seen.exists() or len(seen.read_text(encoding="utf-8").splitlines()) < 3:
            assert command.poll() is None and time.monotonic() < limit
            time.sleep(0.05)
        time.sleep(0.5)  # the third step sleeps; the second has been heard of
        started = descendants(command.pid)
        worker = int(seen.read_text(encoding="utf-8").split()[0])
        assert worker in started and all(alive(number) for number in started)
        command.send_signal(signal.SIGINT)
        output, errors = command.communicate(timeout=60)
    finally:
        command.kill()
        command.communicate()  # closes its pipes, whatever went wrong
    assert command.returncode == 130, errors.decode()
    said = "\nInterrupted: the reference side was at step 2 of 4. No report was written.\n"
    assert (output, errors.decode()) == (b"", said)
    limit = time.monotonic() + 10
    while any(alive(number) for number in started) and time.monotonic() < limit:
        time.sleep(0.05)
    assert [number for number in started if alive(number)] == []
    # torch makes a folder of its own for compiled code when its optimizers are first imported.
    assert [path.name for path in (tmp_path / "temporary").iterdir() if "inductor" not in path.name] == []
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"seen", "slow.py", "temporary"}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux lists them")
@pytest.mark.parametrize("moment", ["importing", "at work"])
def test_a_command_that_is_killed_leaves_no_process_and_its_folder_goes_with_the_next(moment, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    seen, mine = tmp_path / "seen", environment(SEEN=str(tmp_path / "seen"), TMPDIR=str(temporary))
    command = subprocess.Popen(
        [*COMMAND, "check", "slow:Run", "--steps", "4", "--save-at", "1"],
        cwd=tmp_path, env=mine, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 120
        while len(descendants(command.pid)) < 2 or (moment == "at work" and not seen.exists()):
            assert command.poll() is None and time.monotonic() < limit
            time.sleep(0.05)
        started = descendants(command.pid)
    finally:
        command.kill()
        command.wait()
    limit = time.monotonic() + 20
    while any(alive(number) for number in started) and time.monotonic() < limit:
        time.sleep(0.05)
    assert [number for number in started if alive(number)] == []
    kept = "from dora_repro.scratch import ScratchFolder; ScratchFolder().cleanup()"
    subprocess.run([sys.executable, "-c", kept], env=mine, check=True)
    assert [path.name for path in temporary.iterdir() if "inductor" not in path.name] == []


def test_the_subjects_quick_test_passes_and_its_small_checkpoint_fails(tmp_path):
    done = run("quick", "--quiet", "--in-process", folder=tmp_path)
    assert (done.returncode, done.stdout.decode()) == (
        0,
        "✅ TEST PASSED: Checkpoint loading is reproducible!\n",
    ), done.stderr.decode()
    done = run("quick", "--checkpoint", "dora-only", "--in-process", folder=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 1, done.stderr.decode()
    assert "× optimizer/*/exp_avg  missing\n" in text
    assert "✗ clip_model.visual.transformer.resblocks.2.attn.out_proj.m: max diff = " in text
    assert text.endswith("❌ TEST FAILED: Checkpoint loading has issues\n")
