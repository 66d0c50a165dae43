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
from tests.evidence import snapshot


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


def at_moments(*sides, same_entries=True, kinds=None):
    """Whether `h` is a history, where a side holds a value, a (value, role), or None for nothing."""
    made = (snapshot({} if held is None else {"h": held}, kinds) for held in sides)
    return histories(["h"], Moments(*made), same_entries=same_entries) == ["h"]


@pytest.mark.parametrize("entries", [[1.5, 2.5, 3.5], "abc", b"abc", {1, 2, 3}, np.arange(3.0), torch.arange(3.0)])
def test_a_history_may_be_missing_after_loading(entries):
    begun, new = ({1, 2}, {3}) if isinstance(entries, set) else (entries[:2], entries[2:])
    assert at_moments(begun, entries, None, new)
    assert at_moments(None, entries, None, entries)
    assert not at_moments(begun, entries, None, begun)
    assert not at_moments(begun, entries, new, None) and not at_moments(begun, None, new, new)


def test_what_is_of_another_type_on_one_side_is_none():
    assert not at_moments([1.5], [1.5, 2.5], "a", "ab", same_entries=False)
    assert not at_moments([1.5], [1.5, 2.5], [1.5], "ab", same_entries=False)
    assert not at_moments((1, 2), (1, 2, 3), (1,), (1, 3)) and not at_moments(1, 2, 0, 1)


def test_a_list_of_other_things_is_not_one_that_is_missing():
    numbers, modules = [1.5, 2.5], [torch.nn.Linear(1, 1)]
    sides = [Snapshot.capture({"h": held}) for held in (numbers, [*numbers, 3.5], modules, modules)]
    assert histories(["h"], Moments(*sides), same_entries=False) == []


def test_members_that_only_one_side_had_to_add_are_a_history_and_dropped_ones_are_not():
    assert found({1, 2}, {1, 2, 3}, {1, 2, 3, 4}, {1, 2, 3, 4})
    assert not found({1, 2}, {1, 2}, {1}, {1})
    assert not found({1, 2}, {2, 3}, set(), {3})
    assert not found({1, 2}, {1, 2, 3}, {1}, {3})
    assert at_moments({0, 8, 3}, {0, 8, 3, 4}, {8, 0}, {8, 0, 4})  # members have no order


def test_texts_that_nothing_grew_are_a_history_where_some_are_missing():
    assert not found(["a"], ["a"], ["b"], ["b"])
    assert not found(["a", "b"], ["a", "b"], ["b", "c"], ["b", "c"])
    assert found(["a", "b"], ["a", "b"], ["c"], ["c"])
    assert found(["a"], ["a", "x"], ["b"], ["b"], same_entries=False)
    assert found(["a"], ["a"], ["b"], ["b", "x"], same_entries=False)


@pytest.mark.parametrize("made", ["string", "bytes", "numpy", "tensor"])
def test_a_value_that_grew_on_one_side_alone_is_none(made):
    made = MADE[made]
    assert not found(made(1, 2), made(1, 2), made(1), made(1, 5), same_entries=False)
    assert not found(made(1, 2), made(1, 2, 5), made(1), made(1), same_entries=False)


def test_what_the_resumed_run_overwrote_is_none_whatever_steps_it_did():
    assert not found([1.5, 2.5], [1.5, 2.5, 3.5], [1.5], [5.5, 6.5], same_entries=False)
    assert not found([1.5, 2.5], [5.5, 6.5, 7.5], [1.5], [1.5, 6.5], same_entries=False)


def test_bytes_may_begin_in_any_way_as_lines_do():
    assert at_moments(b"begun", b"begun1", b"resumed", b"resumed1")
    assert not at_moments(b"begun", b"begun1", b"resumed", b"resumed2")


def test_a_bounded_deque_lets_its_oldest_go_and_takes_the_same():
    def kept(*items):
        return deque(map(float, items), maxlen=3)

    assert found(kept(1, 2, 3), kept(2, 3, 4), kept(3), kept(3, 4))
    assert found(kept(1, 2, 3), kept(3, 4, 5), kept(), kept(4, 5))
    assert not found(kept(1, 2, 3), kept(2, 3, 4), kept(3), kept(3, 5))
    assert not found(kept(1, 2, 3), kept(2, 3, 4), kept(3), kept(4))
    assert not found(kept(1, 2, 3), kept(3, 2, 4), kept(3), kept(3, 4))
    assert not found(kept(1, 2, 3), kept(2, 3, 4), kept(3), kept(3, 4), same_entries=False)
    assert not found([1.5, 2.5, 3.5], [2.5, 3.5, 4.5], [3.5], [3.5, 4.5])  # nothing bounds a list


