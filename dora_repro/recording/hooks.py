"""Where a training step shows itself: torch's own hooks, called in order of execution.

Loaders return batches, outermost modules return, `torch.autograd.backward` is called and gradients arrive, optimizers
step. Nothing of the run is registered by hand: `model.features(x)` and an optimizer made by `load()` are seen as well.
While a module runs, the modules inside it are called without any hook of this kit, at their usual speed. What a loader
runs while it makes a batch (a transform that is a module, a model that a data set asks) is part of making that batch.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import (
    LoaderIterator,
    global_forward_pre_hooks,
    outside_transforms,
    set_loader_next,
)
from dora_repro.recording.hand_overs import HandOver, Kind, Take, Taken, listening
from dora_repro.recording.own_work import own_work


@dataclass(frozen=True)
class Listeners:
    """What is called as a step runs.

    Attributes:
        batch: gets what a DataLoader returned, or another thread handed over.
        output: gets an outermost module, what it was given, by position and by name, and what it returned (None where
            it raised).
        loss: gets what `backward` is called on, before it runs; without the scale of a `GradScaler`.
        gradients: gets, after it, the ids of the parameters whose gradients arrived, in order of accumulation, and the
            scale that a `GradScaler` gave them (1 without).
        update: gets an optimizer that has stepped.
        stepping: gets an optimizer that is about to step.
        beginning: gets an outermost module that is about to be called, and what it is given by position; None twice
            before a backward pass begins.
    """

    batch: Callable[[Value], None]
    output: Callable[[torch.nn.Module, Value, Value], None]
    loss: Callable[[Value], None]
    gradients: Callable[[list[int], float], None]
    update: Callable[[torch.optim.Optimizer], None]
    stepping: Callable[[torch.optim.Optimizer], None] = lambda optimizer: None
    beginning: Callable[[torch.nn.Module | None, Value], None] = lambda module, args: None


class Hooks(AbstractContextManager["Hooks"]):
    """Installed while the context is open; they listen only while `listening` is set, on the thread that opened it."""

    def __init__(self, listeners: Listeners):
        self._listeners = listeners
        self._listening = False
        self._thread = threading.get_ident()
        self._closing = ExitStack()
        self._parameters: list[RemovableHandle] = []
        self._arrived: list[int] = []
        self._loading = False  # a loader is making a batch
        self._scaled: list[tuple[Value, Value, float]] = []  # (scaled, as it was, scale) since the last backward
        self.watched: set[int] = set()  # ids of the parameters whose gradients are noted
        self.asked: set[int] = set()  # ids of the tensors whose gradients `torch.autograd.grad` was asked for

    def __enter__(self) -> "Hooks":
        self._real_backward = torch.autograd.backward
        self._real_grad = torch.autograd.grad
        self._real_scale = torch.amp.GradScaler.scale
        self._real_next = LoaderIterator.__next__
        torch.autograd.backward = self._around_backward()
        torch.autograd.grad = self._around_grad()
        _set_scale(self._around_scale())
        set_loader_next(self._around_next())
        self._closing.enter_context(listening(self._around_hand_over))
        self._optimizers = (
            register_optimizer_step_post_hook(self._after_optimizer),
            register_optimizer_step_pre_hook(self._before_optimizer),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.listening = False
        torch.autograd.backward = self._real_backward
        torch.autograd.grad = self._real_grad
        _set_scale(self._real_scale)
        set_loader_next(self._real_next)
        self._closing.close()
        for handle in self._optimizers:
            handle.remove()
        self.watch_gradients(())

    @property
    def listening(self) -> bool:
        return self._listening

    @listening.setter
    def listening(self, value: bool) -> None:
        self._listening = value
        self._scaled.clear()
        self._watch_modules(value)

    def watch_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Note the order in which the gradients of these parameters are accumulated; replaces those watched before."""
        for handle in self._parameters:
            handle.remove()
        parameters = [parameter for parameter in parameters if parameter.is_leaf and parameter.requires_grad]
        self.watched = {id(parameter) for parameter in parameters}
        self._parameters = [
            parameter.register_post_accumulate_grad_hook(lambda parameter: self._arrived.append(id(parameter)))
            for parameter in parameters
        ]

    @staticmethod
    def _tell(listener: Callable[..., None], *happened: Any) -> None:
        """Call a listener in the midst of the run's own code."""
        with own_work, outside_transforms():
            listener(*happened)

    def _mine(self) -> bool:
        return self._listening and not self._loading and threading.get_ident() == self._thread

    # Only outermost calls matter: our global hook is away while one of them runs, and back when it returns.

    def _watch_modules(self, on: bool) -> None:
        if on:
            global_forward_pre_hooks()[id(self)] = self._before_module
        else:
            global_forward_pre_hooks().pop(id(self), None)

    @contextmanager
    def _no_modules(self) -> Iterator[None]:
        """No module called in here is an outermost one."""
        watching = id(self) in global_forward_pre_hooks()
        self._watch_modules(False)
        try:
            yield
        finally:
            self._watch_modules(watching)

    def _before_module(self, module: torch.nn.Module, args: Value) -> None:
        if self._mine():
            self._tell(self._listeners.beginning, module, args)
            self.enter(module)

    def enter(self, module: torch.nn.Module) -> None:
        """An outermost module is being called: also for one whose call had begun before these hooks listened."""
        self._watch_modules(False)
        self._call = module.register_forward_hook(self._after_module, with_kwargs=True, always_call=True)

    def _after_module(self, module: torch.nn.Module, args: Value, kwargs: Value, output: Value) -> None:
        self._call.remove()
        self._watch_modules(True)
        self._tell(self._listeners.output, module, (args, kwargs), output)

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if self._mine():
            self._tell(self._listeners.stepping, optimizer)

    def _after_optimizer(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if self._mine():
            self._tell(self._listeners.update, optimizer)

    def _around_backward(self) -> Callable[..., None]:
        real = self._real_backward

        @functools.wraps(real)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
            if not self._mine():
                return real(tensors, *args, **kwargs)
            self._tell(self._listeners.beginning, None, None)
            loss, scale = self._unscaled(tensors)
            self._tell(self._listeners.loss, loss)
            self._arrived.clear()
            # A forward pass done once more for its activations (gradient checkpointing) is no forward of its own.
            with self._no_modules():
                real(tensors, *args, **kwargs)
            self._tell(self._listeners.gradients, self._arrived, scale)

        return backward

    def _around_scale(self) -> Callable[..., Any]:
        real = self._real_scale

        def scale(scaler: torch.amp.GradScaler, outputs: Any) -> Any:
            scaled = real(scaler, outputs)
            if self._mine() and scaled is not outputs:
                self._scaled.append((scaled, outputs, scaler.get_scale()))
            return scaled

        return scale

    def _unscaled(self, loss: Any) -> tuple[Value, float]:
        """What a backward is called on, as it was before it was scaled, and the scale."""
        scaled, self._scaled = self._scaled, []
        for result, outputs, scale in scaled:
            if result is loss:
                return outputs, scale
        if not scaled or not isinstance(loss, torch.Tensor):
            return loss, 1.0
        return loss.detach() / scaled[-1][2], scaled[-1][2]  # made of what was scaled: a sum, a mean over micro-batches

    def _around_grad(self) -> Callable[..., Any]:
        real = self._real_grad

        @functools.wraps(real)
        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if self._mine():
                if not isinstance(inputs, (torch.Tensor, Sequence, Mapping)):
                    inputs = tuple(inputs)  # an iterator can be read once
                every = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
                self.asked.update(map(id, every.values() if isinstance(every, Mapping) else every))
            return real(outputs, inputs, *args, **kwargs)

        return grad

    def _around_next(self) -> Callable[[LoaderIterator], Value]:
        real = self._real_next

        def __next__(iterator: LoaderIterator) -> Value:
            if not self._mine():  # a loader inside a loader's data set included
                return real(iterator)
            self._loading = True
            try:
                with self._no_modules():
                    batch = real(iterator)
            finally:
                self._loading = False
            self._tell(self._listeners.batch, batch)
            return batch

        return __next__

    def _around_hand_over(self, hand_over: HandOver, take: Take) -> Value:
        taken = Taken.of(hand_over, take)
        if self._mine() and taken.kind is Kind.BATCH:
            self._tell(self._listeners.batch, taken.value)
        return taken.given()


def _set_scale(function: Callable[..., Any]) -> None:
    kind: Any = torch.amp.GradScaler
    kind.scale = function
