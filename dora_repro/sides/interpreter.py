"""An interpreter that sides are forked from: one that was started for that, or a fork of a command's own process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dora_repro.guardian.guarding import guard, release
from dora_repro.private_names.of_cpython import interpreter_flags
from dora_repro.sides.forks import Forks, control
from dora_repro.sides.late_libraries import LateLibraries
from dora_repro.sides.processes import LOG, SideProcess, SideStopped, close_quietly, paths, send
from dora_repro.sides.successors import Successors

_BOOT = (
    # Byte by byte: what follows the line is for another reader.
    "import json, os, sys; boot = json.loads(b''.join(iter(lambda: os.read(0, 1) or b'\\n', b'\\n')) or 'null'); "
    "sys.path[:] = boot['path']; sys.argv[:] = boot['argv']; "
    "from dora_repro.sides.worker_main import main; main(boot)"
)
_FAREWELL = 10.0  # seconds in which it ends its forks and itself
_LOOK = 0.005


class Interpreter(Protocol):
    """What sides get their processes from.

    Attributes:
        number: of the interpreter.
    """

    number: int

    def forks(self, late: LateLibraries) -> Forks | None:
        """What forks it, or a fork of it that has imported more, once that is ready; None where it is a side itself.

        Args:
            late: what is to be imported beforehand by now.

        Raises:
            SideStopped: it did not get ready in time.
        """

    def as_side(self) -> SideProcess:
        """Itself, for the only side that it does."""

    def end(self) -> None:
        """End it and everything that it started; its forks, too."""

    def let_go(self) -> None:
        """In a fork of the process that it works for: close what belongs to that one."""


class StartedInterpreter:
    """An interpreter that was started to be forked, or to be a side itself.

    Args:
        number: of the interpreter.
        folder: where to write its log; must exist.
        preload: modules to import.
        environment: environment variables besides those of this process.

    Attributes:
        number: as given.
        stdin: what it reads lines from, where it is a side itself.
        stdout: what it writes lines to, likewise.
    """

    def __init__(self, number: int, folder: Path, preload: tuple[str, ...], environment: Mapping[str, str]):
        self.number, self._folder = number, folder
        ours, theirs = control()
        passed = () if theirs is None else (theirs.fileno(),)
        # Threads that wait for each other leave their core alone: on it, the next side is importing.
        self._process = subprocess.Popen(
            # As multiprocessing does: -O, -W, -X of the parent.
            [sys.executable, *interpreter_flags(), "-c", _BOOT],
            env={"OMP_WAIT_POLICY": "passive", **os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", start_new_session=True, pass_fds=passed,
        )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # both are pipes
        guard(self._process.pid)
        self.stdin, self.stdout = stdin, stdout
        asked = {"log": str(folder / LOG), "preload": preload, "late": None, "prepare": None}
        send(self.stdin, {**paths(), **asked, "control": theirs.fileno() if theirs is not None else None})
        if theirs is not None:
            theirs.close()
        self._successors = Successors(Forks(ours), folder) if ours is not None else None

    def forks(self, late: LateLibraries) -> Forks | None:
        """As `Interpreter` has it."""
        return self._successors.latest(late) if self._successors is not None else None

    def as_side(self) -> SideProcess:
        """As `Interpreter` has it."""
        return SideProcess(self, self._folder, self.number)

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        return self._process.wait()

    def end(self) -> None:
        """As `Interpreter` has it."""
        if self._successors is not None and self._successors.end():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL)
        if self._process.poll() is None or hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
        self._process.wait()
        release(self._process.pid)
        close_quietly(self.stdin, self.stdout)

    def let_go(self) -> None:
        """As `Interpreter` has it."""
        if self._successors is not None:
            self._successors.let_go()
        close_quietly(self.stdin, self.stdout)


class OwnFork:
    """A fork of the command's own process (`own_fork.py`).

    Args:
        number: of the interpreter.
        folder: where to write its log; must exist.
        pid: of the fork.
        connection: over which it is asked for forks.

    Attributes:
        number: as given.
    """

    def __init__(self, number: int, folder: Path, pid: int, connection: socket.socket):
        self.number, self._pid = number, pid
        self._successors = Successors(Forks(connection), folder)
        guard(pid)

    def forks(self, late: LateLibraries) -> Forks:
        """As `Interpreter` has it.

        Raises:
            SideStopped: it was killed.
        """
        forks = self._successors.latest(late)
        if forks is None:
            raise SideStopped("the interpreter that sides are forked from was killed")
        return forks

    def as_side(self) -> SideProcess:
        """As `Interpreter` has it; not this one."""
        raise AssertionError("it is forked, and no side itself")

    def end(self) -> None:
        """As `Interpreter` has it."""
        if self._successors.end():
            limit = time.monotonic() + _FAREWELL
            while not os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) and time.monotonic() < limit:
                time.sleep(_LOOK)
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        release(self._pid)

    def let_go(self) -> None:
        """As `Interpreter` has it."""
        self._successors.let_go()
