"""Where a training step shows itself: torch's own hooks, called in order of execution.

Loaders return batches, outermost modules return, `torch.autograd.backward` is called and gradients arrive, optimizers
step. Nothing of the run is registered by hand: `model.features(x)` and an optimizer made by `load()` are seen as well.
While a module runs, the modules inside it are called without any hook of this kit, at their usual speed.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import LoaderIterator, global_forward_pre_hooks, set_loader_next


@dataclass(frozen=True)
class Listeners:
    """What is called as a step runs.

    Attributes:
        batch: gets what a DataLoader returned.
        output: gets an outermost module and what it returned (None where it raised).
        loss: gets what `backward` is called on, before it runs.
        gradients: gets, after it, the ids of the parameters whose gradients arrived, in order of accumulation.
        update: gets an optimizer that has stepped.
    """

    batch: Callable[[Value], None]
    output: Callable[[torch.nn.Module, Value], None]
    loss: Callable[[Value], None]
    gradients: Callable[[list[int]], None]
    update: Callable[[torch.optim.Optimizer], None]


class Hooks(AbstractContextManager["Hooks"]):
    """Installed while the context is open; they listen only while `listening` is set, on the thread that opened it."""

    def __init__(self, listeners: Listeners):
        self._listeners = listeners
        self._listening = False
        self._thread = threading.get_ident()
        self._parameters: list[RemovableHandle] = []
        self._arrived: list[int] = []
        self.watched: set[int] = set()  # ids of the parameters whose gradients are noted

    def __enter__(self) -> "Hooks":
        self._real_backward = torch.autograd.backward
        self._real_next = LoaderIterator.__next__
        torch.autograd.backward = self._around_backward()
        set_loader_next(self._around_next())
        self._optimizers = register_optimizer_step_post_hook(self._after_optimizer)
        return self

    def __exit__(self, *_: object) -> None:
        self.listening = False
        torch.autograd.backward = self._real_backward
        set_loader_next(self._real_next)
        self._optimizers.remove()
        self.watch_gradients(())

    @property
    def listening(self) -> bool:
        return self._listening

    @listening.setter
    def listening(self, value: bool) -> None:
        self._listening = value
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

    def _mine(self) -> bool:
        return self._listening and threading.get_ident() == self._thread

    # Only outermost calls matter: our global hook is away while one of them runs, and back when it returns.

    def _watch_modules(self, on: bool) -> None:
        if on:
            global_forward_pre_hooks()[id(self)] = self._before_module
        else:
            global_forward_pre_hooks().pop(id(self), None)

    def _before_module(self, module: torch.nn.Module, args: Value) -> None:
        if self._mine():
            self._watch_modules(False)
            self._call = module.register_forward_hook(self._after_module, always_call=True)

    def _after_module(self, module: torch.nn.Module, args: Value, output: Value) -> None:
        self._call.remove()
        self._watch_modules(True)
        self._listeners.output(module, output)

    def _after_optimizer(self, optimizer: torch.optim.Optimizer, args: Value, kwargs: Value) -> None:
        if self._mine():
            self._listeners.update(optimizer)

    def _around_backward(self) -> Callable[..., None]:
        real = self._real_backward

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
            if not self._mine():
                return real(tensors, *args, **kwargs)
            self._listeners.loss(tensors)
            self._arrived.clear()
            # A forward pass done once more for its activations (gradient checkpointing) is no forward of its own.
            self._watch_modules(False)
            try:
                real(tensors, *args, **kwargs)
            finally:
                self._watch_modules(True)
            self._listeners.gradients(self._arrived)

        return backward

    def _around_next(self) -> Callable[[LoaderIterator], Value]:
        real = self._real_next

        def __next__(iterator: LoaderIterator) -> Value:
            batch = real(iterator)
            if self._mine():
                self._listeners.batch(batch)
            return batch

        return __next__
