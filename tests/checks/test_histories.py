"""What only kept what it had and grew is a history; what was overwritten, dropped or grew by something else is none."""

import array
import io
import queue
from collections import Counter, deque

import numpy as np
import pytest
import torch

from dora_repro.checks.histories import Moments, histories
from dora_repro.state.snapshot import Snapshot


def text(*lines):
    made = io.StringIO()
    made.write("".join(f"{line}\n" for line in lines))
    return made


def waiting(*items):
    made = queue.Queue()
    for item in items:
        made.put(item)
    return made


def found(saved, end, loaded, ended, same_entries=True):
    sides = [Snapshot.capture({"h": held}) for held in (saved, end, loaded, ended)]
    ends = sides[1], sides[3]
    paths = [path for path in dict.fromkeys((*ends[0], *ends[1])) if path.startswith("h")]
    differing = [p for p in paths if not (p in ends[0] and p in ends[1] and ends[0][p].digest == ends[1][p].digest)]
    return bool(differing) and histories(differing, Moments(*sides), same_entries=same_entries) == differing


MADE = {
    "list": lambda *items: list(items),
    "deque": lambda *items: deque(items),
    "queue": waiting,
    "text": text,
    "string": lambda *items: "".join(map(str, items)),
    "bytes": lambda *items: bytearray(items),
    "array": lambda *items: array.array("d", items),
    "numpy": lambda *items: np.array(items, float),
    "tensor": lambda *items: torch.tensor(items, dtype=torch.float32),
    "set": lambda *items: set(items),
    "by step": lambda *items: {item: float(item) for item in items},
    "tensors": lambda *items: [torch.tensor(float(item)) for item in items],
    "counter": lambda *items: Counter(item % 2 for item in items),
    "bounded": lambda *items: deque(items, maxlen=4),
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_what_grew_by_the_same_from_another_beginning_is_a_history(made):
    assert found(made(1, 2, 3), made(1, 2, 3, 4, 5), made(), made(4, 5))
    assert found(made(1, 2, 3), made(1, 2, 3, 4, 5), made(1), made(1, 4, 5))


@pytest.mark.parametrize("name", [name for name in MADE if name != "counter"])
def test_what_grew_by_something_else_is_none(name):
    made = MADE[name]
    assert not found(made(1, 2, 3), made(1, 2, 3, 4, 5), made(), made(4, 6))
    assert not found(made(1, 2, 3), made(1, 2, 3), made(3, 2, 1), made(3, 2, 1)) or name in ("set", "by step")


@pytest.mark.parametrize("name", ["list", "string", "tensor", "by step", "tensors", "queue"])
def test_what_was_overwritten_or_dropped_is_none(name):
    made = MADE[name]
    assert not found(made(1, 2, 3), made(9, 2, 3, 4), made(), made(4))
    assert not found(made(1, 2, 3), made(2, 3, 4), made(1), made(4))


def test_a_count_that_differs_is_none():
    assert not found(Counter(a=3), Counter(a=5), Counter(), Counter(a=1))
    assert not found(Counter(a=3), Counter(a=1), Counter(a=2), Counter())


def test_numbers_of_any_other_dict_are_state():
    assert not found({"steps": 3}, {"steps": 5}, {"steps": 0}, {"steps": 2})


def test_lists_of_larger_tensors_are_state():
    def made(count):
        return [torch.full((3,), float(number)) for number in range(count)]

    assert not found(made(2), made(3), [], made(3)[2:])


def test_of_runs_that_differ_the_entries_may(made=MADE["list"]):
    assert found(made(1, 2), made(1, 2, 3), made(), made(9), same_entries=False)


@pytest.mark.parametrize(("one", "other"), [("warm-up", "main"), (b"ab", b"c"), (np.arange(3.0), np.arange(2.0))])
def test_a_value_that_nothing_grew_is_no_history_whatever_its_length(one, other):
    reference, resumed = (Snapshot.capture({"phase": value}) for value in (one, other))
    moments = Moments(reference, reference, resumed, resumed)
    assert histories(["phase"], moments, same_entries=True) == []


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("string", "text", "bytes", "set", "counter")])
def test_an_entry_that_loading_changed_is_no_lost_beginning(name):
    made = MADE[name]
    assert not found(made(1, 2, 3), made(1, 2, 3, 4), made(1, 2, 9), made(1, 2, 9, 4)) or name == "by step"
    assert not found(made(1, 2, 3), made(1, 2, 3, 4), made(3, 2), made(3, 2, 4)) or name == "by step"
    assert found(made(1, 2, 3), made(1, 2, 3, 4), made(1, 3), made(1, 3, 4))
    assert found(made(1, 2), made(1, 2, 4), made(0, 1, 2), made(0, 1, 2, 4))


def test_a_loss_of_a_step_that_loading_changed_is_no_history():
    assert not found({"1": 0.5, "2": 0.25}, {"1": 0.5, "2": 0.25, "3": 0.1}, {"2": 0.75}, {"2": 0.75, "3": 0.1})
    assert found({"1": 0.5, "2": 0.25}, {"1": 0.5, "2": 0.25, "3": 0.1}, {"2": 0.25}, {"2": 0.25, "3": 0.1})


def test_a_count_that_loading_raised_here_and_lowered_there_is_no_history():
    assert not found(Counter(a=3, b=1), Counter(a=5, b=1), Counter(a=2, b=2), Counter(a=4, b=2))
    assert found(Counter(a=3, b=1), Counter(a=5, b=1), Counter(a=2), Counter(a=4))


def test_members_that_loading_exchanged_are_no_history():
    assert not found({1, 2}, {1, 2, 4}, {1, 9}, {1, 9, 4})


def test_lines_of_text_may_say_that_a_run_was_resumed():
    assert found(text("begun", 1), text("begun", 1, 2), text("resumed"), text("resumed", 2))
    assert found(["begun", 1.5], ["begun", 1.5, 2.5], ["resumed", 1.5], ["resumed", 1.5, 2.5])


def test_which_parameters_an_optimizer_steps_is_no_history():
    layers = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    some, every = ([*layers[0].parameters()], [p for layer in layers for p in layer.parameters()])
    sides = [torch.optim.SGD(parameters, lr=0.1) for parameters in (some, some, every, every)]
    moments = Moments(*(Snapshot.capture({"h": each, "a": layers[0], "b": layers[1]}) for each in sides))
    path = "h/group.0/params"
    assert moments.saved[path].value != moments.loaded[path].value
    assert histories([path], moments, same_entries=False) == []
