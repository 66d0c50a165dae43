"""Interpreters that have imported what a run needs, and the processes that sides get from them.

Where that is sound (`forking.py`), an interpreter runs nothing itself: each side is a fork of it, and begins where a
new interpreter would. There are two, each with hash seeds and addresses of its own, so that a side and its repeat never
come from the same one. Elsewhere each side is a new interpreter; the next gets ready meanwhile. No side is ever a fork
of the process that asks. All have its paths, folder and environment, and end when it is gone.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from dora_repro.private_names.of_cpython import interpreter_flags
from dora_repro.sides.processes import LOG, SideProcess, SideStopped, close_quietly, paths, send

_BOOT = (
    # Byte by byte: what follows the line is for another reader.
    "import json, os, sys; boot = json.loads(b''.join(iter(lambda: os.read(0, 1) or b'\\n', b'\\n')) or 'null'); "
    "sys.path[:] = boot['path']; sys.argv[:] = boot['argv']; "
    "from dora_repro.sides.worker_main import main; main(boot)"
)
GET_READY = 600.0  # seconds that an interpreter may take to import what a run needs
MAY_FORK = sys.platform.startswith("linux")


class Interpreter:
    """One interpreter: a side itself, or what sides are forked from.

    Args:
        number: of the interpreter.
        folder: where to write its log; must exist.
        preload: modules to import.
        environment: environment variables besides those of this process.

    Attributes:
        number: as given.
        folder: as given.
        stdin: what it reads lines from, where it is a side itself.
        stdout: what it writes lines to, likewise.
    """

    def __init__(self, number: int, folder: Path, preload: tuple[str, ...], environment: Mapping[str, str]):
        self.number, self.folder = number, folder
        ours, theirs = _control()
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
        self.stdin, self.stdout = stdin, stdout
        control = theirs.fileno() if theirs is not None else None
        send(self.stdin, {**paths(), "log": str(folder / LOG), "preload": preload, "control": control})
        if theirs is not None:
            theirs.close()
        self._forks = Forks(ours) if ours is not None else None

    def forks(self) -> "Forks | None":
        """What forks it, once it is ready; None where it is a side itself.

        Raises:
            SideStopped: it did not get ready in time.
        """
        return self._forks if self._forks is not None and self._forks.are_sound() else None

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        return self._process.wait()

    def end(self) -> None:
        """End it and everything that it started; its forks, too."""
        if self._forks is not None:
            self._forks.close()
            if self._forks.sound:
                try:
                    self._process.wait(10)  # it ends its forks first
                except subprocess.TimeoutExpired:
                    pass
        if self._process.poll() is None or hasattr(os, "killpg"):
            try:
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            except ProcessLookupError:
                pass
        self._process.wait()
        close_quietly(self.stdin, self.stdout)


def _control() -> tuple[socket.socket | None, socket.socket | None]:
    """The two ends over which forks are asked for; None where there are none."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if MAY_FORK else (None, None)


class Forks:
    """Asks an interpreter for forks of itself.

    Args:
        connection: the socket to it.

    Attributes:
        sound: whether it may be forked; None as long as it has not said so.
    """

    def __init__(self, connection: socket.socket):
        self._connection, self._asked = connection, 0
        self.sound: bool | None = None

    def are_sound(self) -> bool:
        """Whether its forks are as new interpreters; waits until it is ready.

        Raises:
            SideStopped: it did not get ready in time.
        """
        if self.sound is None:
            self._connection.settimeout(GET_READY)
            try:
                said = self._connection.recv(1 << 16)
            except TimeoutError:
                raise SideStopped(f"an interpreter did not get ready in {GET_READY:g} s") from None
            except OSError:
                said = b""
            self._connection.settimeout(None)
            self.sound = bool(said) and not json.loads(said)["obstacle"]
        return self.sound

    def fork(self, folder: Path, **boot: object) -> "Fork":
        """A new fork, which writes its log into `folder` and is told the rest.

        Raises:
            SideStopped: the interpreter is gone.
        """
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        try:
            asked = {"fork": {**paths(), "log": str(folder / LOG), "preload": (), **boot}}
            answer = self._request(asked, [its_stdin, its_stdout])
        except BaseException:
            os.close(stdin)
            os.close(stdout)
            raise
        finally:
            os.close(its_stdin)
            os.close(its_stdout)
        return Fork(self, answer["pid"], stdin, stdout)

    def end(self, pid: int, *, wait: bool) -> int:
        """End a fork and everything that it started, and return its exit code; `wait`: once it has ended by itself."""
        try:
            code: int = self._request({"end": pid, "wait": wait})["code"]
        except SideStopped:  # the interpreter is gone
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return -signal.SIGKILL
        return code

    def _request(self, asked: Mapping[str, object], descriptors: list[int] | None = None) -> Mapping[str, Any]:
        self._asked += 1
        message = json.dumps({**asked, "number": self._asked}).encode()
        try:
            socket.send_fds(self._connection, [message], descriptors or [])
            while said := self._connection.recv(1 << 16):
                answer: Mapping[str, Any] = json.loads(said)
                if answer["number"] == self._asked:  # others answer what was interrupted
                    return answer
        except OSError:
            pass
        raise SideStopped("the interpreter that sides are forked from was killed")

    def close(self) -> None:
        """Let the interpreter know that no more is asked: it ends, and its forks with it."""
        self._connection.close()


