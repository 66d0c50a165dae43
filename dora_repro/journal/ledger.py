"""Which checkpoints a training writes, and which files it reads before its first update: by their content.

A check of a script looks at the folder that it gives the script. A training in production writes wherever it likes, so
each file that Python, torch or safetensors opens is noted, and looked at between two updates.
"""

import contextlib
import functools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xxhash

from dora_repro.scripts.files import Files, Position, may_be_checkpoint

_MOST = 4096  # files that are noted between two updates
_CHUNK = 1 << 22  # bytes
_SELDOM = 8  # updates between two copies of an optimizer's state, at least, where they are to be saved
_SETTLED = 1.0  # seconds for which a file that another thread opened must not have changed
_CODE = (".py", ".pyc", ".so")
_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".tar", ".pkl", ".pickle", ".bin", ".distcp", ".h5", ".msgpack")
_HEADS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # of a zip archive, of a pickle


@dataclass(frozen=True)
class Checkpoint:
    """A file that was written.

    Attributes:
        path: absolute.
        digest: of its content; None where it is not known to be complete.
        size: in bytes.
        update: number of updates that this process had done when it was opened.
        backwards: number of backward passes since then.
        now: whether the training's own thread has written it just now.
    """

    path: str
    digest: str | None
    size: int
    update: int
    backwards: int
    now: bool = False


@dataclass(frozen=True)
class _Opened:
    """A file that was opened for writing.

    Attributes:
        position: numbers of updates and of backward passes since the last, then.
        stamp: what told its content before; None where there was no file.
        elsewhere: whether another thread than the training's opened it, and may still write to it.
        told: whether it was told of already, as one that may not be complete.
    """

    position: tuple[int, int]
    stamp: tuple[int, int] | None
    elsewhere: bool
    told: bool = False


