"""A process that is recorded: what it listens to before it trains, when that begins, and what it leaves at its end.

What goes wrong in recording ends the record, and not the script.
"""

import os
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.recording.recorder import Recording
from dora_repro.scripts import assignment, listening
from dora_repro.scripts.advised import Advised
from dora_repro.scripts.anchors import Anchor, Loaders, Put, read_batches
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.expected import Expected
from dora_repro.scripts.files import Files, Position
from dora_repro.scripts.held import Held
from dora_repro.scripts.libraries import libraries_in, parts_around
from dora_repro.scripts.loaded_options import LoadedOptions
from dora_repro.scripts.meeting import Meeting
from dora_repro.scripts.place import Place, about_process
from dora_repro.scripts.program import overwritten_in, program_of
from dora_repro.scripts.samplers import chosen_of
from dora_repro.scripts.states import States
from dora_repro.scripts.step_record import StepRecord
from dora_repro.scripts.stepping import Stepping, with_gradients
from dora_repro.scripts.training import Training
from dora_repro.sides.libraries import libraries_of
from dora_repro.sides.places import places_of_functions
from dora_repro.sides.written_by import writers_of
from dora_repro.state.parts import Parts
from dora_repro.state.snapshot import run_roots
from dora_repro.trace import Trace


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
        self._stepping = Stepping()
        self._loaders = Loaders(_put(given), keeps=given.keep_batches is not None)
        first = folder == given.folder  # the rank that is judged: other ones have other batches
        expected = given.expected if first else None
        self._expected = Expected(Trace.read(expected), given.start) if expected is not None else None
        self._began = time.perf_counter()
        self._libraries: dict[str, Parts] = {}
        self._training: Training | None = None
        self._over, self._forked = False, False
        self._loaded, self._held = LoadedOptions(), Held()
        self._options: dict[str, str] = {}
        self.updates = 0
        self.named: dict[str, Value] = {}
        self.files = Files(given.out, self._position) if files is None else files(self._position)
        self._meeting = Meeting(given, self._place, self.named, self._careful) if given.meet is not None else None
        self._advised = Advised(given.lines, self._leave_lines, self.named) if given.lines is not None else None

    @property
    def done(self) -> int:
        """Number of steps that are over."""
        return 0 if self._training is None else self._training.record.done

    # --- before the first step ---------------------------------------------------------------------------------------

    def install(self) -> None:
        """Listen to torch. Nothing else is done before the script trains."""
        self.files.watch_torch()
        if self._advised is not None:
            self._advised.install(self.files)
        if self._meeting is not None:
            self._meeting.install(self.files, lambda: self._position()[0])
        register_optimizer_step_pre_hook(self._before_update)
        register_optimizer_step_post_hook(self._after_update)
        self._first = register_module_forward_pre_hook(self._before_module)
        self._loaders.install(self._mine, self._before_batch, self._careful)
        self._loaders.last_draws.wrote = self.files.wrote_now
        listening.to_backward(self._before_backward, self._after_backward)
        listening.to_grad(self._before_backward, self._before_gradients)
        listening.to_optimizer_loading(self._after_loading)
        listening.to_optimizer_making(self._held.made)
        listening.to_exit(self.end)

    def name(self, objects: dict[str, Value]) -> None:
        """Take over what the script names: roots of its state beside its functions."""
        parts = {name: value for name, value in objects.items() if isinstance(value, Parts)}
        self._libraries |= parts  # by an adapter: none of these names is a variable
        self.named.update({name: value for name, value in objects.items() if name not in parts})
        if self._training is not None:
            vars(self._training.program).update(objects)

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
        if self._mine() and self._training is None:
            self._loaded.after_loading(optimizer)

    def _before_batch(self) -> None:
        """A loader is asked for a batch: what had to be loaded has been, and a step sets its options from here on."""
        if self._training is None:
            self._loaded.loading_is_over()

    def _before_backward(self, frame: types.FrameType | None) -> bool:
        """A backward pass, or gradients that are asked for. Whether the record begins with it: no module was called."""
        if not self._mine() or self._training is not None:
            return False
        self._start(None, None, frame)
        return self._training is not None

    def _after_backward(self) -> None:
        if self._mine():
            self._stepping.backwards += 1

    def _before_module(self, module: torch.nn.Module, args: Value) -> None:
        if self._mine() and self._training is None and (with_gradients(module) or self._held.is_frozen(module)):
            self._stepping.called(module)
            self._start(module, args, get_frame(1))

    def _start(self, module: torch.nn.Module | None, args: Value, frame: types.FrameType | None) -> None:
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
            program = program_of({**self._libraries, **self.named}, frame)
            self._let_it_know_batches(program)
            states = States(self._given, self._place, program, self._loaders, self._advised)
            states.put_in(args, frame)
            record = StepRecord(program, self._place, self._expected, self._recording, self._beginning)
            self._training = Training(program, states, record, self._stepping, self._loaders, self.files, self._meeting)
            self._training.begin(module)
            self._options = self._loaded.taken(record.recorder.effects.made_of.optimizers)

    def _let_it_know_batches(self, program: Any) -> None:
        """Let the recorder know which batches were fetched for the step to come."""
        type(program).batches_in_hand = lambda program: list(self._loaders.batches)

    # --- steps -------------------------------------------------------------------------------------------------------

    def _beginning(self, module: torch.nn.Module | None, args: Value) -> None:
        """A forward pass, or a backward pass, is about to begin."""
        if self._training is not None and self._mine():
            with self._careful():
                self._training.pass_begins(module, args, get_frame(2))

    def _before_gradients(self, frame: types.FrameType | None) -> None:
        """Gradients are asked for."""
        if self._training is not None and self._mine():
            with self._careful():
                self._training.gradients_begin(frame)

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if self._training is not None and self._mine():
            with self._careful():
                self._training.update_is_made()

    def _after_update(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if not self._mine():
            self._leave_fork()
            return
        if self._training is None:
            return  # of zeros, as DCP makes one to have the optimizer's state before it loads: no step
        with self._careful():
            if not self._training.record.is_sure:
                self._training.record.be_sure()
            self._training.update_is_made()  # by a closure, inside the update
        self.updates += 1
        self._loaders.batches.clear()
        now = not self._stepping.armed and self.done == self._given.kill_after
        if now and self._given.signal is None:
            self._kill(signal.SIGKILL)
        self._stepping.updated()
        self._loaders.step = self.done + 1
        if now and self._given.signal is not None:
            self._kill(self._given.signal)  # its handler may save at once: after this update
        if self._meeting is not None:
            self._meeting.updated(get_frame(1), self._position()[0])

    def _leave_fork(self) -> None:
        """Leave word, once, that a process trains which was made by `os.fork`: its hooks are another process's."""
        if os.getpid() != self._pid and not self._forked:
            self._forked = True
            self._place.leave(assignment.FORKED, {"pid": os.getpid()})

    def _kill(self, number: int) -> None:
        """As a preemption would, by a signal: SIGKILL, without a word to the script, or one that it may handle."""
        self.files.look()
        self._place.write(assignment.KILLED, {"step": self.done, "updates": self.updates, "pid": self._pid})
        os.kill(self._pid, number)

    # --- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The process ends: close the last step, and leave the state as it is now."""
        if self._over or os.getpid() != self._pid:
            return
        training = self._training
        with self._careful():
            if training is not None:
                training.end(self._place.whole)
            self._place.end(None if training is None else run_roots(training.program), self._about)
        self._stop()

    def _about(self) -> dict[str, Any]:
        """What the process says of itself at its end."""
        return {
            **about_process(),
            "steps": self.done,
            "updates": self.updates,
            "facts": None if self._training is None else self._training.record.facts(),
            "named": sorted({*self.named, *self._libraries}),
            "options_loaded": self._options,
            **self._made_with(),
            "seconds": time.perf_counter() - self._began,
            "recording": 0.0 if self._training is None else self._training.seconds,
        }

    def _made_with(self) -> dict[str, Any]:
        """The training libraries in use, and the functions that write what the script has built itself."""
        if self._training is None:
            return {"libraries": {}, "writers": [], "places": {}, "overwritten": []}
        program = self._training.program
        libraries = {**libraries_in(self._libraries), **libraries_of(program)}
        writers = sorted({*writers_of(program, libraries), *self.files.writers})
        places = places_of_functions(program, names_alone=True)
        overwritten = overwritten_in(program)
        return {"libraries": libraries, "writers": writers, "places": places, "overwritten": overwritten}

    def _stop(self) -> None:
        self._over = True
        if self._training is not None:
            self._training.record.stop()

    @contextmanager
    def _careful(self) -> Iterator[None]:
        """Within it, exceptions end the record and not the script."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """What went wrong here must not go wrong in the script: it goes on, and the launcher is told."""
        self._stop()
        self._place.fail(error)


def _put(given: Assignment) -> Put | None:
    """What loaders are to be given."""
    state = given.given
    if state is None or given.meet is not None or not (state.generators or state.batches or state.leaves or state.used):
        return None
    anchor = Anchor.read(state.state.with_name(f"{state.state.name}{assignment.ANCHOR}"))
    earlier = max(0, state.in_hand - anchor.batches)
    batches = None if state.batches is None else read_batches(state.batches, earlier)
    return Put(
        anchor,
        state.generators,
        batches,
        state.own,
        lambda frame: chosen_of(state, program_of({}, frame)),
        state.used,
    )
