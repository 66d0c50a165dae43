"""A schedule that another holds has that one's name: saving the outer one saves both."""

import sys

import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, LinearLR, LRScheduler, SequentialLR, StepLR

from dora_repro.state.frames import Running
from dora_repro.state.schedules import held_by_others
from dora_repro.state.walk import walk


class Warm(LRScheduler):
    """A schedule of the user's, which goes over to another one."""

    def __init__(self, optimizer, then):
        self.then = then
        super().__init__(optimizer)

    def get_lr(self):
        return [group["lr"] for group in self.optimizer.param_groups]


class Parts:
    def __init__(self):
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.a, self.b = LinearLR(self.optimizer, 0.5), StepLR(self.optimizer, 3)


def test_those_inside_are_told_directly_and_through_others():
    run = Parts()
    both = SequentialLR(run.optimizer, [run.a, run.b], [2])
    chained = ChainedScheduler([both, ConstantLR(run.optimizer)], run.optimizer)
    assert held_by_others([run.a, run.b, run.optimizer, None]) == set()
    assert held_by_others([both]) >= {id(run.a), id(run.b)}
    assert held_by_others([chained]) >= {id(both), id(run.a), id(run.b)}
    assert id(run.b) in held_by_others([Warm(run.optimizer, run.b)])


def test_two_that_hold_each_other_end_the_search():
    run = Parts()
    one, other = Warm(run.optimizer, None), Warm(run.optimizer, None)
    one.then, other.then = other, one
    assert held_by_others([one, other]) == {id(one), id(other)}


def test_a_run_s_attributes_are_named_by_the_one_that_saves_them():
    run = Parts()
    run.z = SequentialLR(run.optimizer, [run.a, run.b], [2])
    live = dict(walk(vars(run)).items())
    assert "z/_schedulers/1/last_epoch" in live and "b/last_epoch" not in live
    assert live["b"].value == "= z/_schedulers/1"


def test_so_are_a_function_s_variables():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    warmup, rest = LinearLR(optimizer, 0.5), StepLR(optimizer, 3)
    scheduler = SequentialLR(optimizer, [warmup, rest], [2])
    live = dict(walk({"f": Running(sys._getframe())}).items())
    assert "f/scheduler/_schedulers/0/last_epoch" in live and "f/warmup/last_epoch" not in live
    assert live["f/rest"].value == "= f/scheduler/_schedulers/1"
    assert live["f/scheduler/last_epoch"].value == scheduler.last_epoch
