"""Interpreters that have imported what a run needs, and the processes that sides get from them.

Where that is sound (`forking.py`), an interpreter runs nothing itself: each side is a fork of it, and begins where a
new interpreter would. There are two, each with hash seeds and addresses of its own, so that a side and its repeat never
come from the same one. Elsewhere each side is a new interpreter; the next gets ready meanwhile. No side is ever a fork
of the process that asks. All have its paths, folder and environment, and end when it is gone.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dora_repro.guardian.guarding import guard, release
from dora_repro.private_names.of_cpython import interpreter_flags
from dora_repro.scratch import ScratchFolder
from dora_repro.sides.forks import Forks, control
from dora_repro.sides.late_libraries import LateLibraries
from dora_repro.sides.processes import LOG, SideProcess, close_quietly, paths, send

_BOOT = (
    # Byte by byte: what follows the line is for another reader.
    "import json, os, sys; boot = json.loads(b''.join(iter(lambda: os.read(0, 1) or b'\\n', b'\\n')) or 'null'); "
    "sys.path[:] = boot['path']; sys.argv[:] = boot['argv']; "
    "from dora_repro.sides.worker_main import main; main(boot)"
)
_TRIES = 4  # to import what a run needs: each time a library is left out that is not to be forked


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
        asked = {"preload": preload, "late": None, "control": theirs.fileno() if theirs is not None else None}
        send(self.stdin, {**paths(), "log": str(folder / LOG), **asked})
        if theirs is not None:
            theirs.close()
        self._forks = Forks(ours) if ours is not None else None
        self._successors: list[_Successor] = []  # each a fork of the one before it
        self._learned = 0

    def forks(self, late: LateLibraries) -> Forks | None:
        """What forks it, or a fork of it that has imported more, once that is ready; None where it is a side itself.

        Args:
            late: what is to be imported beforehand by now.

        Raises:
            SideStopped: it did not get ready in time.
        """
        if self._forks is None or not self._forks.are_sound():
            return None
        while self._learned < len(late.learned):
            self._succeed(late)
            self._learned += 1
        return self._successors[-1].forks if self._successors else self._forks

    def _succeed(self, late: LateLibraries) -> None:
        """Have it followed by a fork of it that has imported what was learned next, as far as that may be forked."""
        assert self._forks is not None  # it is forked
        forks = self._successors[-1].forks if self._successors else self._forks
        for _ in range(_TRIES):
            listed = self.folder / f"late-{self._learned}.json"
            listed.write_text(json.dumps(late.modules(self._learned)), encoding="utf-8")
            successor = _Successor(forks, self.folder, listed)
            if successor.forks.are_sound():
                self._successors.append(successor)
                return
            successor.end()
            if not successor.forks.refused:
                return
            late.leave_out(successor.forks.refused)

    def wait(self) -> int:
        """Wait until it has ended by itself."""
        return self._process.wait()

    def end(self) -> None:
        """End it and everything that it started; its forks, too."""
        for successor in reversed(self._successors):
            successor.end()
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
        release(self._process.pid)
        close_quietly(self.stdin, self.stdout)


class _Successor:
    """A fork of an interpreter that is forked in its place, since it has imported more.

    Args:
        forks: what forks that interpreter.
        folder: where it writes its log.
        late: file of the modules that it imports.

    Attributes:
        forks: what forks it.
    """

    def __init__(self, forks: Forks, folder: Path, late: Path):
        ours, theirs = control()
        assert ours is not None and theirs is not None  # there are forks
        self.forks = Forks(ours)
        with theirs:
            self._process = forks.fork(folder, theirs.fileno(), late)

    def end(self) -> None:
        """End it, when its forks have ended."""
        self.forks.close()
        self._process.end()
        close_quietly(self._process.stdin, self._process.stdout)


class Interpreters(AbstractContextManager["Interpreters"]):
    """Two interpreters that import what a run needs, and give a process to each side.

    Args:
        preload: modules to import, besides the kit's own.
        environment: environment variables besides those of this process.
        libraries: modules to import likewise, as long as that leaves an interpreter that may be forked.
        late: what sides were seen to import inside functions; forks have imported it beforehand.

    Attributes:
        preload: as given.
        libraries: as given; empty after an interpreter that had imported them could not be forked.
        late: as given; what sides tell is to be learned by it.
        later: number of sides to be run after those of the present check.
    """

    _READY = 2

    def __init__(
        self,
        preload: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        libraries: tuple[str, ...] = (),
        late: LateLibraries | None = None,
    ):
        self.preload, self.libraries, self._environment = preload, libraries, environment or {}
        self.late = late or LateLibraries()
        self._scratch = ScratchFolder()
        self._folder = self._scratch.path
        self._waiting: list[Interpreter] = []  # the one that has waited longest first
        self._expected = self._made = self._working = self._spent = self.later = 0

    def __exit__(self, *_: object) -> None:
        for interpreter in self._waiting:
            interpreter.end()
        self._scratch.cleanup()

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
            forks = interpreter.forks(self.late)
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
