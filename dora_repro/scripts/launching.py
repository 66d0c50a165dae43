"""One launch of a user's command: in a session of its own, its output in a log, ended with all that it started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dora_repro.errors import BadInput
from dora_repro.scripts import assignment
from dora_repro.scripts.assignment import VARIABLE, Assignment
from dora_repro.scripts.commands import Launchable, boot

LOG = "log.txt"
_TAIL = 15  # lines of a log that a message shows
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
        problems: why a process could not be recorded, a sentence each.
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
    def ending(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return f"did not finish within {self.seconds:.0f} s"
        if self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"

    @property
    def tail(self) -> str:
        """The last lines of its output, indented."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = text.replace("\r", "\n").strip().splitlines()[-_TAIL:]
        return "".join(f"\n  {line}" for line in lines) or "\n  (it printed nothing)"


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
        with _ended(process, job):
            code = _wait(process, begun + timeout, _Counter(given.folder / assignment.STEPS, on_step))
    others = sorted(path for path in job.parent.glob(f"{given.folder.name}-*") if path.is_dir())
    errors = sorted(job.parent.glob(f"{given.folder.name}*.error"))
    return Launch(
        name,
        command,
        given.folder,
        code,
        time.monotonic() - begun,
        log,
        tuple(others),
        tuple(path.read_text(encoding="utf-8") for path in errors),
        len(list(job.parent.glob(f"{job.name}.*.started"))),
    )


def _environment(command: Launchable, job: Path) -> dict[str, str]:
    path = command.variables.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    return {
        **os.environ,
        **command.variables,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(boot()), path))),
        VARIABLE: str(job),
    }


def _wait(process: subprocess.Popen[bytes], limit: float, counter: "_Counter") -> int | None:
    """The exit code; None where the time limit came first."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL)
            counter.look()
            return code
        counter.look()
        if time.monotonic() > limit:
            return None


class _Counter:
    """Counts the steps of a record as it grows."""

    def __init__(self, path: Path, on_step: Callable[[int], None]):
        self._path, self._on_step = path, on_step
        self._read, self._steps = 0, -1  # the first line is the record's head

    def look(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                more = file.read()
        except FileNotFoundError:
            return
        self._read += len(more)
        if more.count(b"\n"):
            self._steps += more.count(b"\n")
            self._on_step(self._steps)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], job: Path) -> Iterator[None]:
    """Whatever happens in here, neither the process nor anything that it started for this job is left."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()
        end_all(job)


def end_all(job: Path) -> None:
    """End all processes that were started for a job: they have it in their environment, whatever their parent is."""
    for _ in range(100):  # what was started while its parent was being ended is met in the next round
        left = [process for process in psutil.process_iter() if _is_of(process, job)]
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_DYING)


def _is_of(process: psutil.Process, job: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(VARIABLE) == str(job)
    except (psutil.Error, OSError):
        return False
