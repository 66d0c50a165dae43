"""The coarsest thing that was lost is what is saved, and no more than was lost; the lines are run."""

import sys

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from dora_repro.checks.checks import check
from dora_repro.explain.advice.advice import advise
from dora_repro.state.frames import Running
from dora_repro.state.snapshot import Snapshot, run_roots


class Training:
    """Saves its model alone. `factor` is what a subclass computes from state that is lost."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.inputs = torch.randn(8, 4)
        self.set_up()

    def step(self):
        self.optimizer.zero_grad()
        loss = (self.model(self.inputs) - self.factor()).square().mean()
        loss.backward()
        self.optimizer.step()
        self.after()
        return loss.item()

    def set_up(self): ...
    def after(self): ...

    def save(self, path):
        torch.save({"model": self.model.state_dict()}, path)

    def load(self, path):
        self.model.load_state_dict(torch.load(path)["model"])


class Meter:
    """Keeps its own state, under names of its own; one of them is a method's."""

    def __init__(self):
        self._total, self.count = 0.0, 0

    def mean(self):
        return self._total / max(self.count, 1)

    def update(self, value):
        self._total, self.count = self._total + value, self.count + 1

    def state_dict(self):
        return {"total": self._total, "count": self.count}

    def load_state_dict(self, state):
        self._total, self.count = state["total"], state["count"]


class Half(Meter):
    """Its state_dict leaves out a part."""

    def state_dict(self):
        return {"total": self._total, "count": 0}


class Metered(Training):
    meter_class = Meter

    def set_up(self):
        self.meter = self.meter_class()

    def factor(self):
        return 1 + self.meter.mean() + self.meter.count

    def after(self):
        self.meter.update(0.5 * self.meter.count + 1)


class MeteredInPart(Metered):
    meter_class = Half


class Configured(Training):
    """A configuration with a path in it, of which one entry counts."""

    def set_up(self):
        self.config = {"save_path": "/here", "name": "a run", "width": 4, "fade": 1.0}

    def factor(self):
        return self.config["fade"]

    def after(self):
        self.config["fade"] *= 0.9


class Averaging(Training):
    """A dict of many tensors."""

    def set_up(self):
        self.shadow = {f"{number}.weight": torch.zeros(2) for number in range(30)}

    def factor(self):
        return 1 + sum(self.shadow.values()).sum().item()

    def after(self):
        for number, tensor in enumerate(self.shadow.values()):
            tensor.add_(0.01 * (number + 1))


class Pooled(Training):
    """A list that is empty at first, and that something else holds, too."""

    def set_up(self):
        self.pool = []
        self.reader = type("Reader", (), {})()
        self.reader.pool = self.pool

    def factor(self):
        return 1 + sum(value.sum().item() for value in self.reader.pool)

    def after(self):
        self.pool.append(self.model.weight.detach().clone())


class Scaled(Training):
    """A GradScaler under a name that says nothing."""

    def set_up(self):
        self.amp = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    def step(self):
        self.optimizer.zero_grad()
        loss = (self.model(self.inputs) - self.amp.get_scale() / 8).square().mean()
        self.amp.scale(loss).backward()
        self.amp.step(self.optimizer)
        self.amp.update()
        return loss.item()


class Scheduled(Training):
    """Two schedules in turn, each under a name of its own, too; the schedule of all is what has both."""

    def set_up(self):
        self.cosine = CosineAnnealingLR(self.optimizer, 9)
        self.warmup = LinearLR(self.optimizer, 0.5, total_iters=2)
        self.over_all = SequentialLR(self.optimizer, [self.warmup, self.cosine], [2])

    def factor(self):
        return 1

    def after(self):
        self.over_all.step()

    def save(self, path):
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, path)

    def load(self, path):
        super().load(path)
        self.optimizer.load_state_dict(torch.load(path)["optimizer"])


