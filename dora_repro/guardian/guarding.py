"""What this process has started ends with it, also where it is killed outright (SIGKILL, out of memory).

A guardian is there as long as anything is guarded: a process of its own, in a session of its own, which ends what is
guarded, with all that this has started, once its parent is gone. No process that it guards has to take notice of
anything: it may be importing, waiting in a kernel, or be a user's script.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

_MAIN = Path(__file__).with_name("guardian_main.py")
_FAREWELL = 5.0  # seconds for a guardian with nothing to guard


class _Guardian:
    """The guardian of one process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._guarded: dict[int, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def guard(self, pid: int, variable: str) -> None:
        with self._lock:
            self._guarded[pid] = variable
            if self._process is None:
                self._start()
            else:
                self._tell({"guard": pid, "variable": variable})

    def release(self, pid: int) -> None:
        with self._lock:
            if self._guarded.pop(pid, None) is None:
                return
            self._tell({"release": pid})
            if not self._guarded:
                self._end()

    def _start(self) -> None:
        # Neither site nor environment: it is there in a few milliseconds, and nothing of the user's runs in it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_MAIN), str(self.owner)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            cwd="/", start_new_session=True,
        )  # fmt: skip  # a row of arguments
        for pid, variable in self._guarded.items():
            self._write({"guard": pid, "variable": variable})

    def _tell(self, line: dict[str, object]) -> None:
        try:
            self._write(line)
        except OSError:  # somebody has ended it: another takes its place, and is told what is guarded by now
            self._end()
            self._start()

    def _write(self, line: dict[str, object]) -> None:
        if self._process is None or self._process.poll() is not None:
            raise BrokenPipeError
        assert self._process.stdin is not None  # a pipe
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            let_end(process, _FAREWELL)

    def close(self) -> None:
        """This process ends as it should, and what is still guarded with it."""
        if self.owner == os.getpid():
            with self._lock:
                self._end()


_guardian: _Guardian | None = None


def guard(pid: int, variable: str = "") -> None:
    """Have a process that this one has started end with it, and whatever that has started.

    Args:
        pid: of the process, which leads a session of its own.
        variable: `NAME=value` in the environment of everything that it starts: where a parent in between is gone
            before, its children are found by that.
    """
    global _guardian
    if os.name != "posix":
        return
    if _guardian is None or _guardian.owner != os.getpid():  # in a fork it is another's
        _guardian = _Guardian()
        atexit.register(_guardian.close)
    with suppress(OSError):  # no process more is to be had: what is started goes on unguarded
        _guardian.guard(pid, variable)


def release(pid: int) -> None:
    """A process has ended, and is no longer guarded; nothing happens where it was not."""
    if _guardian is not None and _guardian.owner == os.getpid():
        with suppress(OSError):
            _guardian.release(pid)


def let_end(process: subprocess.Popen[str], seconds: float) -> None:
    """Close a process's standard input, by which it hears that it is to end, and wait; end it where it does not.

    Args:
        process: whose standard input is a pipe.
        seconds: how long it may take.
    """
    assert process.stdin is not None
    with suppress(OSError):  # it has ended, with something unread
        process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
