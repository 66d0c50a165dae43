"""A script that trains: where each of its steps begins and ends, and what is recorded and kept there.

When a step is over is `stepping.py`'s to say. The batches that were fetched for the next one are that one's.
"""

import time
import types

import torch

from dora_repro.contracts import Value
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Loaders
from dora_repro.scripts.files import Files
from dora_repro.scripts.meeting import Meeting
from dora_repro.scripts.program import Program
from dora_repro.scripts.states import States
from dora_repro.scripts.step_record import StepRecord
from dora_repro.scripts.stepping import Stepping


class Training:
    """What a process does from its first training forward pass on.

    Args:
        program: the script, as what is recorded.
        states: its states, kept and put in.
        record: its steps.
        stepping: where it is in its step.
        loaders: know its batches.
        files: what it has written.
        meeting: a round to meet; None for none.

    Attributes:
        program: as given.
        record: as given.
        seconds: spent at the ends of steps.
    """

    def __init__(
        self,
        program: Program,
        states: States,
        record: StepRecord,
        stepping: Stepping,
        loaders: Loaders,
        files: Files,
        meeting: Meeting | None,
    ):
        self.program, self.record, self.seconds = program, record, 0.0
        self._states, self._stepping, self._loaders, self._files = states, stepping, loaders, files
        self._meeting = meeting

    def begin(self, module: torch.nn.Module | None) -> None:
        """Begin to record, with the forward pass of a module that is under way; None for a backward pass."""
        self.record.begin()
        if module is None or module.training:
            self.record.be_sure()
        self._stepping.mark(self._loaders.source)
        self._loaders.batches.clear()
        if module is not None:
            self.record.recorder.effects.enter(module)

    # --- passes ------------------------------------------------------------------------------------------------------

    def pass_begins(self, module: torch.nn.Module | None, args: Value, frame: types.FrameType | None) -> None:
        """A forward pass of a module, or a backward pass, is about to begin.

        Args:
            module: None for a backward pass.
            args: what the module is given by position.
            frame: that it begins in.
        """
        trains = module is not None and self._stepping.trains(module)
        if not self.record.is_sure:
            if trains or (module is not None and self._may_begin(module)):
                self._begin_anew(args, frame, sure=trains)
        elif module is None:
            self.gradients_begin(frame)
        elif self._stepping.armed and trains:
            self._end_step(args, frame)
        elif trains or self._stepping.may_train(module):
            self._look_at_pass(args, frame)
        if module is not None:
            self._stepping.called(module)
        if module is None or next(module.parameters(), None) is not None:  # no augmentation of the batch
            self._loaders.batches.clear()

    def gradients_begin(self, frame: types.FrameType | None) -> None:
        """A backward pass begins, or gradients are asked for, which may be the next step's."""
        if self._stepping.ends_without_modules:
            self._end_step(None, frame)
        else:
            self._stepping.asked()

    def _may_begin(self, module: torch.nn.Module) -> bool:
        """Whether the first step may begin with this pass in eval mode, and what came before it was an evaluation."""
        source = self._loaders.source
        return self._stepping.may_train(module) and source is not None and self._stepping.may_begin(source, False)

    def _begin_anew(self, args: Value, frame: types.FrameType | None, sure: bool) -> None:
        """What was taken for the first step was an evaluation in eval mode: the first one begins now."""
        self.program.look(frame)
        self._states.put_in(args, frame)
        self.record.recorder.begin_anew()
        self._stepping.forget_evaluation()
        self._stepping.mark(self._loaders.source)
        if sure:
            self.record.be_sure()

    def _look_at_pass(self, args: Value, frame: types.FrameType | None) -> None:
        """A forward pass begins that is another one of the step, or in eval mode: a checkpoint may have been written
        since the last one. Then what began the step was no part of it: samples were drawn, say, in training mode."""
        states, stepping = self._states, self._stepping
        wrote = self._files.look()
        states.wrote |= wrote
        number = self.record.done + 1 + stepping.armed
        if stepping.armed and stepping.may_begin(self._loaders.source, wrote):
            self.program.look(frame)
            stepping.mark(self._loaders.source)
            self.record.recorder.mark()
            states.keep_before(number, args)
        elif stepping.backwards and states.is_wanted_since_write:
            self.program.look(frame)
            states.keep(assignment.before_step(number, stepping.backwards), args)
            states.wrote = False
        elif stepping.untouched and self._files.saved:
            self.program.look(frame)
            self.record.recorder.begin()
            states.keep_before(number, args)
            states.wrote = False

    # --- ends of steps -----------------------------------------------------------------------------------------------

    def _end_step(self, args: Value, frame: types.FrameType | None) -> None:
        """A step is over, and the next begins."""
        began = time.perf_counter()
        self.program.look(frame)
        if self._meeting is not None:
            self._meeting.passes(frame)
        self._write_step()
        self._states.keep_before(self.record.done + 1, args)
        self._states.wrote = False
        self.record.recorder.begin()
        self.seconds += time.perf_counter() - began

    def _write_step(self) -> None:
        self._states.wrote |= self._files.look()
        self.record.end_step()
        self._stepping.over()

    def update_is_made(self) -> None:
        """An optimizer steps: where forward passes in eval mode alone were made since it last did, the step was over
        where they began."""
        if self._stepping.ended_at_mark:
            began = time.perf_counter()
            self._states.wrote = False
            self.record.end_step_at_mark()
            self._stepping.over()
            self.seconds += time.perf_counter() - began

    def end(self, whole: bool) -> None:
        """The process ends.

        Args:
            whole: keep its last state, and its batches.
        """
        if self._stepping.backwards and not self.record.is_sure:
            self.record.be_sure()
        if not self.record.is_sure:
            return
        if self._stepping.armed:
            self._loaders.batches.clear()
            self._write_step()
        if whole:
            self._states.keep_end()
        self.record.write_end()
