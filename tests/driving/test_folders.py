"""Folders of runs: one path for all that run one after the other, another where two run at a time."""

import os
import pickle
import shutil
import subprocess
import sys

import pytest

from dora_repro.driving import folders as module
from dora_repro.driving.folders import Folders
from dora_repro.scratch import sweep


def test_a_run_after_another_has_the_same_path_and_finds_it_empty():
    folders = Folders()
    one = folders.make()
    (one / "a.pt").write_text("x")
    folders.give_back(one)
    assert not one.exists() and folders.make() == one == folders.first
    assert list(one.iterdir()) == []


def test_two_at_a_time_have_two_and_none_begins_with_the_path_of_another():
    folders = Folders()
    one, two = folders.make(), folders.make()
    assert one != two and not str(two).startswith(str(one))
    folders.give_back(one)
    assert folders.make() == one and two.exists()


def test_a_copy_in_another_process_makes_the_same_and_what_was_killed_there_is_in_nobodys_way(tmp_path):
    folders = Folders()
    (tmp_path / "folders").write_bytes(pickle.dumps(folders))
    code = (
        "import os, pathlib, pickle, sys\n"
        "folder = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()).make()\n"
        "(folder / 'left').write_text('x'); print(folder, flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "folders")], capture_output=True, text=True)
    assert ended.stdout.strip() == str(folders.first)
    assert (folders.first / "left").exists()
    assert folders.make() == folders.first and not (folders.first / "left").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of threads, in Python 3.12: the fork uses none
def test_all_goes_with_what_made_them_but_not_in_a_process_that_was_forked():
    folders = Folders()
    folder = folders.make()
    child = os.fork()
    if child == 0:
        Folders.give_back(folder)
        del folders
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.exists()
    del folders
    assert not folder.parent.exists()


def test_nothing_is_left_by_a_process_that_made_them_itself_and_ends_without_a_last_word():
    """As sides do, whose factory makes the function's folders anew."""
    code = (
        "import os; from dora_repro.driving.folders import Folders\n"
        "folders = Folders(); one, two = folders.make(), folders.make(); (one / 'a.pt').write_text('x')\n"
        "folders.give_back(one); print(two.exists(), one.parent, flush=True); folders.give_back(two); os._exit(0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lived, base = ended.stdout.split()
    assert lived == "True" and not os.path.exists(base)


def test_a_folder_that_goes_with_its_last_run_while_another_takes_it_is_made_again(monkeypatch):
    folders = Folders()
    real, gone = module._take, []

    def take(folder):
        if not gone:
            gone.append(folder)
            shutil.rmtree(folder.parent)
            raise FileNotFoundError(folder)
        return real(folder)

    monkeypatch.setattr(module, "_take", take)
    assert folders.make() == folders.first and folders.first.is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked there, and nothing swept")
def test_a_folder_that_killed_processes_had_is_swept_once_none_of_them_lives(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "folders").write_bytes(pickle.dumps(Folders()))
    code = (
        "import pathlib, pickle, sys; from dora_repro.driving.folders import Folders\n"
        "folder = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()).make(); print(folder, flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "folders")]
    users = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    bases = {os.path.relpath(user.stdout.readline().strip(), tmp_path).split(os.sep)[0] for user in users}
    there = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert bases == there and len(there) == 1
    for user in users:
        sweep()
        assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == there
        user.kill()
        user.communicate()
    sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["folders"]
