"""One launch of a user's command: in a session of its own, its output in a log, ended with all that it started."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dora_repro.errors import BadInput
from dora_repro.guardian.guarding import guard, release
from dora_repro.scripts import assignment
from dora_repro.scripts.assignment import VARIABLE, Assignment
from dora_repro.scripts.commands import Launchable, python_path

_TAIL = 15  # lines of a log that a message shows
_READ = 65_536  # bytes at the end of a log that are looked at for them
_WIDE = 300  # characters of a line
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
_ERROR = re.compile(r"(\[rank\d+\]:\s*)?[A-Za-z_.]*(Error|Exception|Interrupt|Exit)\b(:|$)")  # a traceback's last line
_OF_LAUNCHERS = ("torch.distributed.elastic", "subprocess.CalledProcessError")  # that another process failed
_OF_A_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t\x20-\x7e\xa0-\U0010ffff]")
_POLL = 0.05  # seconds
_DYING = 10.0  # seconds to wait for killed processes


@dataclass(frozen=True)
class Launch:
    """A command that was run, and what it left.

    Attributes:
        name: of the launch: `reference`, `killed`, `resumed`.
        command: what was run.
        folder: what its process recorded.
        code: exit code; negative where a signal ended it; None where it was ended at its time limit.
        seconds: wall time.
        log: the file with its output.
        others: folders of other processes of it that trained: further ranks.
        problems: why the record of a process broke off, a sentence each.
        kept_out: why the recorder could not get into a process, a sentence each.
        installed: number of processes in which the recorder was installed.
    """

    name: str
    command: Launchable
    folder: Path
    code: int | None
    seconds: float
    log: Path
    others: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    kept_out: tuple[str, ...] = ()
    installed: int = field(default=0)

    @property
    def was_killed(self) -> bool:
        """Whether it was killed after the step that it was told."""
        return any((folder / assignment.KILLED).exists() for folder in (self.folder, *self.others))

    @property
    def trained(self) -> bool:
        """Whether it came to a training step."""
        return (self.folder / assignment.STEPS).exists()

    @property
    def forked(self) -> bool:
        """Whether a process trained that was made by `os.fork()`: such are not recorded."""
        return self.folder.with_name(f"{self.folder.name}.{assignment.FORKED}").exists()

    @property
    def stopped(self) -> bool:
        """Whether it was ended from outside: at its time limit, or by a signal that no program sends to itself."""
        return self.code is None or self._signal in _FROM_OUTSIDE

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return f"did not finish within {self.seconds:.0f} s"
        if self._signal is not None:
            more = ", as a system does that is out of memory" if self._signal == signal.SIGKILL else ""
            return f"was ended by {self._signal.name}{more}"
        return f"ended with exit code {self.code}"

    @property
    def _signal(self) -> signal.Signals | None:
        """The signal that ended it, also where a shell tells of it by its exit code."""
        number = -(self.code or 0) if (self.code or 0) < 0 else (self.code or 0) - 128
        return signal.Signals(number) if number in {*signal.Signals} else None

    @property
    def tail(self) -> str:
        """The last lines of its output, indented."""
        return "".join(f"\n  {line}" for line in last_lines(self.log)) or "\n  (it printed nothing)"


def last_lines(log: Path) -> list[str]:
    """The last lines of an output as a terminal would show them: of a line that was drawn anew, as bars are, the last.

    Args:
        log: the file; it may be long, or not be text.
    """
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _READ))
        text = file.read().decode("utf-8", errors="replace")
    lines = [drawn[-1] for line in text.split("\n") if (drawn := [one for one in line.split("\r") if one.strip()])]
    lines = [line for each in lines if (line := _OF_A_TERMINAL.sub("", each).rstrip())]
    shown = lines[-_TAIL:]
    error = next((line for line in reversed(lines) if _ERROR.match(line) and not line.startswith(_OF_LAUNCHERS)), None)
    if error is not None and error not in shown:  # a launcher says much more after it
        shown = [error, "…", *shown]
    return [line if len(line) <= _WIDE else f"{line[:_WIDE]} …" for line in shown]


def launch(
    name: str,
    command: Launchable,
    given: Assignment,
    *,
    timeout: float,
    on_step: Callable[[int], None] = lambda step: None,
) -> Launch:
    """Run a command and wait until it has ended, with all that it started.

    Args:
        name: of the launch, for messages.
        command: what to run.
        given: what its processes are to record; `given.folder` must not exist, the folder around it must.
        timeout: seconds that it may take.
        on_step: called with the number of steps done, as it grows.

    Raises:
        BadInput: the system cannot run it.
    """
    job = given.folder.with_name(f"{given.folder.name}.json")
    log = given.folder.with_name(f"{given.folder.name}.log")
    given.write(job)
    begun = time.monotonic()
    with log.open("wb") as output:
        with _ended(job) as started, _ending_on_signals():
            try:
                process = subprocess.Popen(
                    command.words,
                    env=_environment(command, job),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise BadInput(f"cannot run {command.text!r}: {error.strerror or error}") from None
            started.append(process)
            guard(process.pid, f"{VARIABLE}={job}")
            code = _wait(process, begun + timeout, given, on_step)
    others = sorted(path for path in job.parent.glob(f"{given.folder.name}-*") if path.is_dir())
    errors = {path.name: path.read_text(encoding="utf-8") for path in job.parent.glob(f"{given.folder.name}.*.error")}
    kept_out = [text for name, text in sorted(errors.items()) if name.startswith(f"{job.name}.")]
    problems = [text for name, text in sorted(errors.items()) if not name.startswith(f"{job.name}.")]
    return Launch(
        name,
        command,
        given.folder,
        code,
        time.monotonic() - begun,
        log,
        tuple(others),
        tuple(problems),
        tuple(kept_out),
        len(list(job.parent.glob(f"{job.name}.*.started"))),
    )


def _environment(command: Launchable, job: Path) -> dict[str, str]:
    return {
        **os.environ,
        **command.variables,
        "PYTHONPATH": python_path(command.variables.get("PYTHONPATH")),
        VARIABLE: str(job),
    }


def _wait(
    process: subprocess.Popen[bytes], limit: float, given: Assignment, on_step: Callable[[int], None]
) -> int | None:
    """The exit code; None where the time limit came first.

    Where the recorded process was killed as it was told, nothing around it is waited for: a shell that goes on with its
    next line, or one that starts it again, would write into what was left.
    """
    counter, killed = _Counter(given.folder / assignment.STEPS, on_step), given.folder / assignment.KILLED
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL)
            counter.look()
            return code
        counter.look()
        if killed.exists() and _is_over(killed, given.signal, process.pid):
            return -(given.signal or signal.SIGKILL)
        if time.monotonic() > limit:
            return None


def _is_over(killed: Path, sent: int | None, launched: int) -> bool:
    """Whether the process is over that was killed, or that was sent a signal and ends by itself: where it is the one
    that was launched, that is waited for anyhow, and has an exit code."""
    if sent is None:
        return True
    try:
        told = json.loads(killed.read_text(encoding="utf-8"))
    except ValueError:  # it is being written
        return False
    try:
        return told["pid"] != launched and psutil.Process(told["pid"]).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class _Counter:
    """Counts the steps of a record as it grows."""

    def __init__(self, path: Path, on_step: Callable[[int], None]):
        self._path, self._on_step = path, on_step
        self._read, self._steps = 0, 0
        self._rest = b""  # a line that was not whole at the last look

    def look(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                more = file.read()
        except FileNotFoundError:
            return
        self._read += len(more)
        *lines, self._rest = (self._rest + more).split(b"\n")
        if lines:
            self._steps += sum(line.startswith(b'{"step"') for line in lines)  # neither the head nor the end
            self._on_step(self._steps)


@contextlib.contextmanager
def _ended(job: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Whatever happens in here, neither a process that is put into the list nor anything of this job is left."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                process.wait()
        end_all(job, frozenset(process.pid for process in started))
        for process in started:
            release(process.pid)


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a launch as Ctrl-C does, and so leave nothing behind; where they are nobody else's."""

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    taken = [each for each in (signal.SIGTERM, signal.SIGHUP) if mine and signal.getsignal(each) is signal.SIG_DFL]
    for each in taken:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def end_all(job: Path, sessions: frozenset[int] = frozenset()) -> None:
    """End all processes that were started for a job: they have it in their environment, whatever their parent is.

    Args:
        job: the file with the assignment.
        sessions: processes in one of these are ended, too: they may have emptied their environment.
    """
    for _ in range(100):  # what was started while its parent was being ended is met in the next round
        left = [process for process in psutil.process_iter() if _is_of(process, job, sessions)]
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_DYING)


def _is_of(process: psutil.Process, job: Path, sessions: frozenset[int]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) in sessions or process.environ().get(VARIABLE) == str(job)
    except (psutil.Error, OSError):
        return False
