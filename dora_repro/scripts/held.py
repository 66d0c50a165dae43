"""Parameters that optimizers hold, and a model of which none asks for gradients where they should.

A model that was loaded for inference, as an adapter is by default, makes no graph: its first backward pass fails. The
training begins with its first forward pass all the same, and what differs is put back there.
"""

import weakref

import torch


class Held:
    """Knows the optimizers of a process."""

    def __init__(self) -> None:
        self._optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer was made."""
        self._optimizers.add(optimizer)

    def is_frozen(self, module: torch.nn.Module) -> bool:
        """Whether a module that is called is to be trained, by its mode and by an optimizer that holds parameters of
        it, and nothing that any optimizer holds asks for gradients."""
        if not (module.training and self._optimizers and torch.is_grad_enabled()):
            return False
        held = [parameter for optimizer in self._optimizers for parameter in _parameters(optimizer)]
        if any(parameter.requires_grad for parameter in held):
            return False
        own = {id(parameter) for parameter in module.parameters()}
        return any(id(parameter) in own for parameter in held)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
