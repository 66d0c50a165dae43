"""The folder and the interpreters of one check: all of them are gone when it is over."""

import shutil
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from dora_repro.checks.evidence import Evidence
from dora_repro.checks.job import Job
from dora_repro.checks.processes import Interpreters, pickled
from dora_repro.checks.question import Question
from dora_repro.checks.side import perform
from dora_repro.state import rng


class Session(AbstractContextManager):
    """Runs the sides of one question, one after the other, each in an interpreter of its own.

    Attributes:
        folder: where the evidence of all sides lies until the session closes.
    """

    def __init__(self, question: Question):
        self.question = question
        self._factory = b"" if question.in_process else pickled(question.factory)
        self._stack = ExitStack()
        self.folder = question.folder or Path(tempfile.mkdtemp(prefix="dora-repro-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if question.folder is None:
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._interpreters = question.interpreters
        if self._interpreters is None and not question.in_process:
            self._interpreters = self._stack.enter_context(Interpreters(question.preload))
        self._repeats: dict[Job, Evidence] = {}

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def expect(self, sides: int) -> None:
        """That many sides are still to be run: their interpreters may get ready."""
        if not self.question.in_process:
            self._interpreters.expect(sides)

    def run(self, side: str, job: Job) -> Evidence:
        """Do one side's work and return its evidence.

        Raises:
            SideStopped: it left no result.
        """

        def hear(event: dict) -> None:
            self.question.hear(side, event)

        if self.question.in_process:
            with rng.undisturbed():
                perform(self.question.factory, job, hear)
            return Evidence(job.folder)
        with self._interpreters.taken() as process:
            try:
                process.run(self._factory, job, self.question.timeout, hear)
            finally:
                if process.log.exists() and self.question.folder is not None:
                    job.folder.mkdir(exist_ok=True)
                    shutil.copy(process.log, job.folder / "log.txt")
        return Evidence(job.folder)

    def repeat(self, side: str, job: Job) -> Evidence:
        """Do a job once more, in a folder of its own; the same repeat is not done twice."""
        if job not in self._repeats:
            self._repeats[job] = self.run(side, replace(job, folder=self.folder / f"repeat-{len(self._repeats)}"))
        return self._repeats[job]


def threads() -> int | None:
    """The thread count of this process where torch is here already; both sides get the same."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None
