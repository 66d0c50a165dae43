"""One launch: its output in a log, ended with all that it started."""

import subprocess
import sys
import time

import psutil
import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.commands import Command, Launchable
from dora_repro.scripts.launching import launch


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
    assert not psutil.pid_exists(int(ran.tail)) or psutil.Process(int(ran.tail)).status() == psutil.STATUS_ZOMBIE


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
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr("dora_repro.scripts.launching._Counter.look", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launched(tmp_path, "import time; time.sleep(600)")
    assert started[0].returncode == -9


def test_what_the_system_cannot_run_is_refused(tmp_path):
    (tmp_path / "train.py").write_text("print(1)")
    (tmp_path / "train.py").chmod(0o755)
    command = Command(f"{tmp_path / 'train.py'} --out {{out}}", "--run").filled({"{out}": "o"})
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="cannot run"):
        launch("reference", command, Assignment(tmp_path / "side", tmp_path / "out"), timeout=9.0)
