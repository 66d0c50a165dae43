"""When a step of a script is over, told from its forward passes, backward passes and updates.

An update arms: a step is over when the next *training* forward pass begins (an outermost module in training mode, with
gradients, that has parameters), or, where a function of parameters is trained and no module is called, the next
backward pass. Who trains in eval mode (frozen statistics, a `train()` that was forgotten) is known by an update that no
forward pass in training mode came before: then those in eval mode count. What lies between belongs to the step: the
schedule, an evaluation, a checkpoint. Several optimizers that are not stepped at once make a step each.
"""

import torch


class Stepping:
    """Where a script is in its present step.

    Attributes:
        armed: whether the step has made its update.
        backwards: number of backward passes since the last update.
    """

    def __init__(self) -> None:
        self.armed, self.backwards = False, 0
        self._in_eval = False  # the script trains in eval mode
        self._seen = {False: False, True: False}  # forward passes with gradients since the last update, by mode

    def trains(self, module: torch.nn.Module) -> bool:
        """Whether calling it is a forward pass of training: not an evaluation, a loss function or an augmentation."""
        return (module.training or self._in_eval) and with_gradients(module)

    def called(self, module: torch.nn.Module) -> None:
        """An outermost module is called."""
        if with_gradients(module):
            self._seen[module.training] = True

    @property
    def ends_without_modules(self) -> bool:
        """Whether the step is over with a backward pass, or with gradients that are asked for: where no module was
        called since the update, else they are of an evaluation."""
        return self.armed and not any(self._seen.values())

    @property
    def ends_with_second_update(self) -> bool:
        """Whether the step is over with an update that is about to be made: what looked like an evaluation since the
        last one was the forward pass of a step."""
        return self.armed and self.backwards > 0 and self._seen[False] and not self._seen[True]

    def updated(self) -> None:
        """An optimizer has made its step."""
        if any(self._seen.values()):
            self._in_eval = not self._seen[True]
            self._seen = {False: False, True: False}
        self.armed, self.backwards = True, 0

    def over(self) -> None:
        """The step is over."""
        self.armed, self.backwards = False, 0

    def forget_evaluation(self) -> None:
        """What came before the first step was an evaluation."""
        self.backwards, self._seen[False] = 0, False


def with_gradients(module: torch.nn.Module) -> bool:
    """Whether calling it makes a graph to the parameters that it trains."""
    return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in module.parameters())
