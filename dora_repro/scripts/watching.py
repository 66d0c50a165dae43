"""A script under way, from its first training forward pass to its end: each step is recorded and written at once.

When a step is over is `stepping.py`'s to say. The batches that were fetched for the next one are that one's.
"""

import os
import signal
import threading
import time
import types
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.recording import Recorder
from dora_repro.recording.recorder import Recording
from dora_repro.scripts import assignment, listening
from dora_repro.scripts.advised import Advised
from dora_repro.scripts.anchors import Anchor, Loaders, Put, read_batches
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.expected import Expected
from dora_repro.scripts.files import Files, Position
from dora_repro.scripts.libraries import libraries_in, parts_around
from dora_repro.scripts.loaded_options import LoadedOptions
from dora_repro.scripts.meeting import Meeting
from dora_repro.scripts.place import Lines, Place, about_process
from dora_repro.scripts.program import Program, program_of
from dora_repro.scripts.samplers import chosen_of
from dora_repro.scripts.stepping import Stepping, with_gradients
from dora_repro.sides.libraries import libraries_of
from dora_repro.sides.places import places_of_functions
from dora_repro.sides.written_by import writers_of
from dora_repro.state.parts import Parts
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.trace import Step, Trace


class Watch:
    """Records one process, from its first training forward pass to its end.

    Args:
        given: what to do.
        folder: where to leave the evidence; another than the assignment's for processes of other ranks.
        depth: how many recorded processes are around this one.
        place: where to leave it, if not as files in that folder.
        files: makes the ledger, given what returns the numbers of steps done and of backward passes since the last
            update; None for that of `{out}`.
        recording: what else the recorder is told.

    Attributes:
        done: number of steps that are over.
        updates: number of updates: `step()` of any optimizer.
        named: objects that the script named (`record`).
    """

    def __init__(
        self,
        given: Assignment,
        folder: Path,
        depth: int = 0,
        *,
        place: Place | None = None,
        files: Callable[[Position], Files] | None = None,
        recording: Recording | None = None,
    ):
        self._meant = given.depth is None or depth <= given.depth
        if not self._meant:  # a helper of the process that is judged: recorded, and neither killed nor given anything
            given = Assignment(given.folder, given.out)
        if given.given is not None:
            given = replace(given, given=given.given.of_this_rank)
        self._given = given
        self._place = place or Place(given.folder, folder, depth, self._meant)
        self._recording = recording or Recording()
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._stepping, self._wrote = Stepping(), False
        self._loaders = Loaders(_put(given), keeps=given.keep_batches is not None)
        first = folder == given.folder  # the rank that is judged: other ones have other batches
        expected = given.expected if first else None
        self._expected = Expected(Trace.read(expected), given.start) if expected is not None else None
        self._sure = False  # that the first step has begun: an evaluation may come before it
        self._began = time.perf_counter()
        self._seconds = 0.0
        self._program: Program | None = None
        self._libraries: dict[str, Parts] = {}
        self._recorder: Recorder | None = None
        self._lines: Lines | None = None
        self._over, self._forked = False, False
        self._passed: Value = None  # to the module that is about to be called
        self._loaded = LoadedOptions()
        self._options: dict[str, str] = {}
        self.done, self.updates = 0, 0
        self.named: dict[str, Value] = {}
        self.files = Files(given.out, self._position) if files is None else files(self._position)
        self._meeting = Meeting(given, self._place, self.named, self._careful) if given.meet is not None else None
        self._advised = Advised(given.lines, self._leave_lines, self.named) if given.lines is not None else None

    # --- before the first step ---------------------------------------------------------------------------------------

    def install(self) -> None:
        """Listen to torch. Nothing else is done before the script trains."""
        self.files.watch_torch()
        if self._advised is not None:
            self._advised.install()
        if self._meeting is not None:
            self._meeting.install(lambda: self._position()[0])
        register_optimizer_step_pre_hook(self._before_update)
        register_optimizer_step_post_hook(self._after_update)
        self._first = register_module_forward_pre_hook(self._before_module)
        self._loaders.install(self._mine, self._before_batch)
        listening.to_backward(self._before_backward, self._after_backward)
        listening.to_grad(self._before_backward, self._cut_without_modules)
        listening.to_optimizer_loading(self._after_loading)
        listening.to_exit(self.end)

    def name(self, objects: dict[str, Value]) -> None:
        """Take over what the script names: roots of its state beside its functions."""
        parts = {name: value for name, value in objects.items() if isinstance(value, Parts)}
        self._libraries |= parts  # by an adapter: none of these names is a variable
        self.named.update({name: value for name, value in objects.items() if name not in parts})
        if self._program is not None:
            vars(self._program).update(objects)

    def _leave_lines(self, about: dict[str, Any]) -> None:
        """Leave word of what became of advised lines."""
        self._place.leave(assignment.LINES, about)

    def _position(self) -> tuple[int, int]:
        """The number of steps that were done, and of backward passes since the last update."""
        return self.done + self._stepping.armed, self._stepping.backwards

    def _mine(self) -> bool:
        return not self._over and os.getpid() == self._pid and threading.get_ident() == self._thread

    def _after_loading(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has loaded its state."""
        if self._mine() and self._recorder is None:
            self._loaded.after_loading(optimizer)

    def _before_batch(self) -> None:
        """A loader is asked for a batch: what had to be loaded has been, and a step sets its options from here on."""
        if self._recorder is None:
            self._loaded.loading_is_over()

    def _before_backward(self, frame: types.FrameType | None) -> bool:
        """A backward pass, or gradients that are asked for. Whether the record begins with it: no module was called."""
        if not self._mine() or self._recorder is not None:
            return False
        self._start(None, frame)
        return self._recorder is not None

    def _after_backward(self) -> None:
        if self._mine():
            self._stepping.backwards += 1

    def _before_module(self, module: torch.nn.Module, args: Value) -> None:
        if self._mine() and self._recorder is None and with_gradients(module):
            self._stepping.called(module)
            self._passed = args
            self._start(module, get_frame(1))
            self._passed = None

    def _start(self, module: torch.nn.Module | None, frame: types.FrameType | None) -> None:
        """Begin to record, at the first training forward pass, or the first backward pass where there was none."""
        self._first.remove()
        if self._advised is not None:
            self._advised.first_step(frame)
        with self._careful():
            self.files.look()
            self._place.claim()
            if self._meeting is not None:
                self._meeting.claimed()
                self._meeting.passes(frame)
            self.files.write_to(self._place.path / assignment.FILES)
            self._libraries = {**parts_around(frame, module), **self._libraries}
            self._program = program_of({**self._libraries, **self.named}, frame)
            self._program_in_hand()
            self._put_in()
            self._run_lines_once_more(frame)
            if self._given.keep_first:
                self._keep(assignment.FIRST)
            self._recorder = recorder = Recorder(self._program, beginning=self._beginning, recording=self._recording)
            recorder.__enter__()
            recorder.begin()
            self._options = self._loaded.taken(recorder.effects.made_of.optimizers)
            if module is None or module.training:
                self._be_sure()
            self._stepping.mark(self._loaders.source)
            self._loaders.batches.clear()
            if module is not None:
                recorder.effects.enter(module)

    def _be_sure(self) -> None:
        """The first step has begun: what is recorded is training."""
        assert self._recorder is not None
        self._sure = True
        self._lines = self._place.lines(self._recorder.trace.start)

    def _start_anew(self, frame: types.FrameType | None, sure: bool) -> None:
        """What was taken for the first step was an evaluation in eval mode: the first one begins now."""
        assert self._program is not None and self._recorder is not None
        self._program.look(frame)
        self._put_in()
        self._run_lines_once_more(frame)
        if self._given.keep_first:
            self._keep(assignment.FIRST)
        self._recorder.begin_anew()
        self._stepping.forget_evaluation()
        self._stepping.mark(self._loaders.source)
        if sure:
            self._be_sure()

    def _program_in_hand(self) -> None:
        """Let the recorder know which batches were fetched for the step to come."""
        program: Any = self._program
        type(program).batches_in_hand = lambda program: list(self._loaders.batches)

    def _put_in(self) -> None:
        """Put in what another run had at this moment."""
        given = self._given.given
        if given is not None and given.leaves and self._meeting is None:
            assert self._program is not None
            saved = Snapshot.read(given.state)
            judged = self._place.path == self._given.folder
            leaves = given.leaves if judged else [path for path in given.leaves if path in saved]
            missing = saved.restore(run_roots(self._program), leaves)
            self._place.write(assignment.MISSING, missing)

    def _run_lines_once_more(self, frame: types.FrameType | None) -> None:
        """Run advised lines of load here, too, whose state is not any more as the uninterrupted run had it now."""
        lines = self._given.lines
        if self._advised is None or lines is None or lines.saved is None:
            return
        expected = Snapshot.read(lines.saved)

        def differing(paths: Iterable[str]) -> dict[str, bytes]:
            now = Snapshot.capture(run_roots(self._program))
            known = {path: expected[path] for path in paths if path in expected and expected[path].role != "alias"}
            there = {path: now[path].digest for path in known if path in now}
            return {path: leaf.digest for path, leaf in known.items() if there.get(path) != leaf.digest}

        self._advised.once_more(frame, differing)

    # --- steps -------------------------------------------------------------------------------------------------------

    def _beginning(self, module: torch.nn.Module | None, args: Value) -> None:
        """A forward pass, or a backward pass, is about to begin."""
        if not self._mine():
            return
        self._passed = args
        trains = module is not None and self._stepping.trains(module)
        if not self._sure:
            if trains or (module is not None and self._may_begin(module)):
                with self._careful():
                    self._start_anew(get_frame(2), sure=trains)
        elif module is None:
            self._cut_without_modules(get_frame(2))
        elif self._stepping.armed and trains:
            with self._careful():
                self._cut(get_frame(2))
        elif trains or self._stepping.may_train(module):
            with self._careful():
                self._look_at_pass(get_frame(2))
        if module is not None:
            self._stepping.called(module)
        if module is None or next(module.parameters(), None) is not None:  # no augmentation of the batch
            self._loaders.batches.clear()
        self._passed = None

    def _cut_without_modules(self, frame: types.FrameType | None) -> None:
        """A backward pass begins, or gradients are asked for, which may be the next step's."""
        if self._mine() and self._stepping.ends_without_modules:
            with self._careful():
                self._cut(frame)
        elif self._mine():
            self._stepping.asked()

    def _cut(self, frame: types.FrameType | None) -> None:
        """A step is over, and the next begins."""
        began = time.perf_counter()
        assert self._program is not None and self._recorder is not None
        self._program.look(frame)
        if self._meeting is not None:
            self._meeting.passes(frame)
        self._finish_step()
        self._keep_before(self.done + 1)
        self._wrote = False
        self._recorder.begin()
        self._seconds += time.perf_counter() - began

    def _look_at_pass(self, frame: types.FrameType | None) -> None:
        """A forward pass begins that is another one of the step, or in eval mode: a checkpoint may have been written
        since the last one. Then what began the step was no part of it: samples were drawn, say, in training mode."""
        assert self._program is not None and self._recorder is not None
        wrote = self.files.look()
        self._wrote |= wrote
        number = self.done + 1 + self._stepping.armed
        if self._stepping.armed and self._stepping.may_begin(self._loaders.source, wrote):
            self._program.look(frame)
            self._stepping.mark(self._loaders.source)
            self._recorder.mark()
            self._keep_before(number)
        elif self._wrote and self._given.keep_saved and self._stepping.backwards:
            self._program.look(frame)
            self._keep(assignment.before_step(number, self._stepping.backwards))
            self._wrote = False
        elif self._stepping.untouched and self.files.saved:
            self._program.look(frame)
            self._recorder.begin()
            self._keep_before(number)
            self._wrote = False

    def _may_begin(self, module: torch.nn.Module) -> bool:
        """Whether the first step may begin with this pass in eval mode, and what came before it was an evaluation."""
        source = self._loaders.source
        return self._stepping.may_train(module) and source is not None and self._stepping.may_begin(source, False)

    def _keep_before(self, number: int) -> None:
        """Keep the state and the batches from here on, where that is wanted before this step."""
        if (self._wrote and self._given.keep_saved) or number in self._given.keep_at:
            self._keep(assignment.before_step(number))
        if number == self._given.keep_batches:
            self._loaders.keep()

    def _cut_at_mark(self) -> None:
        """An update is made, with forward passes in eval mode alone since the last: the step was over where they
        began."""
        with self._careful():
            began = time.perf_counter()
            assert self._recorder is not None
            self._wrote = False
            self._note(self._recorder.split())
            self._seconds += time.perf_counter() - began

    def _finish_step(self) -> None:
        assert self._recorder is not None
        self._wrote |= self.files.look()
        self._note(self._recorder.finish(self._recorder.effects.backward_loss))

    def _note(self, step: Step) -> None:
        """A step is over."""
        assert self._lines is not None
        assert self._recorder is not None
        self._lines.step(step)
        del self._recorder.trace.steps[:-1]  # they are written: a training may have any number of them
        self.done += 1
        self._stepping.over()
        self._stop_at_difference(step)

    def _stop_at_difference(self, step: Step) -> None:
        """End the process where it does not do what is expected: what comes after that is of no use."""
        if self._expected is not None and (differs := self._expected.differs(step)) is not None:
            self._place.write(assignment.STOPPED, {"step": differs})
            os.kill(self._pid, signal.SIGKILL)

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if self._mine() and self._stepping.ended_at_mark:
            self._cut_at_mark()

    def _after_update(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if not self._mine():
            self._leave_fork()
            return
        if self._recorder is not None and not self._sure:
            self._be_sure()
        if self._stepping.ended_at_mark:  # by a closure, inside the update
            self._cut_at_mark()
        self.updates += 1
        self._loaders.batches.clear()
        if not self._stepping.armed and self.done == self._given.kill_after:
            self._kill()
        self._stepping.updated()
        self._loaders.step = self.done + 1

    def _leave_fork(self) -> None:
        """Leave word, once, that a process trains which was made by `os.fork`: its hooks are another process's."""
        if os.getpid() != self._pid and not self._forked:
            self._forked = True
            self._place.leave(assignment.FORKED, {"pid": os.getpid()})

    def _kill(self) -> None:
        """As a preemption would, without a word to the script."""
        self.files.look()
        self._place.write(assignment.KILLED, {"step": self.done, "updates": self.updates})
        os.kill(self._pid, signal.SIGKILL)

    # --- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The process ends: close the last step, and leave the state as it is now."""
        if self._over or os.getpid() != self._pid:
            return
        with self._careful():
            if self._recorder is not None and self._stepping.backwards and not self._sure:
                self._be_sure()
            if self._recorder is not None and self._lines is not None:
                if self._stepping.armed:
                    self._loaders.batches.clear()
                    self._finish_step()
                if self._place.whole:
                    self._keep(assignment.END)
                    self._loaders.write_kept(self._place.path / assignment.BATCHES)
                trace = self._recorder.trace
                self._lines.close(trace.finished, trace.unseen)
            self._place.end(None if self._program is None else run_roots(self._program), self._about)
        self._stop()

    def _about(self) -> dict[str, Any]:
        """What the process says of itself at its end."""
        return {
            **about_process(),
            "steps": self.done,
            "updates": self.updates,
            "facts": None if self._lines is None or self._recorder is None else self._recorder.facts(),
            "named": sorted({*self.named, *self._libraries}),
            "options_loaded": self._options,
            **self._made_with(),
            "seconds": time.perf_counter() - self._began,
            "recording": self._seconds,
        }

    def _made_with(self) -> dict[str, Any]:
        """The training libraries in use, and the functions that write what the script has built itself."""
        if self._program is None:
            return {"libraries": {}, "writers": [], "places": {}}
        libraries = {**libraries_in(self._libraries), **libraries_of(self._program)}
        writers = sorted({*writers_of(self._program, libraries), *self.files.writers})
        places = places_of_functions(self._program, names_alone=True)
        return {"libraries": libraries, "writers": writers, "places": places}

    def _keep(self, name: str) -> None:
        assert self._program is not None
        self._place.keep(name, run_roots(self._program), self._loaders.anchor(self._passed))

    def _stop(self) -> None:
        self._over = True
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)

    def _careful(self) -> AbstractContextManager[None]:
        return _Careful(self)

    def fail(self, error: BaseException) -> None:
        """What went wrong here must not go wrong in the script: it goes on, and the launcher is told."""
        self._stop()
        self._place.fail(error)


class _Careful(AbstractContextManager[None]):
    """Within it, exceptions end the record and not the script."""

    def __init__(self, watch: Watch):
        self._watch = watch

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._watch.fail(error)
        return True


def _put(given: Assignment) -> Put | None:
    """What loaders are to be given."""
    state = given.given
    if state is None or given.meet is not None or not (state.generators or state.batches or state.leaves):
        return None
    anchor = Anchor.read(state.state.with_name(f"{state.state.name}{assignment.ANCHOR}"))
    earlier = max(0, state.in_hand - anchor.batches)
    batches = None if state.batches is None else read_batches(state.batches, earlier)
    return Put(anchor, state.generators, batches, state.own, lambda frame: chosen_of(state, program_of({}, frame)))
