"""What closures, default arguments and hooks hold: told to be moved, since no line reaches it."""

import pytest
import torch

from dora_repro import check
from dora_repro.faults import plain
from tests import runs


class Held(runs.Plain):
    """A mask that is drawn at the first step and a running mean in a closure; neither is saved."""

    def __init__(self):
        super().__init__()
        self.mask, self.smooth = None, self.smoothing()

    def smoothing(self):
        mean = 1.0

        def smooth(value):
            nonlocal mean
            mean = 0.5 * mean + 0.5 * value
            return mean

        return smooth

    def step(self):
        if self.mask is None:
            self.mask = torch.rand(3)
        self.targets = self.targets * self.smooth(0.5) * self.mask
        return super().step()

    def load(self, path):
        super().load(path)
        self.targets = self.targets * 0.5


def test_what_was_made_later_is_assigned_and_what_a_closure_holds_is_told_to_be_moved():
    causes = {cause.name: cause for cause in check(Held, 6, 3, in_process=True).causes}
    assert causes["mask"].how == "lost: None in its place; not in the checkpoint"
    assert causes["mask"].load == ('self.mask = state["mask"]',) and causes["mask"].advice == ()
    closed = causes["smooth/mean"]
    assert (closed.save, closed.load) == ((), ()) and "in the closure of `smooth`" in closed.advice[0]


class Seen:
    """Counts steps, and scales the inputs by that; a method of it is a hook of the optimizer."""

    def __init__(self):
        self.count = 0

    def see(self, *called):
        self.count += 1


class HookOfAnOptimizer(plain.Training):
    """What only a hook holds scales the inputs."""

    def make_optimizer(self):
        optimizer = super().make_optimizer()
        self.register(optimizer)
        return optimizer

    def register(self, optimizer):
        optimizer.register_step_post_hook(Seen().see)

    def loss(self, inputs, targets):
        hook = next(iter(self.optimizer._optimizer_step_post_hooks.values()))
        return super().loss(inputs * (1 + 0.1 * self.seen(hook)), targets)

    @staticmethod
    def seen(hook):
        return hook.__self__.count


class ClosureOfAHook(HookOfAnOptimizer):
    def register(self, optimizer):
        kept = {"count": 0}

        def see(*called):
            kept["count"] += 1

        optimizer.register_step_post_hook(see)

    @staticmethod
    def seen(hook):
        return hook.__closure__[0].cell_contents["count"]


class HookThatTheRunHolds(HookOfAnOptimizer):
    def register(self, optimizer):
        self.counted = Seen()
        optimizer.register_step_post_hook(self.counted.see)


@pytest.mark.parametrize(
    ("factory", "leaf", "words"),
    [
        (HookOfAnOptimizer, "optimizer/step_post_hooks.0/self/count", "`count`: kept by the hook"),
        (ClosureOfAHook, "optimizer/step_post_hooks.0/kept/count", "`kept`: in the closure of"),
        (HookThatTheRunHolds, "counted/count", ""),
    ],
)
def test_what_a_hook_keeps_is_named_and_told_to_be_moved_where_no_line_reaches_it(factory, leaf, words):
    report = check(factory, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == (leaf,)
    assert any(words in sentence for sentence in cause.advice) or not words
    assert bool(cause.load) is not bool(words), "a line where the run itself holds the object"


def halved(gradient):
    return gradient / 2


class HookOnTheWay(plain.ConstantRate):
    """Registers a hook in its second step."""

    def after_update(self):
        if self.steps == 1:
            self.model[0].weight.register_hook(halved)


def test_a_hook_that_is_lost_is_named_with_its_function_and_told_to_be_registered():
    report = check(HookOnTheWay, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.name == "model/0.weight/backward_hooks.0" and not cause.load
    assert cause.advice[0].startswith("The hook `model/0.weight/backward_hooks.0` (halved) is registered")


def filled(value, held=[]):  # noqa: B006  # what the test is about
    held.append(value)
    return len(held)


class FilledDefault(plain.Training):
    def __init__(self):
        filled.__defaults__[0].clear()
        super().__init__()

    def loss(self, inputs, targets):
        return super().loss(inputs, targets) * filled(1)


def test_a_default_argument_is_told_to_be_moved():
    report = check(FilledDefault, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == ("globals.filled/held=",)
    assert "`held`: a default argument of `globals.filled`" in cause.advice[0] and not cause.load
