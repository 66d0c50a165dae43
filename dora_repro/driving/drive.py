"""A function that runs until its next training step, and waits there.

The function runs in a greenlet, so that all its variables stay where they are while it waits. It waits before the
forward pass that follows an update: by then all that belongs to the step has been done - the schedule, an evaluation at
the end of an epoch, a checkpoint that the function writes - and of the next step nothing but its batch.

A module in eval mode is an evaluation's, or a frozen one that makes the features of a step. It is the step's where it
is called with a batch of the very iterator that the last step had its batch from; with gradients, also with one of the
data that the last step was trained on, or as the first module of all.
"""

import contextvars
import functools
import importlib
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dora_repro.contracts import Value
from dora_repro.driving.look_ahead import generators_above, hand_over
from dora_repro.errors import MissingExtra
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.private_names.of_torch import LoaderIterator, data_of, module_call, set_loader_next, set_module_call
from dora_repro.recording.hand_overs import HandOver, Kind, Take, Taken, listening
from dora_repro.state.frames import is_machinery
from dora_repro.state.waiting_call import WaitingCall, waits_in

At = Literal["update", "batch"]
What = Literal["forward", "backward", "update"]
_OURS = ("dora_repro.driving", "dora_repro.recording")  # between a call of a module and the one who calls
# What gives batches: a loader's iterator, or code that takes those of another thread.
_Source: TypeAlias = "weakref.ref[LoaderIterator] | weakref.ref[types.CodeType]"


