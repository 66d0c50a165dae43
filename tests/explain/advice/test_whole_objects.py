"""Objects that are lost as a whole: saved as they are, or as what they hold where a function makes their class."""

import collections
import dataclasses

import numpy as np
import pytest
import torch

from dora_repro.driving.stepwise import stepwise
from dora_repro.explain.advice.lost_state import LostState
from dora_repro.explain.advice.whole_objects import whole_object
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs

Shown = collections.namedtuple("Shown", "value")


def made(kind):
    """Objects of a class that is made here, and the class."""

    @dataclasses.dataclass
    class Data:
        value: object

    entry = collections.namedtuple("entry", "value")

    class Nested:
        def __init__(self, value):
            self.inner = Data(value)

    kinds = {"dataclass": Data, "namedtuple": entry, "nested": Nested, "of a module": Shown}
    return kinds[kind]


class Run(runs.Plain):
    def __init__(self, kind, holder, value=1.5):
        super().__init__()
        self.kind = made(kind)
        self.held = holder(self.kind(value) for _ in range(3))


def advised(run, paths, loaded=None):
    saved = Snapshot.capture(run_roots(run))
    return whole_object(LostState(paths, saved, saved.kinds, loaded=loaded))


@pytest.mark.parametrize(
    ("kind", "taken", "given"),
    [("dataclass", "dict(vars(each))", "**each"), ("namedtuple", "tuple(each)", "*each")],
)
def test_what_objects_of_a_local_class_hold_is_saved_and_they_are_made_of_it(kind, taken, given):
    save = f'state["held"] = [{taken} for each in self.held]'
    again = f'self.kind({given}) for each in state["held"]'
    for holder, there, gone in (
        (list, [f"self.held[:] = [{again}]"], [f"self.held = [{again}]"]),
        (
            lambda items: collections.deque(items, 8),
            ["self.held.clear()", f"self.held.extend({again})"],
            [f"self.held = collections.deque(({again}), maxlen=8)"],
        ),
        (tuple, [f"self.held = tuple({again})"], [f"self.held = tuple({again})"]),
    ):
        run = Run(kind, holder)
        whole = Snapshot.capture(run_roots(run))
        found = advised(run, ("held/1",), whole)
        assert (found.save, list(found.load)) == ((save,), there)
        assert list(advised(run, ("held/1",)).load) == gone
        assert "made by made() while it runs" in found.sentence or kind == "namedtuple"
        assert "no file can name it" in found.sentence and "weights_only" not in found.sentence


def test_one_object_alone_is_saved_by_its_own_name_and_arrays_need_another_way_of_reading():
    run = Run("namedtuple", list)
    run.last = run.kind(np.ones(2))
    found = advised(run, ("last",))
    assert (found.save, found.load) == (
        ('state["last"] = tuple(self.last)',),
        ('self.last = self.kind(*state["last"])',),
    )
    assert "weights_only=False" in found.sentence


def test_what_takes_more_than_a_line_is_told_in_words():
    for run in (Run("nested", list), Run("dataclass", list, lambda: 1)):
        run.mixed = [run.kind(1), Shown(2)]
        found = advised(run, ("mixed/0",))
        assert found.save == found.load == () and "no file can name it" in found.sentence
    assert advised(Run("nested", list), ("held/0",)).load == ()


def test_objects_of_a_module_s_class_are_saved_whole():
    found = advised(Run("of a module", list), ("held/0",))
    assert found.save == ('state["held"] = self.held',) and "needs its class to be there" in found.sentence


def remembers(out):
    entry = collections.namedtuple("entry", "value")
    memory = collections.deque([entry(1), entry(2)], maxlen=4)
    model = torch.nn.Linear(2, 1)
    while True:
        memory.append(entry(model(torch.ones(2)).sum().item()))


def test_a_function_s_own_class_is_named_by_its_variable():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    run = stepwise(remembers, "{out}")()
    found = advised(run, ("remembers/memory/0",), Snapshot.capture(run_roots(run)))
    assert found.load == ("memory.clear()", 'memory.extend(entry(*each) for each in state["memory"])')
    assert "made by remembers() while it runs" in found.sentence
