"""Which variables a function gives another value before it reads them, where it waits; every doubt keeps one."""

import sys
from contextlib import nullcontext, suppress

import pytest

from dora_repro.state.liveness import overwritten, overwritten_at


def at(generator, times=1):
    """The variables that are overwritten where a generator waits."""
    for _ in range(times):
        next(generator)
    return set(overwritten(generator.gi_frame))


def loops(rounds):
    total, last, kept = 0, None, 1
    for number in range(rounds):
        batch = number * 2
        yield
        loss = batch + kept
        total += loss
        for group in [1, 2]:
            last = group
        mean = total / rounds
        print(mean)
    return total, last


def test_what_the_next_round_gives_a_new_value_is_overwritten_and_what_it_adds_to_is_not():
    assert at(loops(3), 2) == {"number", "loss", "group", "mean"}


def test_what_may_be_read_after_the_loop_is_kept():
    def train():
        loss = 0
        for number in range(3):
            yield
            if number:
                loss = number
        print(loss)

    assert at(train(), 2) == set()


def test_what_lies_on_the_stack_of_the_waiting_statement_is_kept():
    def train():
        ahead, other = 1, 2
        while True:
            pair = (ahead, other, (yield))
            ahead = other = pair[2]

    assert at(train(), 2) == {"pair"}


def test_what_the_waiting_statement_gives_a_value_is_overwritten_unless_it_adds_to_it():
    def train():
        mean = total = 0
        while True:
            mean = yield
            print(mean)
            total += (yield) or 0

    assert at(train()) == {"mean"} and at(train(), 2) == {"mean"}


def handled(manager):
    value = seen = 0
    while True:
        yield
        with manager():
            value = int("1")
        seen = value
        print(seen)


def test_an_exception_may_read_what_was_there_before():
    def train():
        value = other = 0
        while True:
            yield
            try:
                value = int("1")
                other = value
            except ValueError:
                print(value)
            print(other)

    assert at(train(), 2) == set()
    assert at(handled(nullcontext), 2) == {"value", "seen"}


def test_a_manager_that_swallows_exceptions_keeps_what_its_block_sets():
    def train():
        value = 0
        while True:
            yield
            with suppress(ValueError):
                value = int("1")
            print(value)

    assert at(train(), 2) == set()


def test_what_a_function_inside_shares_is_kept_and_all_where_variables_are_looked_up():
    def shares():
        value = other = 0
        while True:
            yield
            value = other = 1
            (lambda: value)()
            print(other)

    def looks():
        value = 0
        while True:
            yield
            value = len(locals())
            print(value)

    def frames():
        value = 0
        while True:
            yield
            value = sys._getframe()
            print(value)

    def evaluates(model):
        value = 0
        while True:
            yield
            value = model.eval()
            print(value)

    assert (at(shares(), 2), at(looks(), 2), at(frames(), 2)) == ({"other"}, set(), set())
    assert at(evaluates(type("M", (), {"eval": lambda self: 1})()), 2) == {"value"}


def test_without_source_nothing_is_said():
    space = {}
    exec("def train():\n    value = 0\n    while True:\n        yield\n        value = 1\n", space)
    assert at(space["train"](), 2) == set()


@pytest.mark.parametrize("frame", [sys._getframe()])
def test_of_a_module_nothing_is_said(frame):
    assert overwritten(frame) == frozenset()


SCRIPT = """
import sys
lose, rate, told = "", 0.5, 1
for argument in sys.argv[1:]:
    try:
        argument = eval(argument)
    except NameError:
        pass
    globals()[argument] = argument
config = {name: globals()[name] for name in ("lose", "rate")}

def read():
    return told

number = count = 0
while number < 3:
    if number % 2 == 0:
        losses = [number]
        best = min(losses)
        told = best
    passed()
    loss = number + rate
    count += loss
    for index in range(2):
        last = index
    number += 1
    MORE
print(best, count)
"""


def of_script(folder, more="pass"):
    """The variables of a script that are overwritten where it has called `passed` for the last time."""
    path, found = folder / "script.py", []
    text = SCRIPT.replace("MORE", more)
    path.write_text(text, encoding="utf-8")

    def passed():
        frame = sys._getframe(1)
        found.append(overwritten_at(frame.f_code, frame.f_lasti, frame.f_lineno))
        assert overwritten(frame) == found[-1]

    exec(compile(text, str(path), "exec"), {"__name__": "__main__", "passed": passed})
    return found[-1]


def test_of_a_script_what_it_gives_a_new_value_is_overwritten_and_what_it_or_its_functions_read_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["script.py"])
    found = of_script(tmp_path)
    assert {"losses", "loss", "last", "index"} <= found
    assert not {"best", "told", "number", "count", "rate"} & found


@pytest.mark.parametrize("more", ["print(globals())", "exec('pass')", "[vars() for _ in range(2)]"])
def test_a_script_that_looks_its_variables_up_in_its_loop_keeps_them_all(tmp_path, monkeypatch, more):
    monkeypatch.setattr(sys, "argv", ["script.py"])
    assert of_script(tmp_path, more) == frozenset()


def test_a_script_whose_functions_look_variables_up_keeps_them_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py"])
    text = SCRIPT.replace("    return told", "    return globals()['losses']")
    monkeypatch.setitem(globals(), "SCRIPT", text)
    assert of_script(tmp_path) == frozenset()