class Drive:
    """One call of a function.

    Args:
        call: calls it.
        at: where it waits: before the forward pass after each update, or before each training forward pass.

    Attributes:
        at: as given.
        going_on: called before each training forward pass, each backward pass and each update, where no update has
            been done since it last waited; with which of them.
        greenlet: the call.
        updates: number of updates that it has done: `step()` of any optimizer.
        passes: number of backward passes that it has done.
        batches: what loaders have handed out since the last forward pass: the batch of the next step.

    Raises:
        MissingExtra: greenlet is not installed.
    """

    def __init__(self, call: Callable[[], object], at: At = "update"):
        try:
            greenlet: Any = importlib.import_module("greenlet")
        except ImportError as error:
            raise MissingExtra("greenlet", "stepwise", "stepwise()") from error
        self._current: Callable[[], Any] = greenlet.getcurrent
        self.greenlet: Any = greenlet.greenlet(call)
        self.greenlet.gr_context = contextvars.copy_context()
        self.at = at
        self.going_on: Callable[[What], None] = lambda what: None
        self._armed = True
        self._inside_module = self._inside_backward = False
        self._source: _Source | None = None  # what gave the batch in hand
        self._training: _Source | None = None  # what gave that of the last backward pass
        self._data: object = None  # that the last backward pass was of
        self._its_modes: _Modes | None = None
        self.updates = self.passes = 0
        self._updates_before = 0  # when it last waited
        self.batches: list[Value] = []
        self._fetching: dict[types.FrameType, None] = {}  # the generators that these came through

    def advance(self) -> bool:
        """Run up to the next step; False where the function has returned. What it raises comes out."""
        if self.greenlet.dead:
            return False
        ours = _modes()
        self._updates_before = self.updates
        try:
            with self._watching():
                if self._its_modes is not None:
                    _set_modes(self._its_modes)
                self.greenlet.switch()
        finally:
            self._its_modes = _modes()
            _set_modes(ours)
        return not self.greenlet.dead

    def close(self) -> None:
        """End the call where it waits, as an interrupt would: what it has to undo when it ends is undone now, the
        handlers of signals that it set among it."""
        ours = _modes()
        try:
            if not self.greenlet.dead:
                self.greenlet.parent = self._current()  # who goes on afterwards: perhaps another call
                self.greenlet.throw()
        except BaseException:  # what it makes of that is its own affair, and it may be on a thread that has ended
            pass
        finally:
            _set_modes(ours)

    def hand_over(self, batches: Sequence[Value]) -> None:
        """Let the generators that look ahead hold another run's batches, where they hold those of the next steps."""
        hand_over(self._fetching, self.batches, batches)
        if len(batches) == len(self.batches):
            self.batches[:] = batches

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Torch tells of updates, forward and backward passes while the function runs."""
        real_call, real_next, real_backward = module_call(), LoaderIterator.__next__, torch.autograd.backward
        updated = register_optimizer_step_post_hook(self._after_update)
        updating = register_optimizer_step_pre_hook(self._before_update)
        set_module_call(self._before_modules(real_call))
        set_loader_next(self._after_next(real_next))
        torch.autograd.backward = self._before_backward(real_backward)
        try:
            with listening(self._take_over):
                yield
        finally:
            set_module_call(real_call)
            set_loader_next(real_next)
            torch.autograd.backward = real_backward
            updated.remove()
            updating.remove()

    def _before_update(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        if self._is_running() and self.updates == self._updates_before:
            self.going_on("update")

    def _after_update(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        if self._is_running():
            self.updates += 1
            self._armed = True
            self._begins()

    def _before_modules(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not self._is_running() or self._inside_module:
                return real(module, *args, **kwargs)
            if self._armed and (_is_training(module) or self._goes_on(module)):
                waiting = WaitingCall(module.forward, args, kwargs, _caller())
                with waits_in(self.greenlet, waiting):
                    self._wait()
                args, kwargs = tuple(waiting.args), waiting.kwargs
            elif self.updates == self._updates_before and _is_training(module):
                self.going_on("forward")
            self._begins()
            self._inside_module = True
            try:
                return real(module, *args, **kwargs)
            finally:
                self._inside_module = False

        return call

    def _after_next(self, real: Callable[[LoaderIterator], Any]) -> Callable[[LoaderIterator], Any]:
        def after(iterator: LoaderIterator) -> Any:
            batch = real(iterator)
            if self._is_running():
                self._fetched(batch, get_frame(1), weakref.ref(iterator))
            return batch

        return after

    def _take_over(self, hand_over: HandOver, take: Take) -> Value:
        """Another thread hands something over."""
        taken = Taken.of(hand_over, take)
        if self._is_running() and taken.kind is Kind.BATCH:
            self._fetched(taken.value, hand_over.frame, weakref.ref(hand_over.frame.f_code))
        return taken.given()

    def _fetched(self, batch: Value, frame: types.FrameType | None, source: _Source) -> None:
        """A batch of the next step is there, fetched by a function."""
        self.batches.append(batch)
        self._fetching.update(dict.fromkeys(generators_above(frame)))
        self._source = source

    def _before_backward(self, real: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(real)
        def backward(*args: Any, **kwargs: Any) -> None:
            if self._armed and self._is_running():  # a model that is no module: its forward pass was not seen
                self._wait()
            if self._is_running():
                self._training = self._source
                source = self._source() if self._source is not None else None
                self._data = self._data if source is None else _data_behind(source)
                if not self._inside_backward:
                    self._before_pass()
            outermost, self._inside_backward = not self._inside_backward, True
            try:
                real(*args, **kwargs)
            finally:
                self._inside_backward = not outermost
            self._armed = self._armed or (self.at == "batch" and self._is_running())

        return backward

    def _before_pass(self) -> None:
        if self.updates == self._updates_before:
            self.going_on("backward")
        self.passes += 1

    def _goes_on(self, module: torch.nn.Module) -> bool:
        """Whether a module in eval mode is called with a batch that is trained on."""
        source = self._source() if self._source is not None else None
        if not self.batches or source is None or next(module.parameters(), None) is None:
            return False
        training = self._training() if self._training is not None else None
        if training is source:
            return True
        return torch.is_grad_enabled() and (self._data is None or self._data is _data_behind(source))

    def _begins(self) -> None:
        """Something has begun to work on what was handed out."""
        self.batches.clear()
        self._fetching.clear()

    def _is_running(self) -> bool:
        return self._current() is self.greenlet

    def _wait(self) -> None:
        self._armed = False
        self.greenlet.parent.switch()


def _data_behind(source: LoaderIterator | types.CodeType) -> object:
    """The data that a source reads; of what another thread reads nothing is known but who takes it."""
    return source if isinstance(source, types.CodeType) else data_of(source)


def _caller() -> types.FrameType | None:
    """The frame that calls a module; None where it is not the user's own code."""
    frame: types.FrameType | None = get_frame(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    return None if frame is None or is_machinery(frame) else frame


def _is_training(module: torch.nn.Module) -> bool:
    """Whether calling it is a forward pass of training: not an evaluation, a loss function or an augmentation."""
    return module.training and torch.is_grad_enabled() and next(module.parameters(), None) is not None


_Modes = tuple[bool, dict[str, tuple[bool, torch.dtype]]]
_DEVICES = ("cpu", "cuda")


def _modes() -> _Modes:
    """Torch's modes of this thread, which belong to the function: it may wait inside `torch.autocast`."""
    autocast = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _DEVICES}
    return torch.is_grad_enabled(), autocast


def _set_modes(modes: _Modes) -> None:
    gradients, autocast = modes
    torch.set_grad_enabled(gradients)
    for kind, (enabled, dtype) in autocast.items():
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)
