"""Temporary folders that do not outlive their owner: those of a process that was killed are removed by the next one.

Each has a lock file, held by its owner for as long as it lives, or by all that share it (`flock`: the system lets go of
it however the owner ends, and it counts in every container that shares the folder). One that nobody holds belongs to
nobody.
"""

import os
import shutil
import stat
import sys
import tempfile
import weakref
from contextlib import AbstractContextManager, suppress
from pathlib import Path

if sys.platform != "win32":  # nothing is locked there, and nothing swept
    import fcntl

PREFIX = "dora-repro-"
LOCK = ".dora-repro-lock"
_swept: set[tuple[int, str]] = set()  # by which process, and where


class ScratchFolder(AbstractContextManager[str]):
    """A temporary folder of this process, removed with its block, when nobody refers to it, or when the process ends.

    Args:
        purpose: a word for its name.

    Attributes:
        name: its path.
    """

    def __init__(self, purpose: str = ""):
        here = os.getpid(), tempfile.gettempdir()
        if here not in _swept:
            _swept.add(here)
            sweep()
        self.name = tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}{'-' if purpose else ''}")
        self._end = weakref.finalize(self, _remove, self.name, _hold(self.name))

    @property
    def path(self) -> Path:
        """Its path."""
        return Path(self.name)

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Remove it; nothing happens where it is gone."""
        self._end()

    def disown(self) -> None:
        """In a fork of its process: leave it to that one."""
        self._end.detach()


def _remove(folder: str, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for inside, folders, _ in os.walk(folder):  # what is left is in folders that a run has made read-only
        for path in (inside, *(os.path.join(inside, name) for name in folders)):
            with suppress(OSError):
                os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def sweep() -> None:
    """Remove the folders of processes of this user that are gone."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_nobody_s(entry)


def _remove_if_nobody_s(entry: "os.DirEntry[str]") -> None:
    """Remove a folder whose lock nobody holds.

    Raises:
        OSError: it has no lock, somebody holds it, or it is another user's.
    """
    if sys.platform == "win32" or entry.stat(follow_symlinks=False).st_uid != os.getuid():
        return
    lock = os.open(os.path.join(entry.path, LOCK), os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)


def share(folder: str) -> int | None:
    """Keep a folder from being swept for as long as this process lives, or one of the others that share it.

    Args:
        folder: of the temporary folder, named with `PREFIX`.

    Returns:
        the lock's file descriptor, to be closed where the folder is no longer used; None where nothing is locked.
    """
    if sys.platform == "win32":
        return None
    lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with suppress(OSError):  # a file system without locks: it is not swept either
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return lock


def _hold(folder: str) -> int | None:
    """Lock a folder: the lock is held before it has its name, so that nobody finds it free."""
    if sys.platform == "win32":
        return None
    made = os.path.join(folder, f"{LOCK}-new")
    lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a file system without locks: it is not swept either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(made, os.path.join(folder, LOCK))
    return lock
