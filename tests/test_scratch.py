"""Temporary folders of a process that was killed go with the next one; those of a living one, or of others, stay."""

import os
import subprocess
import sys

import pytest

from dora_repro.scratch import LOCK, PREFIX, ScratchFolder, sweep

OWNER = "from dora_repro.scratch import ScratchFolder; m = ScratchFolder('x'); print(m.name, flush=True); input()"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder of temporary files for this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def owner():
    """A process with a folder, and the folder's path."""
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_the_folder_of_a_living_process_stays_and_that_of_a_killed_one_goes(temporary):
    process, folder = owner()
    with process:
        (temporary / folder / "file").write_text("x")
        sweep()
        assert os.listdir(folder) and os.path.dirname(folder) == str(temporary)
        process.kill()
        process.wait()
    assert os.path.exists(folder)
    sweep()
    assert os.listdir(temporary) == []


def test_a_process_sweeps_when_it_makes_its_first_folder(temporary):
    process, killed = owner()
    with process:
        process.kill()
    process, living = owner()
    with process:
        assert not os.path.exists(killed) and os.path.exists(living)
        process.communicate("\n")
    assert os.listdir(temporary) == []  # one that ends as it should leaves nothing


def test_what_is_not_ours_stays(temporary):
    for name in (f"{PREFIX}without-a-lock", "another", f"{PREFIX}file"):
        (temporary / name).mkdir()
    (temporary / "another" / LOCK).touch()
    (temporary / f"{PREFIX}link").symlink_to("another")
    (temporary / f"{PREFIX}locked-by-a-link").mkdir()
    (temporary / f"{PREFIX}locked-by-a-link" / LOCK).symlink_to("../another")
    before = sorted(os.listdir(temporary))
    sweep()
    assert sorted(os.listdir(temporary)) == before and os.listdir(temporary / "another") == [LOCK]


def test_a_folder_goes_with_its_block_and_can_be_removed_twice():
    with ScratchFolder() as name:
        assert os.path.basename(name).startswith(PREFIX)
    assert not os.path.exists(name)
    made = ScratchFolder("x")
    assert made.path.name.startswith(f"{PREFIX}x-")
    made.cleanup()
    made.cleanup()
    assert not made.path.exists()


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="nothing is read-only to root")
def test_what_a_run_made_read_only_goes_too():
    with ScratchFolder() as name:
        os.makedirs(f"{name}/one/two")
        open(f"{name}/one/two/file", "w").close()
        os.chmod(f"{name}/one/two", 0o500)
        os.chmod(f"{name}/one", 0o500)
    assert not os.path.exists(name)


def test_one_that_nobody_refers_to_any_more_goes():
    made = ScratchFolder()
    name = made.name
    del made
    assert not os.path.exists(name)


def test_a_fork_may_leave_it_to_its_parent(temporary):
    left = (
        "import os, sys; from dora_repro.scratch import ScratchFolder; m = ScratchFolder('x'); pid = os.fork()\n"
        "if pid == 0: m.disown(); sys.exit()\n"
        "os.waitpid(pid, 0); print(os.path.exists(m.name))"
    )
    done = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n" and os.listdir(temporary) == []