class JournalFiles(Files):
    """The checkpoints that a process writes, and the files that it reads before its first update.

    Args:
        journal: the journal's folder: what is in it is no checkpoint.
        position: returns the numbers of updates and of backward passes since the last.
        wrote: called with each checkpoint that was written, between two updates.
        serialized: called when the training's thread has serialized something with torch that is no file by its name:
            a library may write it into one later.
        begins: called with the path of what is a checkpoint by its name, and with the numbers of updates and of
            backward passes since the last, where the training's thread is about to write it, or to give it that name.
    """

    def __init__(
        self,
        journal: Path,
        position: Position,
        wrote: Callable[[Checkpoint], None],
        serialized: Callable[[], None] = lambda: None,
        begins: Callable[[str, int, int], None] = lambda path, update, backwards: None,
    ):
        self._opened_files: dict[str, _Opened] = {}
        self._reads: dict[str, int] = {}
        self._others: deque[str] = deque()  # those of them that are no checkpoint by their name
        self._serialized, self._begins = serialized, begins
        self._wrote, self._own = wrote, f"{os.path.realpath(journal)}{os.sep}"
        self._begun, self._told = False, False
        self._last_copy: int | None = None  # number of updates when an optimizer was asked for its state last
        self._copy_waits = False
        super().__init__(journal, position)

    def write_to(self, path: Path) -> None:
        """The first update begins: what is read from now on is no longer what the training goes on from."""
        self._begun = True

    @property
    def position(self) -> tuple[int, int]:
        """The numbers of updates that this process has done, and of backward passes since the last."""
        return self._position()

    @property
    def reads(self) -> dict[str, int]:
        """Path -> size of the files that were read before the first update, in order, the last one last."""
        return self._reads

    def look(self) -> bool:
        """Tell of the checkpoints that were written since the last look; whether there were any, or a copy."""
        told, self._told = self._told, False
        copied, self._copy_waits = self._copy_waits, False
        if not self._opened_files:
            self.saved = told
            return told or copied
        opened, self._opened_files = self._opened_files, {}
        found, here = told or copied, told
        for path, one in opened.items():
            stamp = _stamp(path)
            if stamp is None or stamp == one.stamp or not stamp[1]:
                if one.elsewhere:
                    self._opened_files[path] = one  # nothing is written yet
                continue
            with self._unheard():
                if not is_checkpoint(path):
                    continue
                found, here = found or not one.told, here or not one.elsewhere
                complete = not one.elsewhere or time.time() - stamp[0] / 1e9 >= _SETTLED
                if complete or not one.told:
                    self._wrote(Checkpoint(path, digest_of(path) if complete else None, stamp[1], *one.position))
            if not complete:
                self._opened_files[path] = replace(one, told=True)
        self.saved = here
        return found

    def read(self, path: Any) -> None:
        """Note that a file is read."""
        if self._begun:
            return
        with contextlib.suppress(TypeError, ValueError, OSError):  # no path: a descriptor, a buffer
            real = os.fsdecode(os.path.realpath(os.fspath(path)))
            if real.endswith(_CODE) or real.startswith(self._own) or not may_be_checkpoint(real):
                return
            if os.path.isfile(real):
                self._reads.pop(real, None)
                self._reads[real] = os.stat(real).st_size
                if not real.lower().endswith(_SUFFIXES):
                    self._others.append(real)
        if len(self._others) > _MOST:  # a data set of many files: the latest are kept
            self._reads.pop(self._others.popleft(), None)

    def _copied(self, optimizer: Any) -> None:
        """An optimizer was asked for its state: a thread, or another process, may write the copy after further updates.
        One that is asked every few updates is not being saved."""
        if threading.get_ident() == self._thread and os.getpid() == self._pid:
            done = self._position()[0]
            self._copy_waits |= self._last_copy is None or done - self._last_copy >= _SELDOM
            self._last_copy = done

    def _on_open(self, path: Any, mode: str | None) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if mode is None:  # os.open(): for reading or for writing
            self.read(path)
            self._opens(path)
        elif set("wax+") & set(mode):
            self._opens(path)
        else:
            self.read(path)

    def _opens(self, path: Any) -> None:
        """A file is opened for writing, perhaps."""
        real = os.fsdecode(os.path.realpath(path))
        if real.startswith((self._own, "/dev/", "/proc/", "/sys/")) or len(self._opened_files) >= _MOST:
            return
        known = self._opened_files.pop(real, None)
        stamp = _stamp(real) if known is None else known.stamp
        self._opened_files[real] = one = _Opened(self._position(), stamp, threading.get_ident() != self._thread)
        self._tell_of_beginning(real, one)

    def _tell_of_beginning(self, path: str, one: _Opened) -> None:
        """The process may be killed once the file is there, and before anybody looks."""
        if not one.elsewhere and threading.get_ident() == self._thread and path.lower().endswith(_SUFFIXES):
            with self._unheard():
                self._begins(path, *one.position)

    def _closed(self, path: Any) -> None:
        """A file is complete that was opened for writing, by whatever thread."""
        real = os.fsdecode(os.path.realpath(path))
        one = self._opened_files.get(real)
        if one is None:
            return
        if threading.get_ident() != self._thread:
            self._opened_files[real] = replace(one, elsewhere=False)
            return
        # Told at once: the process may be killed before its next update.
        del self._opened_files[real]
        with self._unheard():
            stamp = _stamp(real)
            if stamp is not None and is_checkpoint(real):
                self._told = True
                self._wrote(Checkpoint(real, digest_of(real), stamp[1], *one.position, now=True))

    def _on_rename(self, source: Any, target: Any) -> None:
        old, new = (os.fsdecode(os.path.realpath(path)) for path in (source, target))
        for path in [path for path in self._opened_files if path == old or path.startswith(f"{old}{os.sep}")]:
            one = self._opened_files.pop(path)
            renamed = new + path.removeprefix(old)
            self._opened_files[renamed] = replace(one, stamp=None)
            self._tell_of_beginning(renamed, one)

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        """What the journal reads itself is not noted."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    # --- functions that open files outside of Python ----------------------------------------------------------------

    def watch_torch(self) -> None:
        """Note when `torch.save` begins to write a file by its name: torch opens it itself. And when an optimizer is
        asked for its state."""
        import torch

        from dora_repro.scripts import listening

        listening.to_optimizer_state(self._copied)
        torch.save = self._before_writing(torch.save, 1)

    def watch_safetensors(self) -> None:
        """Note what safetensors reads and writes."""
        self.watch_reading()
        for module in (sys.modules["safetensors"], sys.modules["safetensors.torch"]):
            for name in ("save_file", "serialize_file"):
                if hasattr(module, name):
                    setattr(module, name, self._before_writing(getattr(module, name), 1))

    def _before_writing(self, real: Callable[..., Any], position: int) -> Callable[..., Any]:
        @functools.wraps(real, updated=())
        def writing(*args: Any, **kwargs: Any) -> Any:
            path = args[position] if len(args) > position else kwargs.get("f", kwargs.get("filename"))
            if os.getpid() != self._pid:
                return real(*args, **kwargs)
            if not isinstance(path, (str, os.PathLike)):
                result = real(*args, **kwargs)
                if threading.get_ident() == self._thread:
                    with self._unheard():
                        self._serialized()
                return result
            with contextlib.suppress(OSError, ValueError):
                self._opens(path)
            result = real(*args, **kwargs)
            with contextlib.suppress(OSError, ValueError):
                self._closed(path)
            return result

        return writing


def digest_of(path: str) -> str | None:
    """The digest of a file's content; None where it cannot be read.

    128 bits of XXH3 (https://xxhash.com): equal files are told, and no adversary is kept out.
    """
    found = xxhash.xxh3_128()
    try:
        with open(path, "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                found.update(data)
    except OSError:
        return None
    return found.hexdigest()


def _stamp(path: str) -> tuple[int, int] | None:
    """What tells whether a file was written to: its modification time in ns and its size; None where it is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def is_checkpoint(path: str) -> bool:
    """Whether a file may be one, by its name or its first bytes: no log, table or picture."""
    if not may_be_checkpoint(path):
        return False
    if path.lower().endswith(_SUFFIXES):
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4).startswith(_HEADS)
    except OSError:
        return False
