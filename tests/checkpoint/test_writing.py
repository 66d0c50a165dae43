"""Whatever moment a write ends at, the last good file is there, and nothing is left behind."""

import os
import random
import subprocess
import sys

import numpy
import pytest
import torch

from dora_repro.checkpoint import writing
from dora_repro.checkpoint.reading import read
from dora_repro.checkpoint.writing import atomic, write
from dora_repro.errors import BadInput


def test_what_is_written_reads_equal_and_torch_loads_it_safely(same, trained, tmp_path):
    data = {
        "model": trained[0].state_dict(),
        "optimizer": trained[1].state_dict(),
        "epoch": 3,
        "list": [1, (2.5, None)],
    }
    write(tmp_path / "file.pt", data)
    same(read(tmp_path / "file.pt"), data)
    same(torch.load(tmp_path / "file.pt", weights_only=True), data)
    assert os.listdir(tmp_path) == ["file.pt"]


class Odd:
    pass


class Stored(dict):
    pass


REFUSED = {
    "an object": ({"a": {"b": [1, Odd()]}}, "cannot save a/b/1: it is a .*Odd; save tensors, numbers"),
    "an array": ({"rng": numpy.zeros(3)}, "cannot save rng: it is a numpy.ndarray; .*torch.from_numpy"),
    "a numpy number": ({"loss": numpy.float64(1)}, "cannot save loss: it is a numpy.float64"),
    "a set": ({"seen": {1}}, "cannot save seen: it is a set"),
    "a function": ({"f": print}, "cannot save f: it is a builtin_function_or_method"),
    "a dict of one's own": ({"d": Stored()}, r"cannot save d: it is a .*Stored; save dict\(\.\.\.\) of it"),
    "a key that is an object": ({Odd: 1}, "its key .* is a type; use a string"),
    "no mapping": ([1], "a checkpoint is a mapping of names to values; got list"),
}


@pytest.mark.parametrize("data, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused_by_name_before_anything_is_written(data, words, tmp_path):
    with pytest.raises(BadInput, match=words):
        write(tmp_path / "file.pt", data)
    assert os.listdir(tmp_path) == []


def test_what_contains_itself_is_refused(tmp_path):
    loop: dict = {}
    loop["again"] = loop
    with pytest.raises(BadInput, match="does it contain itself"):
        write(tmp_path / "file.pt", loop)


def test_impossible_goals_are_bad_input(tmp_path):
    with pytest.raises(BadInput, match="it is a folder; name a file in it"):
        write(tmp_path, {})
    with pytest.raises(BadInput, match="does not exist; make it first"):
        write(tmp_path / "none" / "file.pt", {})


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, BadInput])
def test_an_exception_in_the_middle_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "file.pt"
    write(path, {"a": 1})
    with pytest.raises(error), atomic(path) as file:
        file.write(b"half")
        raise error("in the middle")
    assert read(path) == {"a": 1} and os.listdir(tmp_path) == ["file.pt"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_interrupt_while_the_file_is_put_in_place_leaves_the_old_one(moment, tmp_path, monkeypatch):
    path = tmp_path / "file.pt"
    write(path, {"a": 1})

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(path, {"a": 2})
    monkeypatch.undo()
    assert read(path) == {"a": 1} and os.listdir(tmp_path) == ["file.pt"]


def test_a_full_disk_is_bad_input_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.pt"
    write(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(BadInput, match="No space left on device; make room and save again"):
        write(path, {"a": 2})
    monkeypatch.undo()
    assert read(path) == {"a": 1} and os.listdir(tmp_path) == ["file.pt"]


DEATHS = {
    "before the first byte": "writing.torch.save = lambda *a: os._exit(9)",
    "after half of the bytes": "writing.torch.save = lambda d, f: (f.write(b'x' * 999), os._exit(9))",
    "before the flush to the disk": "writing.os.fsync = lambda fd: os._exit(9)",
    "before the rename": "writing.os.replace = lambda a, b: os.kill(os.getpid(), 9)",
}
# A fresh process imports torch once and forks the children that die.
FORKING = """
import os, signal, sys, time
from dora_repro.checkpoint import writing
import torch
def child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    return pid
"""


def test_a_process_that_dies_at_a_chosen_moment_leaves_the_old_file(tmp_path):
    script = FORKING + (
        "for number, death in enumerate(sys.argv[2:]):\n"
        "    folder = os.path.join(sys.argv[1], str(number)); os.mkdir(folder)\n"
        "    writing.write(folder + '/file.pt', {'a': torch.ones(1000)})\n"
        "    pid = child(lambda: (exec(death), writing.write(folder + '/file.pt', {'a': 2})))\n"
        "    status = os.waitpid(pid, 0)[1]\n"
        "    print(os.WTERMSIG(status) or os.WEXITSTATUS(status))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, *DEATHS.values()], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["9"] * len(DEATHS)
    for number, death in enumerate(DEATHS):
        folder = tmp_path / str(number)
        assert torch.equal(read(folder / "file.pt")["a"], torch.ones(1000)), death
        assert [name for name in os.listdir(folder) if not name.endswith(".partial")] == ["file.pt"]


def test_a_process_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    """Children write larger and larger numbers over one file, without end, and are killed; twelve times."""
    path = tmp_path / "file.pt"
    script = FORKING + (
        "def work():\n"
        "    n = 0\n"
        "    while True:\n"
        "        n += 1\n"
        "        writing.write(sys.argv[1], {'n': n, 'a': torch.full((1 << 18,), float(n))})\n"
        "torch.set_num_threads(1)\n"
        "pid = child(work)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.001)\n"
        "time.sleep(float(sys.argv[2]))\n"
        "os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\n"
        "for pause in map(float, sys.argv[3:]):\n"
        "    pid = child(work); time.sleep(pause); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\n"
        "    data = torch.load(sys.argv[1], weights_only=True)\n"
        "    assert bool((data['a'] == data['n']).all())\n"
        "    print(data['n'])\n"
    )
    chosen = random.Random(0)
    pauses = [str(chosen.uniform(0.01, 0.1)) for _ in range(12)]
    done = subprocess.run([sys.executable, "-c", script, path, *pauses], capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.split())) == (0, 11), done.stderr
    data = read(path)
    assert data["n"] == int(done.stdout.split()[-1]) and data["a"].unique().tolist() == [data["n"]]


def test_the_mode_of_a_file_is_kept_and_a_new_one_is_as_the_user_asks(tmp_path):
    path = tmp_path / "file.pt"
    before = os.umask(0o027)
    try:
        write(path, {})
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o600)
        write(path, {"a": 1})
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_symbolic_link_is_written_through(tmp_path):
    write(tmp_path / "real.pt", {"a": 1})
    (tmp_path / "link.pt").symlink_to("real.pt")
    write(tmp_path / "link.pt", {"a": 2})
    assert (tmp_path / "link.pt").is_symlink() and read(tmp_path / "real.pt") == {"a": 2}


def test_a_name_as_long_as_names_get_can_be_written(tmp_path):
    for name in ("x" * 250 + ".pt", "ü" * 125 + ".pt"):
        write(tmp_path / name, {"a": 1})
        assert read(tmp_path / name) == {"a": 1}


def test_the_yielded_file_knows_its_temporary_name_in_the_same_folder(tmp_path):
    with atomic(tmp_path / "file.bin") as file:
        assert os.path.dirname(file.name) == str(tmp_path) and os.path.exists(file.name)
        file.write(b"abc")
    assert (tmp_path / "file.bin").read_bytes() == b"abc" and not os.path.exists(file.name)