@pytest.mark.parametrize(
    ("factory", "save", "load"),
    [
        (Metered, ['state["meter"] = self.meter.state_dict()'], ['self.meter.load_state_dict(state["meter"])']),
        (
            MeteredInPart,
            ['state["meter/_total"] = self.meter._total', 'state["meter/count"] = self.meter.count'],
            ['self.meter._total = state["meter/_total"]', 'self.meter.count = state["meter/count"]'],
        ),
        (Configured, ['state["config/fade"] = self.config["fade"]'], ['self.config["fade"] = state["config/fade"]']),
        (
            Averaging,
            ["import copy", 'state["shadow"] = copy.deepcopy(self.shadow)'],
            ["import copy", "self.shadow.clear()", 'self.shadow.update(copy.deepcopy(state["shadow"]))'],
        ),
        (
            Pooled,
            ["import copy", 'state["pool"] = copy.deepcopy(self.pool)'],
            ["import copy", 'self.pool[:] = copy.deepcopy(state["pool"])'],
        ),
        (
            Scheduled,
            ['state["over_all"] = self.over_all.state_dict()'],
            ['self.over_all.load_state_dict(state["over_all"])'],
        ),
        (Scaled, ['state["amp"] = self.amp.state_dict()'], ['self.amp.load_state_dict(state["amp"])']),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_saved_is_the_coarsest_thing_that_was_lost(factory, save, load):
    found = check(factory, 6, 3, in_process=True).explanation
    assert sorted(found.lines.save) == save
    assert [line for _, line in found.lines.load] == load or sorted(line for _, line in found.lines.load) == load
    assert found.lines_tried.restores


def test_a_schedule_that_another_holds_is_saved_with_that_one():
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), 0.1)
    outer = SequentialLR(optimizer, [LinearLR(optimizer), CosineAnnealingLR(optimizer, 9)], [2])
    saved = Snapshot.capture({"main": Running(sys._getframe())})
    inner = "main/outer/_schedulers/1/last_epoch"
    advice = advise(inner, (inner,), "memory", saved)
    assert advice.save == ('state["outer"] = outer.state_dict()',)
    assert advice.load == ('outer.load_state_dict(state["outer"])',)
    plain = advise(inner, (inner,), "memory", saved, plain=True)  # where that did not do
    assert plain.load == (f'outer._schedulers[1].last_epoch = state["{inner.removeprefix("main/")}"]',)
    assert saved[inner].value == outer._schedulers[1].last_epoch


class Fixed:
    """Counts in a slot of its own; `count` is what a walk might read, and no line can assign."""

    @property
    def count(self):
        return 1

    def scale(self):
        return 2


def test_no_line_assigns_a_method_or_a_property_that_cannot_be_set():
    run = type("Run", (), {})()
    run.held = Fixed()
    run.held.__dict__.update(count=3, scale=4)  # as a reader of the state names them
    saved = Snapshot.capture(run_roots(run))
    for name, what in (("count", "a property of Fixed that cannot be set"), ("scale", "a method of Fixed")):
        advice = advise(f"held/{name}", (f"held/{name}",), "memory", saved)
        assert not advice.load and f"self.held.{name} is {what}" in advice.sentence


class TwoMeters(Training):
    """Two objects with a state_dict, and a number besides."""

    def set_up(self):
        self.meters, self.most = [Meter(), Meter()], 0

    def after(self):
        for meter in self.meters:
            meter.update(1.0)
        self.most += 1


def test_values_of_several_objects_are_saved_by_each_ones_own_state_dict():
    run, other = TwoMeters(), TwoMeters()
    run.after()
    saved = Snapshot.capture(run_roots(run))
    paths = ("meters/0/_total", "meters/1/count", "most")
    advice = advise("meters", paths, "memory", saved)
    assert advice.load == (
        'self.meters[0].load_state_dict(state["meters/0"])',
        'self.meters[1].load_state_dict(state["meters/1"])',
        'self.most = state["most"]',
    )
    state = {}
    for line in advice.save:
        exec(line, {"self": run, "state": state})
    for line in advice.load:
        exec(line, {"self": other, "state": state})
    assert [(meter._total, meter.count) for meter in other.meters] == [(1.0, 1)] * 2 and other.most == 1
