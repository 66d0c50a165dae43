"""Run a side in a new interpreter: never a fork, with the parent's paths, folder and environment, and a time limit.

The two talk over the child's standard streams: lines of JSON in, lines of JSON out. What the run itself prints goes to
a log. A child whose parent is gone ends itself. Importing this module does not load torch, so that interpreters get
ready while their parent imports its own.
"""

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cloudpickle

from dora_repro.contracts import Factory
from dora_repro.errors import BadInput
from dora_repro.private_names.of_cpython import interpreter_flags
from dora_repro.sides.job import Job
from dora_repro.sides.protocol import Emit, Event, Question, ignore

_BOOT = (
    # Byte by byte: what follows the line is for another reader.
    "import json, os, sys; boot = json.loads(b''.join(iter(lambda: os.read(0, 1) or b'\\n', b'\\n')) or 'null'); "
    "sys.path[:] = boot['path']; sys.argv[:] = boot['argv']; "
    "from dora_repro.sides.worker_main import main; main(boot)"
)


class SideStopped(RuntimeError):
    """A side's process ended without a result: it ran out of time, was killed, or crashed."""


class Interpreters(AbstractContextManager):
    """Interpreters that import what a run needs and wait for a job, two at a time: one while another works.

    Args:
        preload: modules to import while they wait, besides the kit's own.
        environment: environment variables besides those of this process.

    Attributes:
        preload: as given.
        later: number of sides to be run after those of the present check.
    """

    _READY = 2

    def __init__(self, preload: tuple[str, ...] = (), environment: Mapping[str, str] | None = None):
        self.preload, self._environment = preload, environment
        self._folder = Path(tempfile.mkdtemp(prefix="dora-repro-"))
        self._waiting: list[SideProcess] = []
        self._expected = self._started = self._busy = self.later = 0

    def __exit__(self, *_: object) -> None:
        for process in self._waiting:
            process.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def expect(self, sides: int) -> None:
        """Say how many sides are still to be run: no interpreter is started in advance beyond that."""
        self._expected = sides
        while len(self._waiting) + self._busy < min(self._READY, self._busy + self._expected + self.later):
            self._start()

    def _start(self) -> None:
        place = self._folder / f"process-{self._started}"
        place.mkdir()
        self._waiting.append(SideProcess(place, self.preload, self._environment))
        self._started += 1

    @contextmanager
    def acquire(self) -> Iterator["SideProcess"]:
        """Take the interpreter that has waited longest; it ends with the block, and a new one takes its place."""
        self.expect(max(self._expected, 1))
        if not self._waiting:
            self._start()
        process = self._waiting.pop(0)
        self._busy += 1
        self._expected -= 1
        try:
            self.expect(self._expected)  # one more gets ready while this one works
            yield process
        finally:
            self._busy -= 1
            process.close()
            self.expect(self._expected)


class SideProcess:
    """An interpreter that has imported what the run needs and waits for its job.

    Args:
        folder: where to write its log; must exist.
        preload: modules to import while it waits.
        environment: environment variables besides those of this process.

    Attributes:
        log: the file with all that the run prints; it is made when the run begins.
    """

    def __init__(self, folder: Path, preload: tuple[str, ...] = (), environment: Mapping[str, str] | None = None):
        self.log = folder / "log.txt"
        self._factory = folder / "factory.pkl"
        flags = interpreter_flags()  # as multiprocessing does: -O, -W, -X of the parent
        # Threads that wait for each other leave their core alone: on it, the next side is importing.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, **(environment or {})}
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-c", _BOOT], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # both are pipes
        self._stdin, self._stdout = stdin, stdout
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._send({"path": sys.path, "argv": sys.argv, "log": str(self.log), "preload": preload})

    def _send(self, line: Mapping[str, object]) -> None:
        try:
            self._stdin.write(json.dumps(line) + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            pass  # the reader reports how it ended

    def _read(self) -> None:
        for line in self._stdout:
            self._lines.put(line)
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
        """Have a function called in the interpreter.

        Args:
            factory: the factory, as `pickled` returns it.
            work: the function, as `module:name`; called with the factory, `about`, and the two functions by which it
                gets more lines from here and sends events.
            about: what the function needs to know, as JSON can hold it.
        """
        self._factory.write_bytes(factory)
        # The paths once more: what the parent imported meanwhile may have added to them.
        self._send({"path": sys.path, "factory": str(self._factory), "work": work, "about": about})

    def request(self, question: Question, timeout: float) -> Mapping[str, Any]:
        """Ask a side that answers questions, and return what it answers.

        Args:
            question: what to ask.
            timeout: seconds that the answer may take.

        Raises:
            SideStopped: the time limit was reached, or the process died.
        """
        self._send(question)
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
                raise SideStopped(f"no result after {timeout:g} s (last event: {last}){self._tail(printed)}") from None
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
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the process {how} (last event: {last}){self._tail(printed)}"

    def _tail(self, printed: list[str]) -> str:
        """The last lines that the side printed."""
        if self.log.exists():
            printed = [*printed, self.log.read_text(encoding="utf-8", errors="replace")]
        return "".join(f"\n  {line}" for line in "".join(printed).strip().splitlines()[-15:])

    def close(self) -> None:
        """End the process and everything it started."""
        if self._process.poll() is None or hasattr(os, "killpg"):
            try:
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            except ProcessLookupError:
                pass
        self._process.wait()
        for stream in (self._stdin, self._stdout):
            try:
                stream.close()
            except (BrokenPipeError, OSError):
                pass


def pickled(factory: Factory) -> bytes:
    """A factory as bytes for a new interpreter; classes that it could not import travel by value.

    Raises:
        BadInput: it cannot be pickled.
    """
    try:
        with _by_value(_module_of(factory)):
            return cloudpickle.dumps(factory)
    except Exception as error:  # pickling runs user code
        raise BadInput(
            f"the factory {factory!r} cannot be sent to a new process ({type(error).__name__}: {error}): "
            "build everything inside it, or use in_process=True to debug"
        ) from error


def _module_of(factory: Factory) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, "__module__", None) or type(factory).__module__


@contextmanager
def _by_value(name: str) -> Iterator[None]:
    """Meanwhile, what a module defines is pickled by value, where a new interpreter could not import the module."""
    module = sys.modules.get(name)
    if module is None or name == "__main__" or _importable(name):
        yield  # cloudpickle sends what is defined in __main__ by value as it is
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _importable(name: str) -> bool:
    """Whether a new interpreter with this `sys.path` would find the module, and the same file for it."""
    path: Sequence[str] | None = None
    origin: str | None = None
    parts = name.split(".")
    for index in range(len(parts)):
        whole = ".".join(parts[: index + 1])
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((found for finder in finders if (found := finder.find_spec(whole, path))), None)
        if spec is None:
            return False
        path, origin = spec.submodule_search_locations, spec.origin
    loaded = getattr(sys.modules[name], "__file__", None)
    return loaded is None or origin is None or os.path.realpath(loaded) == os.path.realpath(origin)
