"""One launch: its output in a log, ended with all that it started."""

import subprocess
import sys
import time

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.commands import Command, Launchable
from dora_repro.scripts.launching import last_lines, launch
from tests.processes import is_alive


def launched(tmp_path, code, timeout=60.0, **variables):
    (tmp_path / "out").mkdir()
    command = Launchable((sys.executable, "-c", code), variables)
    return launch("reference", command, Assignment(tmp_path / "side", tmp_path / "out"), timeout=timeout)


def test_output_goes_to_a_log_and_the_exit_code_is_told(tmp_path, capfd):
    ran = launched(tmp_path, "import sys; print('hello'); print('bad', file=sys.stderr); sys.exit(4)")
    assert (ran.code, ran.ending, ran.installed, ran.trained) == (4, "ended with exit code 4", 0, False)
    assert "\n  hello" in ran.tail and "\n  bad" in ran.tail
    assert capfd.readouterr() == ("", "")


def test_standard_input_is_closed(tmp_path):
    assert "EOFError" in launched(tmp_path, "input('? ')").tail


def test_variables_and_the_hidden_sitecustomize_reach_it(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import builtins; builtins.HIDDEN = 'was run'")
    ran = launched(tmp_path, "import os; print(HIDDEN, os.environ['A'])", A="7", PYTHONPATH=str(hidden))
    assert ran.tail == "\n  was run 7"


def test_what_it_leaves_behind_is_ended(tmp_path):
    child = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    ran = launched(tmp_path, f"{child} start_new_session=True); print(p.pid)")
    assert ran.code == 0
    assert not is_alive(int(ran.tail))


def test_it_is_ended_at_its_time_limit(tmp_path):
    begun = time.monotonic()
    ran = launched(tmp_path, "import time; print('waits', flush=True); time.sleep(600)", timeout=1.0)
    assert ran.code is None and "did not finish within" in ran.ending and "waits" in ran.tail
    assert time.monotonic() - begun < 60


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    started = []
    real = subprocess.Popen

    def interrupt(step):
        raise KeyboardInterrupt

    def noted(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr("dora_repro.scripts.launching._Counter.look", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launched(tmp_path, "import time; time.sleep(600)")
    assert started[0].returncode == -9


def test_what_the_system_cannot_run_is_refused(tmp_path):
    (tmp_path / "train.py").write_text("print(1)")
    (tmp_path / "train.py").chmod(0o755)
    command = Command(f"{tmp_path / 'train.py'} --out {{out}}", "--run").filled({"{out}": "o"})  # it has no #! line
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="cannot run"):
        launch("reference", command, Assignment(tmp_path / "side", tmp_path / "out"), timeout=9.0)


@pytest.mark.parametrize(
    ("code", "ending", "stopped"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM", True),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL, as a system does that is out of memory", True),
        ("os._exit(128 + signal.SIGTERM)", "was ended by SIGTERM", True),  # as a shell tells of it
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV", False),  # its own fault
        ("os._exit(1)", "ended with exit code 1", False),
        ("os.kill(os.getpid(), 40)", "ended with exit code -40", False),
    ],
)
def test_a_process_that_is_ended_from_outside_is_told_from_one_that_fails(tmp_path, code, ending, stopped):
    ran = launched(tmp_path, f"import os, signal; {code}")
    assert (ran.ending, ran.stopped) == (ending, stopped)


def test_the_last_lines_are_those_that_a_terminal_would_show(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(
        b"x" * 9_000_000 + b"\n" + b"\r".join(b"step %d" % n for n in range(9)) + b"\r\n\x1b[31mred\x1b[0m\xff\0\n"
    )
    assert last_lines(log)[1:] == ["step 8", "red\ufffd"]
    log.write_bytes(b"y" * 9_000_000)
    assert [len(line) for line in last_lines(log)] == [302]
    assert last_lines(tmp_path / "none") == []


def test_the_error_is_shown_that_a_launcher_says_much_after(tmp_path):
    log = tmp_path / "log"
    failed = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
    after = [failed, *(f"line {number}" for number in range(30))]
    log.write_text("\n".join(["Traceback:", "[rank1]: RuntimeError: no data", "KeyError", *after]), encoding="utf-8")
    assert last_lines(log) == ["KeyError", "…", *after[-15:]]
    log.write_text("\n".join(["[rank1]: RuntimeError: no data", *after]), encoding="utf-8")
    assert last_lines(log)[0] == "[rank1]: RuntimeError: no data"
    log.write_text("\n".join(["no Error: here", *after]), encoding="utf-8")
    assert last_lines(log) == after[-15:]


def test_what_empties_its_environment_is_ended_too(tmp_path):
    child = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env={})"
    )
    ran = launched(tmp_path, f"{child}; print(p.pid)")
    assert not is_alive(int(ran.tail))


def test_nothing_is_waited_for_once_the_recorded_process_is_killed(tmp_path):
    code = f"import pathlib, time; f = pathlib.Path({str(tmp_path / 'side')!r}); f.mkdir(); (f / 'killed.json').touch()"
    begun = time.monotonic()
    ran = launched(tmp_path, f"{code}; time.sleep(600)")
    assert ran.was_killed and ran.code == -9
    assert time.monotonic() - begun < 60


def test_a_check_that_is_told_to_end_leaves_nothing(tmp_path):
    """SIGTERM to the process that launches, as CI sends it at its time limit."""
    code = (
        "import sys\nfrom tests.scripts.test_launching import launched\nfrom pathlib import Path\n"
        "launched(Path(sys.argv[1]), 'import os, time; print(os.getpid(), flush=True); time.sleep(600)')"
    )
    checker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    log = tmp_path / "side.log"
    while not (log.exists() and log.read_text()):
        time.sleep(0.05)
    checker.terminate()
    checker.wait(60)
    assert not is_alive(int(log.read_text()))


def test_why_a_record_broke_off_is_told_from_why_it_did_not_begin(tmp_path):
    place = str(tmp_path / "side")
    code = f"for n in ('json.7', '8'): open({place!r} + '.' + n + '.error', 'w').write(n)"
    (tmp_path / "side2.json.9.error").write_text("of another launch")
    ran = launched(tmp_path, code)
    assert (ran.problems, ran.kept_out) == (("8",), ("json.7",))
