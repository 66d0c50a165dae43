"""A process in which a side works, from outside: a job or questions in, events out, with a time limit.

The two talk over the process's standard streams: lines of JSON in, lines of JSON out. What the run itself prints goes
to a log. Whether the process is a new interpreter or the fork of one that has run nothing is decided in
`interpreters.py`. Importing this module does not load torch, so that interpreters get ready while their parent imports
its own.
"""

import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from dora_repro.sides.job import Job
from dora_repro.sides.protocol import Emit, Event, Question, ignore


class SideStopped(RuntimeError):
    """A side's process ended without a result: it ran out of time, was killed, or crashed.

    Attributes:
        overdue: whether it ran out of time.
    """

    overdue = False


class SideOverdue(SideStopped):
    """A side's process was ended since it ran out of time."""

    overdue = True


class Started(Protocol):
    """A process that was started.

    Attributes:
        stdin: what it reads lines from.
        stdout: what it writes lines to.
    """

    stdin: IO[str]
    stdout: IO[str]

    def wait(self) -> int:
        """Wait until it has ended by itself; its exit code, negative where a signal ended it."""

    def end(self) -> None:
        """End it and everything that it started."""


class SideProcess:
    """A process that has imported what the run needs and waits for its job.

    Args:
        started: the process.
        folder: where it writes its log; must exist.
        interpreter: number of the interpreter that it is, or is a fork of.

    Attributes:
        log: the file with all that the run prints; it is made when the run begins.
        interpreter: as given.
    """

    def __init__(self, started: Started, folder: Path, interpreter: int):
        self.log, self.interpreter = folder / LOG, interpreter
        self._factory, self._names = folder / "factory.pkl", folder.parent / NAMES
        self._started = started
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._started.stdout:
                self._lines.put(line)
        except ValueError:  # closed from this side meanwhile
            pass
        self._lines.put(None)

    def run(self, factory: bytes, job: Job, timeout: float, on_event: Emit = ignore) -> None:
        """Do a job, which leaves its evidence in its folder.

        Args:
            factory: the factory, as `pickled` returns it.
            job: what to do.
            timeout: seconds that it may take.
            on_event: called with each event of the side.

        Raises:
            SideStopped: the time limit was reached, or the process died.
        """
        self.begin(factory, "dora_repro.sides.side:work", job.to_dict())
        self.wait_for("done", timeout, on_event)
        self.close()

    def begin(self, factory: bytes, work: str, about: Mapping[str, object]) -> None:
        """Have a function called in the process.

        Args:
            factory: the factory, as `pickled` returns it.
            work: the function, as `module:name`; called with the factory, `about`, and the two functions by which it
                gets more lines from here and sends events.
            about: what the function needs to know, as JSON can hold it.
        """
        self._factory.write_bytes(factory)
        files = {"factory": str(self._factory), "names": str(self._names)}
        send(self._started.stdin, {**paths(), **files, "work": work, "about": about})

    def ask(self, question: Question, timeout: float) -> Mapping[str, Any]:
        """Ask a side that answers a question, and return what it answers.

        Args:
            question: what to ask.
            timeout: seconds that the answer may take.

        Raises:
            SideStopped: the time limit was reached, or the process died.
        """
        send(self._started.stdin, question)
        answer = dict(self.wait_for("answer", timeout))
        del answer["event"]  # what was answered, as an interpreter that is not asked through lines would give it
        return answer

    def wait_for(self, name: str, timeout: float, on_event: Emit = ignore) -> Event:
        """Read events until one of that name comes, and return it.

        Args:
            name: of the event to wait for.
            timeout: seconds until it must have come.
            on_event: called with each event before it.

        Raises:
            SideStopped: the time limit was reached, or the process died.
        """
        limit = time.monotonic() + timeout
        printed: list[str] = []
        last = "none"
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                self.close()
                late = f"no result after {timeout:g} s (last event: {last}){self._tail(printed)}"
                raise SideOverdue(late) from None
            if line is None:
                self._lines.put(None)  # for whoever asks again
                raise SideStopped(self._how_it_ended(printed, last))
            try:
                event = json.loads(line)
                event["event"]
            except (ValueError, TypeError, KeyError):
                printed.append(line)  # printed before the log was there: an import error of the interpreter itself
                continue
            if event["event"] == name:
                return event
            last = f"{event['event']} {event.get('step', '')}".strip()
            on_event(event)

    def _how_it_ended(self, printed: list[str], last: str) -> str:
        code = self._started.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the process {how} (last event: {last}){self._tail(printed)}"

    def _tail(self, printed: list[str]) -> str:
        """The last lines that the side printed."""
        if self.log.exists():
            printed = [*printed, self.log.read_text(encoding="utf-8", errors="replace")]
        return "".join(f"\n  {line}" for line in "".join(printed).strip().splitlines()[-15:])

    def close(self) -> None:
        """End the process and everything it started."""
        close_quietly(self._started.stdin)  # it ends by itself where it hears of that
        self._started.end()
        close_quietly(self._started.stdout)


LOG = "log.txt"  # its name in the folder of a process
NAMES = "names.json"  # beside the folders of all processes: what was read of functions (`state/function_names.py`)


def paths() -> dict[str, object]:
    """Where this process looks for modules, and how it was called, for another to do the same."""
    return {"path": sys.path, "argv": sys.argv}


def send(stream: IO[str], line: Mapping[str, object]) -> None:
    """Write one line of JSON; where nobody reads any more, whoever reads the answers reports how it ended."""
    try:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
    except OSError:  # its other end is closed
        pass


def close_quietly(*streams: IO[str]) -> None:
    """Close streams to a process that may be gone."""
    for stream in streams:
        try:
            stream.close()
        except OSError:  # what was not written yet
            pass
