"""When a step of a script is over, told from its forward passes, backward passes and updates.

An update arms: a step is over when the next *training* forward pass begins (an outermost module in training mode, with
gradients, that has parameters), or, where a function of parameters is trained and no module is called, the next
backward pass. What lies between belongs to the step: the schedule, an evaluation, a checkpoint. Several optimizers that
are not stepped at once make a step each.

A forward pass in eval mode, with gradients, is of an evaluation or of a training with frozen statistics: which of both
is known when a second update comes with none in training mode before it. Then the step was over where the last of them
began that may have been the first of a step: after the update, after a checkpoint, with a batch of another iterator.

A forward pass in training mode begins a step, unless a checkpoint is written before any backward pass: samples were
drawn from a generator, say. The step begins after the checkpoint then, as it does for who resumes from it.
"""

import torch


class Stepping:
    """Where a script is in its present step.

    Attributes:
        armed: whether the step has made its update.
        backwards: number of backward passes since the last update.
        marked: whether a forward pass in eval mode has begun since the last update, which may be the next step's.
    """

    def __init__(self) -> None:
        self.armed, self.backwards, self.marked = False, 0, False
        self._asked = False  # gradients were asked for since the last update
        self._source: int | None = None  # of the batch that was in hand at the mark
        self._seen = {False: False, True: False}  # forward passes with gradients since the last update, by mode

    def trains(self, module: torch.nn.Module) -> bool:
        """Whether calling it is a forward pass of training: not an evaluation, a loss function or an augmentation."""
        return module.training and with_gradients(module)

    def may_train(self, module: torch.nn.Module) -> bool:
        """Whether calling it is a forward pass of training if an update follows."""
        return not module.training and with_gradients(module)

    def may_begin(self, source: int | None, wrote: bool) -> bool:
        """Whether a forward pass in eval mode that begins now may be the first one of the next step.

        Args:
            source: what the batch in hand is from; None where none is.
            wrote: whether a checkpoint was written since the last such pass.
        """
        if self.backwards or self._asked:
            return False
        return not self.marked or wrote or source not in (None, self._source)

    @property
    def untouched(self) -> bool:
        """Whether the step has made nothing but forward passes so far."""
        return not (self.armed or self.backwards or self._asked)

    def mark(self, source: int | None) -> None:
        """A forward pass begins that may be the first one of the next step."""
        self.marked, self._source = True, source

    def called(self, module: torch.nn.Module) -> None:
        """An outermost module is called."""
        if with_gradients(module):
            self._seen[module.training] = True

    def asked(self) -> None:
        """Gradients are asked for."""
        self._asked = True

    @property
    def ends_without_modules(self) -> bool:
        """Whether the step is over with a backward pass, or with gradients that are asked for: where no module was
        called since the update, else they are of an evaluation."""
        return self.armed and not any(self._seen.values())

    @property
    def ended_at_mark(self) -> bool:
        """Whether the step was over at the mark, where an update is being made: what looked like an evaluation was the
        forward pass of a step."""
        passed = self.backwards > 0 or self._asked
        return self.armed and self.marked and passed and not self._seen[True]

    def updated(self) -> None:
        """An optimizer has made its step."""
        self._seen = {False: False, True: False}
        self.armed, self.backwards, self._asked, self.marked = True, 0, False, False

    def over(self) -> None:
        """The step is over."""
        self.armed, self.backwards, self._asked, self.marked = False, 0, False, False

    def forget_evaluation(self) -> None:
        """What came before the first step was an evaluation."""
        self.backwards, self._asked, self._seen[False] = 0, False, False


def with_gradients(module: torch.nn.Module) -> bool:
    """Whether calling it makes a graph to the parameters that it trains."""
    return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in module.parameters())
