"""Nothing is replaced but files, whatever cannot be written is bad input, and the last good file stays."""

import os
import resource
import socket
import stat
import subprocess
import sys

import pytest
import torch

from dora_repro.checkpoint import writing
from dora_repro.checkpoint.replacing import atomic, goal_of, require_writable
from dora_repro.errors import BadInput


def device(path):
    """A copy of /dev/null (the device itself is everybody's)."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def bound(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


SPECIAL = {"a device": device, "a FIFO": os.mkfifo, "a socket": bound, "a folder": os.mkdir}


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_refused_and_stays(kind, through_a_link, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    SPECIAL[kind]("there")
    os.symlink("there", "link")
    before = os.lstat("there")
    goal = "link" if through_a_link else "there"
    for refuse in (lambda: writing.write(goal, {"a": 1}), lambda: require_writable(goal), lambda: goal_of(goal)):
        with pytest.raises(BadInput, match=f"cannot write {goal}: it is {kind}"):
            refuse()
    assert os.lstat("there") == before and sorted(os.listdir()) == ["link", "there"]


def test_what_is_put_there_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(BadInput, match="it is a FIFO"), atomic(tmp_path / "file") as file:
        file.write(b"x")
        os.mkfifo(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"] and stat.S_ISFIFO(os.stat(tmp_path / "file").st_mode)


def test_where_this_process_prints_to_is_refused(tmp_path):
    script = "from dora_repro.checkpoint.replacing import goal_of; goal_of('/dev/stdout')"
    with open(tmp_path / "printed", "wb") as printed:
        done = subprocess.run([sys.executable, "-c", script], stdout=printed, stderr=subprocess.PIPE, text=True)
    assert "what this command prints goes there" in done.stderr


IMPOSSIBLE = {
    "a loop of links": ("loop", "Too many levels of symbolic links; remove the link"),
    "a loop above it": ("loop/file", "Too many levels of symbolic links; remove the link"),
    "a name too long": ("x" * 300, "File name too long; choose a shorter name"),
    "a NUL": ("a\0b", r"a\\x00b: it holds a NUL character; choose another name"),
    "a lone surrogate": ("a\ud800", r"a\\ud800: no file can have such a name"),
    "a file for a folder": ("file/x", "the folder .*file is no folder; name a file in one"),
    "no name": ("new/", "it names no file"),
    "a link to nowhere": ("dangling", "the folder .*none does not exist; make it first"),
}


@pytest.mark.parametrize("name, words", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_names_that_no_file_can_have_are_bad_input(name, words, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none/x")
    (tmp_path / "file").write_bytes(b"good")
    there = sorted(os.listdir(tmp_path))
    for write in (lambda goal: writing.save(goal, 1), require_writable):
        with pytest.raises(BadInput, match=words):
            write(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == there and (tmp_path / "file").read_bytes() == b"good"


def by_its_path(goal):
    with atomic(goal) as file, open(file.name, "r+b") as again:
        again.write(b"x" * 200_000)


def in_pieces(goal):
    with atomic(goal) as file:
        for _ in range(100):
            file.write(b"x" * 9_999)


WRITERS = {
    "one large tensor": lambda goal: writing.write(goal, {"a": torch.ones(1 << 16)}),
    "many small ones": lambda goal: writing.write(goal, {str(number): torch.ones(99) for number in range(200)}),
    "bytes in pieces": in_pieces,
    "bytes by the path": by_its_path,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_limit_that_is_reached_in_the_middle_is_bad_input(write, tmp_path):
    """As on a full disk: torch says something else then, of its own position in the file."""
    goal = tmp_path / "file.pt"
    writing.write(goal, {"a": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
    try:
        with pytest.raises(BadInput, match=r"file\.pt: File too large; raise the limit"):
            write(goal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(goal) == {"a": 1} and os.listdir(tmp_path) == ["file.pt"]
    write(goal)
    assert goal.stat().st_size > 65_536


def test_an_error_that_is_not_of_the_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file"):
        open(tmp_path / "none")
    assert os.listdir(tmp_path) == []
