"""What no line of the user's can set: told in place of lines."""

import pytest
import torch
from torch import nn

from dora_repro.explain.advice.reach import Reach
from dora_repro.state.snapshot import Snapshot, run_roots


class Schedule(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer):
        self._own = 3
        super().__init__(optimizer)

    def get_lr(self):
        return [group["lr"] for group in self.optimizer.param_groups]


def turns(count):
    turn = 0
    while turn < count:
        yield turn
        turn += 1


class Run:
    def __init__(self):
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.theirs = torch.optim.lr_scheduler.StepLR(self.optimizer, 3)
        self.mine = Schedule(self.optimizer)
        self._count = 5
        self.loop = turns(3)
        next(self.loop)


@pytest.fixture(scope="module")
def saved():
    return Snapshot.capture(run_roots(Run()))


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        ("theirs/_step_count", "self.theirs._step_count = 1", "`theirs/_step_count` is private to StepLR (torch)."),
        ("mine/_step_count", "self.mine._step_count = 1", "`mine/_step_count` is private to LRScheduler (torch)."),
        ("loop/turn", "turn = 1", "`turn` is a variable of looping's own function loop()."),
    ],
)
def test_what_belongs_to_a_library_gets_no_lines(saved, path, line, words):
    advice = Reach(saved, {"loop": "looping"}).advice((path,), (line,))
    assert advice.sentence.startswith(words) and not advice.save and not advice.load


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("theirs/_step_count", "self.theirs.load_state_dict(state)"),  # by the object's own means
        ("theirs/last_epoch", "self.theirs.last_epoch = 1"),
        ("mine/_own", "self.mine._own = 1"),  # a private attribute of the user's own
        ("_count", "self._count = 1"),
        ("loop/turn", "turn = 1"),
    ],
)
def test_what_is_the_users_own_or_is_public_keeps_its_lines(saved, path, line):
    assert Reach(saved, {}).advice((path,), (line,)) is None


def test_an_object_whose_methods_a_library_calls_is_named_with_its_class(saved, monkeypatch):
    reach = Reach(saved, {})
    assert reach.hooked("mine/_own") == ("", "")  # of torch, which calls no such methods
    monkeypatch.setattr("dora_repro.explain.advice.reach.sys.stdlib_module_names", frozenset())
    monkeypatch.setattr(torch.optim.lr_scheduler.LRScheduler, "__module__", "numpy.callbacks")
    assert reach.hooked("mine/_own") == ("mine", "Schedule") and reach.hooked("theirs/last_epoch") == ("", "")


def test_a_loader_that_only_a_library_can_name_is_not_reached(saved):
    reach = Reach(saved, {"loop": "looping"})
    assert not reach.reaches("loop/loader") and not reach.reaches("theirs/_loader") and reach.reaches("optimizer")
