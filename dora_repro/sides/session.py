"""The folder and the interpreters of one check; both are gone when it is over."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dora_repro.contracts import Factory, Run
from dora_repro.errors import Defect
from dora_repro.scratch import ScratchFolder
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.imports import imported_libraries
from dora_repro.sides.interpreters import Interpreters
from dora_repro.sides.job import Job
from dora_repro.sides.pickling import pickled
from dora_repro.sides.protocol import Answer, Event, OnEvent, Question
from dora_repro.sides.side import brief_waits, perform
from dora_repro.sides.worker_main import resolve
from dora_repro.state import rng


class Session(AbstractContextManager):
    """Runs the sides of one question, one after the other, each in a process of its own.

    Args:
        factory: builds a run, called afresh for each side; as bytes, as a session of another process had sent it.
        in_process: run all sides in this interpreter.
        timeout: seconds for each side.
        on_event: called with the name of a side and its event, while the sides run.
        folder: where to keep the evidence; None for a temporary folder, which is removed when the session closes.
        preload: modules that a new interpreter imports while it waits.
        interpreters: interpreters that were started before, in place of `preload`; the caller closes them.

    Attributes:
        in_process: as given.
        folder: where the evidence of all sides lies until the session closes.
    """

    def __init__(
        self,
        factory: Factory | bytes,
        *,
        in_process: bool,
        timeout: float,
        on_event: OnEvent,
        folder: Path | None = None,
        preload: tuple[str, ...] = (),
        interpreters: Interpreters | None = None,
    ):
        self.in_process, self._timeout, self._on_event = in_process, timeout, on_event
        if isinstance(factory, bytes):
            self._pickled, self._factory = factory, _elsewhere
        else:
            self._pickled, self._factory = b"" if in_process else pickled(factory), factory
        self._stack = ExitStack()
        self._kept = folder is not None
        self.folder = folder or Path(self._stack.enter_context(ScratchFolder()))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._interpreters = interpreters
        if in_process:
            self._stack.enter_context(brief_waits())
        elif interpreters is None:
            libraries = imported_libraries(self._pickled)
            self._interpreters = self._stack.enter_context(Interpreters(preload, libraries=libraries))
        self._repeats: dict[Job, Evidence] = {}
        self._interpreter_of: dict[Path, int] = {}  # folder of a side -> the interpreter that it was forked from

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def factory(self) -> bytes:
        """The factory as it is sent to the sides; empty where they run in this interpreter."""
        return self._pickled

    def expect(self, sides: int) -> None:
        """Say how many sides are still to be run: their interpreters may get ready."""
        if self._interpreters is not None:
            self._interpreters.expect(sides)

    @contextmanager
    def with_environment(self, variables: Mapping[str, str]) -> Iterator[None]:
        """Run the sides of the block in interpreters with these environment variables besides; two get ready.

        Raises:
            RuntimeError: the sides run in this interpreter.
        """
        before = self._others()
        with Interpreters(before.preload, variables, before.libraries, before.late) as self._interpreters:
            try:
                self.expect(2)
                yield
            finally:
                self._interpreters = before

    def _others(self) -> Interpreters:
        if self._interpreters is None:
            raise RuntimeError("in_process=True: there are no interpreters besides this one")
        return self._interpreters

    def run(self, side: str, job: Job, unlike: Path | None = None) -> Evidence:
        """Do one side's work and return its evidence.

        Args:
            side: its name, for `on_event`.
            job: what to do.
            unlike: folder of a side whose interpreter, with its hash seed and addresses, this one must not share.

        Raises:
            SideStopped: it left no result.
        """

        def on_event(event: Event) -> None:
            if event["event"] == "imported":
                self._others().late.learn(event["libraries"])
            else:
                self._on_event(side, event)

        if self.in_process:
            with rng.undisturbed():
                perform(self._factory, job, on_event)
            return Evidence(job.folder)
        other = self._interpreter_of.get(unlike) if unlike is not None else None
        with self._others().acquire(unlike=other) as process:
            self._interpreter_of[job.folder] = process.interpreter
            try:
                process.run(self._pickled, job, self._timeout, on_event)
            finally:
                if process.log.exists() and self._kept:
                    job.folder.mkdir(exist_ok=True)
                    shutil.copy(process.log, job.folder / "log.txt")
        return Evidence(job.folder)

    @contextmanager
    def answering(
        self, maker: str, about: Mapping[str, object], like: Path | None = None, prepare: str | None = None
    ) -> Iterator[Answer]:
        """What answers questions, each in a process of its own; with `in_process`, all in this interpreter.

        Args:
            maker: a function, as `module:name`, that returns what answers; called with the factory and `about`.
            about: what the function needs to know, as JSON can hold it.
            like: folder of a side whose interpreter to share, where there are forks of it.
            prepare: a function, as `module:name`, that reads what all processes need; called with `about`, once for all
                of them where there are forks. It must run nothing of the user's.

        Yields:
            what to call with a question. It raises SideStopped where the answer took longer than a side may, or the
            process died.
        """
        if self.in_process:
            answer = resolve(maker)(self._factory, about)
            with rng.undisturbed():
                yield answer
            return
        interpreters, told = self._others(), {"maker": maker, "about": about}
        same = self._interpreter_of.get(like) if like is not None else None

        def ask(question: Question) -> Mapping[str, Any]:
            interpreters.expect(2)  # where none can be forked, that of the next question gets ready meanwhile
            like = same if prepared is None else prepared.number
            with interpreters.acquire(like=like, prepared=prepared) as process:
                process.begin(self._pickled, "dora_repro.sides.worker_main:answer_one", told)
                return process.ask(question, self._timeout)

        prepared = None
        with ExitStack() as stack:
            if prepare is not None:
                prepared = stack.enter_context(interpreters.prepared((prepare, about), same))
            yield ask

    def repeat(self, side: str, job: Job) -> Evidence:
        """Do a job once more, in a folder of its own and from another interpreter; the same repeat is done once only.

        Args:
            side: the name of the repeat, for `on_event`.
            job: what to do; its folder is replaced.

        Raises:
            SideStopped: it left no result.
        """
        if job not in self._repeats:
            again = replace(job, folder=self.folder / f"repeat-{len(self._repeats)}")
            self._repeats[job] = self.run(side, again, unlike=job.folder)
        return self._repeats[job]


def sound(evidence: Evidence) -> Evidence:
    """The evidence of a side that is to be judged.

    Raises:
        Defect: the kit failed while it recorded the run, so that nothing can be said of this.
    """
    if evidence.failure is not None and evidence.failure["defect"]:
        raise Defect(
            "this kit failed while it recorded the run, which is a defect of the kit and no fault of the run: please "
            f"report it with these lines\n{evidence.failure['traceback'].rstrip()}"
        )
    return evidence


def _elsewhere() -> Run:
    raise RuntimeError("the factory is known as bytes alone: its runs are built in other processes")


def threads() -> int | None:
    """The number of intra-op threads of this process, which both sides get; None where torch is not loaded yet."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None
