"""The steps of a script: recorded, written when each is over, and held against what is expected."""

import os
import signal
from collections.abc import Callable

import torch

from dora_repro.contracts import Value
from dora_repro.recording import Recorder
from dora_repro.recording.learning import Facts
from dora_repro.recording.recorder import Recording
from dora_repro.scripts import assignment
from dora_repro.scripts.expected import Expected
from dora_repro.scripts.place import Lines, Place
from dora_repro.scripts.program import Program
from dora_repro.trace import Step


class StepRecord:
    """The record of one process that trains.

    Args:
        program: the script.
        place: where to write.
        expected: what each step is to do; None where nothing is known. The process is ended at the first difference.
        recording: how much is recorded.
        beginning: as of `Recorder`.

    Attributes:
        recorder: records the step under way.
        done: number of steps that are over.
    """

    def __init__(
        self,
        program: Program,
        place: Place,
        expected: Expected | None,
        recording: Recording,
        beginning: Callable[[torch.nn.Module | None, Value], None],
    ):
        self.recorder = Recorder(program, beginning=beginning, recording=recording)
        self.done = 0
        self._place, self._expected = place, expected
        self._lines: Lines | None = None

    def begin(self) -> None:
        """Begin with a first step, which may turn out to be an evaluation."""
        self.recorder.__enter__()
        self.recorder.begin()

    @property
    def is_sure(self) -> bool:
        """Whether the first step has begun: what is recorded is training."""
        return self._lines is not None

    def be_sure(self) -> None:
        """The first step has begun."""
        self._lines = self._place.lines(self.recorder.trace.start)

    def end_step(self) -> None:
        """The step under way is over."""
        self._write(self.recorder.finish(self.recorder.effects.backward_loss))

    def end_step_at_mark(self) -> None:
        """The step under way was over where the recorder was marked last; the next one has begun there."""
        self._write(self.recorder.split())

    def _write(self, step: Step) -> None:
        assert self._lines is not None
        self._lines.step(step)
        del self.recorder.trace.steps[:-1]  # they are written: a training may have any number of them
        self.done += 1
        if self._expected is not None and (differs := self._expected.differs(step)) is not None:
            self._place.write(assignment.STOPPED, {"step": differs})
            os.kill(os.getpid(), signal.SIGKILL)  # what comes after that is of no use

    def write_end(self) -> None:
        """The last step was written."""
        if self._lines is not None:
            self._lines.close(self.recorder.trace.finished, self.recorder.trace.unseen)

    def facts(self) -> Facts | None:
        """What distinguishes a test from an empty one; None where nothing was trained."""
        return self.recorder.facts() if self.is_sure else None

    def stop(self) -> None:
        """Record nothing more."""
        self.recorder.__exit__(None, None, None)
