"""Folders that the sides of a check write to: the same path for each, one after the other.

What a function notes of its own files is then true of the side that resumes, as it is of a user's run: the best
checkpoint so far, the folder that it saves to. Two runs at a time need two folders; the second has a path of its own.
"""

import os
import shutil
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

from dora_repro.scratch import LOCK, PREFIX, share

_shared: dict[Path, int | None] = {}  # folders that this process uses -> what keeps them from being swept


class Folders:
    """Folders for the runs of one function. A copy, also in another process, makes the same ones.

    Attributes:
        first: the folder of a run that is alone.
    """

    def __init__(self) -> None:
        self._base = Path(tempfile.gettempdir()) / f"{PREFIX}stepwise-{uuid.uuid4().hex[:12]}"
        weakref.finalize(self, _remove_in, os.getpid(), self._base)

    def __getstate__(self) -> Path:
        return self._base

    def __setstate__(self, base: Path) -> None:
        self._base = base  # whoever made the first of them removes it

    @property
    def first(self) -> Path:
        return self._base / "out"

    def make(self) -> Path:
        """An empty folder that no living run writes to."""
        number = 1
        while True:
            self._base.mkdir(mode=0o700, exist_ok=True)
            _keep(self._base)
            folder = self.first if number == 1 else self._base / f"{number}" / "out"
            try:
                taken = _take(folder)
            except FileNotFoundError:  # the last run that was in it is just gone, and with it the folder
                continue
            if taken:
                folder.mkdir(parents=True)
                return folder
            number += 1

    @staticmethod
    def give_back(folder: Path) -> None:
        """Remove a folder: its run is gone."""
        if _owner(folder) == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)
            _mark(folder).unlink(missing_ok=True)
            # A side that made them itself ends without a last word: nothing else would remove what is empty now.
            base = folder.parent.parent if folder.parent.name.isdecimal() else folder.parent
            with suppress(OSError):
                if folder.parent != base:
                    folder.parent.rmdir()
                if {*os.listdir(base)} <= {LOCK}:  # no other run is in it
                    _let_go(base)
                    (base / LOCK).unlink(missing_ok=True)
                    base.rmdir()


def _mark(folder: Path) -> Path:
    """The file that has the number of the process whose run writes to a folder."""
    return folder.with_name(f"{folder.name}.pid")


def _owner(folder: Path) -> int | None:
    try:
        return int(_mark(folder).read_text())
    except (OSError, ValueError):
        return None


def _take(folder: Path) -> bool:
    """Whether a folder is now this process's; what a process that was killed has left there is removed."""
    mark = _mark(folder)
    mark.parent.mkdir(mode=0o700, exist_ok=True)
    owner = _owner(folder)
    if owner is not None and not _lives(owner):
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with open(mark, "x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def _lives(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return False


def _remove_in(pid: int, base: Path) -> None:
    if os.getpid() == pid:
        shutil.rmtree(base, ignore_errors=True)
        _let_go(base)


def _keep(base: Path) -> None:
    """Keep a folder from being swept for as long as this process lives: sides are killed, with what they have there."""
    if base not in _shared:
        with suppress(FileNotFoundError):  # gone, as above: the folder is made again
            _shared[base] = share(str(base))


def _let_go(base: Path) -> None:
    if (lock := _shared.pop(base, None)) is not None:
        os.close(lock)
