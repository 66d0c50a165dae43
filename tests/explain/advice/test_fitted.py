"""Lines of advice in the words of the file that they go into."""

import random as rnd
from copy import deepcopy

import pytest
import torch as t
from torch import get_rng_state

from dora_repro import check
from dora_repro.explain.advice.expressions import code
from dora_repro.explain.advice.fitted import fitted, in_names_of
from dora_repro.explain.advice.lost_state import Advice
from dora_repro.sides.places import Place
from dora_repro.state.rebuild import VARIABLES, Kind

THERE = Place(
    "Run.save",
    "train",
    {"numpy.random": "npr", "torch": "t", "copy.deepcopy": "deepcopy", "torch.get_rng_state": "current"},
    ["random"],
    "where",
    {"this": ""},
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('state["a"] = copy.deepcopy(self.a)', ['state["a"] = deepcopy(this.a)']),
        ('state["ä"] = np.random.get_state()', ['state["ä"] = npr.get_state()']),
        ('state["r"] = torch.get_rng_state()', ['state["r"] = current()']),
        ('torch.set_rng_state(state["r"])', ['t.set_rng_state(state["r"])']),
        ('random.setstate(state["p"])', ["import random as random_module", 'random_module.setstate(state["p"])']),
        (
            'self.d = collections.deque(state["d"])  # state: what x holds',
            ["import collections", 'this.d = collections.deque(state["d"])  # state: what x holds'],
        ),
        ("self.d.load_state_dict(state)", ["this.d.load_state_dict(state)"]),  # all that a file holds
        ('torch.save(more, f"{path}.more")', ['t.save(more, f"{where}.more")']),
        ('copy = state["copy"]', ['copy = state["copy"]']),  # a variable of that name
        ("global count; count = np.sum(self.x)", ["import numpy as np", "global count; count = np.sum(this.x)"]),
        ("load_state_dict(copy.deepcopy(…))", ["load_state_dict(copy.deepcopy(…))"]),
    ],
)
def test_a_line_uses_the_names_of_its_place_and_brings_the_imports_that_it_lacks(line, expected):
    assert list(in_names_of(THERE, [line])) == expected


def test_a_variable_of_another_module_is_reached_through_that_module():
    there = Place(names={"package.helpers": "h"}, modules=["package.helpers", "other"])
    lines = ('package.helpers.count = state["n"]', 'other.Kind.seen = state["s"]', 'another.x = state["x"]')
    assert in_names_of(there, lines) == ("import other", 'h.count = state["n"]', *lines[1:])


def test_a_variable_that_is_called_as_the_dict_is_elsewhere_is_not_taken_for_it():
    kinds = {"train": Kind(VARIABLES), "train/state": Kind("dict", (("scale", "scale"),), 1)}
    line = f'state["state/scale"] = {code("train/state/scale", kinds)}'
    assert in_names_of(Place(state="checkpoint"), [line]) == ('checkpoint["state/scale"] = state["scale"]',)
    assert in_names_of(None, [f"{code('train/state', kinds)}[...] = x"]) == ("state[...] = x",)


def test_an_import_that_several_lines_need_is_there_once_and_each_method_has_its_own():
    lines = ("a = np.x()", "b = np.y()")
    assert fitted(Advice(lines, lines), Place(), None) == Advice(("import numpy as np", *lines), lines)


class Run:
    """Keeps dropout, Python's generator and a list; saves none of these."""

    def __init__(self):
        t.manual_seed(0)
        rnd.seed(0)
        self.model = t.nn.Linear(3, 2)
        self.seen = deepcopy([0.5])
        self.start = get_rng_state()

    def step(self):
        loss = (self.model(t.randn(4, 3) + rnd.random()) - sum(self.seen[-2:])).square().mean()
        self.model.zero_grad()
        loss.backward()
        with t.no_grad():
            for parameter in self.model.parameters():
                parameter -= 0.1 * parameter.grad
        self.seen.append(loss.item() % 1)
        return loss.item()

    def save(self, filename):
        t.save({"model": self.model.state_dict()}, filename)

    def load(self, filename):
        self.model.load_state_dict(t.load(filename)["model"])


def test_advised_lines_are_tried_in_the_names_of_the_file():
    found = check(Run, 5, 3, in_process=True).explanation
    assert found.lines.save == (
        'state["seen"] = deepcopy(self.seen)',
        'state["rng/python"] = rnd.getstate()',
        'state["rng/torch.cpu"] = get_rng_state()',
    )
    assert [line for _, line in found.lines.load] == [
        'self.seen[:] = deepcopy(state["seen"])',
        'rnd.setstate(state["rng/python"])',
        't.set_rng_state(state["rng/torch.cpu"])',
    ]
    assert found.lines_tried.restores