def test_parameters_scalars_and_masked_arrays_are_no_histories():
    def grown(*numbers):
        return torch.tensor(numbers)

    sides = grown(1.0), grown(1.0, 2.0), grown(), grown(2.0)
    assert at_moments(*sides)
    for role in ("parameter", "buffer", "moment"):
        assert not at_moments(*((side, role) for side in sides))
    assert not at_moments(*(torch.tensor(float(number)) for number in range(4)))
    assert not at_moments(*(np.ma.MaskedArray(side.numpy()) for side in sides))
    rows = [np.arange(2.0 * count).reshape(count, 2) for count in (1, 2)]
    assert at_moments(rows[0], rows[1], rows[0][:0], rows[1][1:])


# --- containers ------------------------------------------------------------------------------------------------------


def by_step(*numbers):
    return {str(number): number / 2 for number in numbers}


def test_a_dict_by_step_is_none_where_the_runs_did_other_steps_or_it_was_changed():
    begun, grown = by_step(1, 2), by_step(1, 2, 3)
    assert found(begun, grown, {}, by_step(3))
    assert not found(begun, grown, {}, by_step(3), same_entries=False)
    assert not found(begun, grown, {}, by_step(4))
    assert not found(begun, grown, {}, by_step(3, 4))
    assert not found(begun, grown, {}, {"3": 9.5})
    assert not found(begun, by_step(1, 2, 3, 4), {}, {"3": 1.5, "4": 9.5})
    assert not found(begun, begun, by_step(1), by_step(1))  # nothing new
    assert not found(begun, {**grown, "1": 9.5}, {}, by_step(3))
    assert not found(begun, by_step(2, 3), {}, by_step(3))
    assert not found(begun, grown, by_step(1), {"1": 9.5, **by_step(3)})
    assert not found(begun, grown, by_step(1), by_step(3))


def test_texts_by_step_may_differ_where_both_have_one():
    assert found({"0": "begun"}, {"0": "begun", "1": "x"}, {"0": "resumed"}, {"0": "resumed", "1": "x"})
    assert not found({"0": 1.5}, {"0": 1.5, "1": 2.5}, {"0": 3.5}, {"0": 3.5, "1": 2.5})


class Own(dict):
    pass


def test_containers_of_other_types_or_things_are_none():
    assert not found(Own(by_step(1, 2)), Own(by_step(1, 2, 3)), Own(), Own(by_step(3)))
    larger = {number: torch.full((2,), number / 2) for number in range(3)}
    assert not found({0: larger[0]}, {0: larger[0], 1: larger[1]}, {}, {1: larger[1]})
    assert not found({"1": {"a": 0.5}}, {"1": {"a": 0.5}, "2": {"a": 0.5}}, {}, {"2": {"a": 0.5}})
    assert not found(by_step(1), by_step(1, 2), {"x": larger[1]}, by_step(2))  # which was dropped later
    nested = {"n": {"a": 0.5}}
    assert not found({**by_step(1), **nested}, {**by_step(1, 2), **nested}, nested, {**by_step(2), **nested})
    weights = {number: torch.nn.Parameter(torch.tensor(number / 2)) for number in (1, 2)}
    assert not found({1: weights[1]}, weights, {}, {2: weights[2]})
    shared = torch.tensor(0.5)
    twice = {"0": shared, "2": shared}
    assert not found({"0": shared, **by_step(1)}, {**by_step(1), **twice}, {"0": shared}, twice)


def test_tensors_in_a_list_are_a_history_where_both_lists_grew_by_the_same():
    made = MADE["tensors"]
    assert not found(made(1, 2), made(1, 2), made(1), made(1))
    assert not found(made(1, 2), made(1, 2, 3), made(1), made(1, 3, 3))
    assert not found(made(1, 2), made(1, 2, 3, 4), made(1), made(1, 3))
    assert not found(made(1, 2), made(1, 5, 3), made(1), made(1, 3))
    assert not found(made(1, 2), made(1, 2, 3), made(1), made(5, 3))
    assert not found(made(1, 2, 3), made(1, 2), made(1, 2), made(1))  # both dropped one


def test_a_count_grew_by_the_same_in_whole_numbers():
    assert found(Counter(a=3), Counter(a=5, b=1), Counter(), Counter(a=2, b=1))
    assert found(Counter(a=1), Counter(a=3), Counter(a=2, b=1), Counter(a=4, b=1))  # ahead in all that differs
    assert not found(Counter(a=3), Counter(a=3), Counter(a=1), Counter(a=1))
    assert not found(Counter(a=3), Counter(a=2), Counter(a=2), Counter(a=1))
    assert not found(Counter(a=3, b=2), Counter(a=5, b=1), Counter(a=1, b=2), Counter(a=3, b=1))
    assert not found(Counter(a=3.5), Counter(a=5.5), Counter(), Counter(a=2.0))
    assert not found(Counter(a=3.5, b=1), Counter(a=5.5, b=1), Counter(b=1), Counter(a=2.0, b=1))
    assert not found(Counter(a=3), Counter(a=5), Counter(a=1, b=1), Counter(a=3, b=1))
    assert found(Counter(a=1, c=2), Counter(a=3, c=2), Counter(a=2, c=2), Counter(a=4, c=2))