class Fork:
    """A fork of an interpreter, as `processes.Started` describes it."""

    def __init__(self, forks: Forks, pid: int, stdin: int, stdout: int):
        self._forks, self._pid = forks, pid
        self.stdin: IO[str] = open(stdin, "w", encoding="utf-8")
        self.stdout: IO[str] = open(stdout, encoding="utf-8", errors="replace")
        self._code: int | None = None

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        if self._code is None:
            self._code = self._forks.end(self._pid, wait=True)
        return self._code

    def end(self) -> None:
        """End it and everything that it started."""
        if self._code is None:
            self._code = self._forks.end(self._pid, wait=False)


class Interpreters(AbstractContextManager["Interpreters"]):
    """Two interpreters that import what a run needs, and give a process to each side.

    Args:
        preload: modules to import, besides the kit's own.
        environment: environment variables besides those of this process.
        libraries: modules to import likewise, as long as that leaves an interpreter that may be forked.

    Attributes:
        preload: as given.
        libraries: as given; empty after an interpreter that had imported them could not be forked.
        later: number of sides to be run after those of the present check.
    """

    _READY = 2

    def __init__(
        self,
        preload: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        libraries: tuple[str, ...] = (),
    ):
        self.preload, self.libraries, self._environment = preload, libraries, environment or {}
        self._folder = Path(tempfile.mkdtemp(prefix="dora-repro-"))
        self._waiting: list[Interpreter] = []  # the one that has waited longest first
        self._expected = self._made = self._working = self._spent = self.later = 0

    def __exit__(self, *_: object) -> None:
        for interpreter in self._waiting:
            interpreter.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def expect(self, sides: int) -> None:
        """Say how many sides are still to be run: no interpreter is started in advance beyond that."""
        self._expected = sides
        wanted = min(self._READY, self._working + sides + self.later)
        while len(self._waiting) + self._spent < wanted:
            self._start()

    def _start(self) -> None:
        modules = (*self.preload, *self.libraries)
        self._waiting.append(Interpreter(self._made, self._new_folder(), modules, self._environment))

    def _new_folder(self) -> Path:
        folder = self._folder / f"process-{self._made}"
        folder.mkdir()
        self._made += 1
        return folder

    @contextmanager
    def acquire(self, *, like: int | None = None, unlike: int | None = None) -> Iterator[SideProcess]:
        """A process for a side; it ends with the block.

        Args:
            like: number of the interpreter to fork, if there are forks of it; else that which has waited longest.
            unlike: number of one that must not be forked.

        Raises:
            SideStopped: an interpreter did not get ready.
        """
        self.expect(max(self._expected, 1))
        process = self._begun(self._choose(like, unlike))
        spent = all(interpreter.number != process.interpreter for interpreter in self._waiting)
        self._working += 1
        self._spent += spent
        self._expected -= 1
        try:
            self.expect(self._expected)  # one more gets ready while this one works
            yield process
        finally:
            self._working -= 1
            self._spent -= spent
            process.close()
            self.expect(self._expected)

    def _begun(self, interpreter: Interpreter) -> SideProcess:
        """A fork of an interpreter, which then waits for its next turn; where it may not be forked, itself."""
        self._waiting.remove(interpreter)
        try:
            forks = interpreter.forks()
            if forks is None:
                self.libraries = ()  # one of them may have started a thread: the next interpreter is better forked
                return SideProcess(interpreter, interpreter.folder, interpreter.number)
            folder = self._new_folder()
            process = SideProcess(forks.fork(folder), folder, interpreter.number)
        except BaseException:
            interpreter.end()
            raise
        self._waiting.append(interpreter)
        return process

    def _choose(self, like: int | None, unlike: int | None) -> Interpreter:
        """The interpreter for the next side."""
        for interpreter in self._waiting:
            if interpreter.number == like:
                return interpreter
        others = [interpreter for interpreter in self._waiting if interpreter.number != unlike]
        if not others:
            self._start()
            others = self._waiting[-1:]
        return others[0]
