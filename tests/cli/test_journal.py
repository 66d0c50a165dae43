"""`dora-repro watch` and `dora-repro journal` on the command line; whole trainings are in tests/journal."""

import json
import subprocess
import sys

import pytest

from dora_repro.cli import main
from tests.journal.journals import make, resumed


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return ended.value.code


def watched(folder, *command, options=()):
    watch = [sys.executable, "-m", "dora_repro", "watch", "--journal", str(folder), *options, "--", *command]
    return subprocess.run(watch, capture_output=True, text=True, timeout=120)


def test_it_becomes_the_command(tmp_path):
    code = "import os, sys; print(sys.argv[1:], os.environ['DORA_REPRO_JOURNAL_LEVEL']); sys.exit(7)"
    found = watched(tmp_path / "journal", sys.executable, "-c", code, "--strict", "x", options=("--level", "full"))
    assert (found.returncode, found.stdout) == (7, "['--strict', 'x'] full\n")
    assert found.stderr == ""


def test_a_command_that_is_not_there_is_named(tmp_path):
    found = watched(tmp_path / "journal", "no-such-command")
    assert found.returncode == 2
    assert "cannot run 'no-such-command'" in found.stderr


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    found = watched(tmp_path / "file", "true")
    assert found.returncode == 2
    assert f"cannot keep a journal in {tmp_path / 'file'}" in found.stderr


def test_the_exit_code_is_that_of_the_worst(tmp_path, capsys):
    make(tmp_path, 1, updates="abcd")
    assert run("journal", tmp_path) == 3
    make(tmp_path, 2, resumed(1, 2), updates="cd", base=2)
    assert run("journal", tmp_path) == 0
    make(tmp_path, 3, resumed(1, 2), updates="cx", base=2)
    capsys.readouterr()
    assert run("journal", tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [start["verdict"] for start in found["starts"]] == [None, "EXACT", "DIFFERENT"]
    assert found["starts"][2]["differs"] == {"update": 4, "phase": "update", "leaf": "parameter/w"}


def test_a_page_is_written(tmp_path):
    make(tmp_path / "journal", 1, updates="abcd")
    assert run("journal", tmp_path / "journal", "--html", tmp_path / "page.html") == 3
    assert "went on from another" in (tmp_path / "page.html").read_text()


def test_what_is_no_journal_is_bad_input(tmp_path, capsys):
    assert run("journal", tmp_path / "none") == 2
    assert "no such journal" in capsys.readouterr().err
