"""Functions that are half done: their variables are leaves, told apart by function, and set where it has begun."""

import pytest
import torch

from dora_repro.state.frames import set_variable
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk

greenlets = pytest.importorskip("greenlet", reason="functions are suspended in greenlets")


def hand_over():
    greenlets.getcurrent().parent.switch()


class Loop:
    """A run whose loop is a generator, with a cell, a tensor and a loop inside it."""

    def __init__(self):
        self.model = torch.nn.Linear(1, 1)
        self.loop = self.train()

    def patience(self):
        left = 9
        while True:
            left -= 1
            yield left

    def train(self, begin=10):
        best, history, average = begin, [], torch.zeros(2)

        def improve():
            nonlocal best
            best -= 1

        while True:
            improve()
            history.append(best)
            average = average + best
            left = yield from first(self.patience())
            yield best, list(history), average.tolist(), left

    def step(self):
        return next(self.loop), next(self.loop)


def first(generator):
    return (yield next(generator))


class Nested(Loop):
    """The same in functions that call each other in a greenlet."""

    def __init__(self):
        self.model = torch.nn.Linear(1, 1)
        self.loop = greenlets.greenlet(self.fit)
        self.given = None

    def fit(self):
        best = 10
        while True:
            best = self.epoch(best)

    def epoch(self, best):
        total = 0
        for value in range(best, best + 100):
            best = value
            total += best
            self.given = best, total
            hand_over()
        return best

    def step(self):
        self.loop.switch()
        return self.given


def after(kind, steps):
    run = kind()
    for _ in range(steps):
        run.step()
    return run


def captured(run) -> Snapshot:
    return Snapshot.capture(run_roots(run))


def test_variables_of_a_generator_are_leaves_and_are_set_cells_included():
    one, two = after(Loop, 6), after(Loop, 2)
    snapshot = captured(one)
    assert {"loop/best", "loop/history", "loop/average", "loop/begin", "loop/improve/best"} <= {*snapshot}
    assert snapshot["loop/self"].role == "alias" and str(snapshot["loop/self"].value) == "= the run"
    assert captured(two).restore(run_roots(two)) == {}  # what is as it was is not touched
    assert two.step() != one.step()
    one, two = after(Loop, 6), after(Loop, 2)
    assert captured(one).restore(run_roots(two)) == {}
    assert two.step() == one.step() and two.step() == one.step()


def test_a_generator_that_has_not_begun_takes_its_arguments_alone():
    snapshot, fresh = captured(after(Loop, 2)), Loop()
    failed = snapshot.restore(run_roots(fresh), ["loop/best", "loop/begin"])
    assert failed == {"loop/best": "train() has not begun: it has no variables yet"}

    other = Loop()
    other.loop = other.train(50)
    captured(other).restore(run_roots(fresh), ["loop/begin"])
    assert fresh.step() is not None and fresh.loop.gi_frame.f_locals["best"] == 49


def test_where_a_generator_stands_cannot_be_set_and_says_so():
    snapshot, live = captured(after(Loop, 1)), after(Loop, 1)
    next(live.loop)
    failed = snapshot.restore(run_roots(live), ["loop/(line)", "loop/(instruction)"])
    assert failed == dict.fromkeys(("loop/(line)", "loop/(instruction)"), "where a function stands cannot be set")


def test_a_generator_inside_another_has_the_name_of_its_function():
    run = Loop()
    next(run.loop)
    assert "loop/first()/generator/left" in captured(run)


def test_variables_of_functions_in_a_greenlet_go_by_the_function_and_are_set():
    one, two = after(Nested, 5), after(Nested, 5)
    snapshot = captured(one)
    assert {"loop/best", "loop/epoch()/best", "loop/epoch()/total", "loop/(position)"} <= {*snapshot}
    set_variable(frame_of(two.loop, "epoch"), "total", 1000)
    assert captured(two)["loop/epoch()/total"].value == 1000
    assert snapshot.restore(run_roots(two)) == {}
    assert two.step() == one.step()


def frame_of(greenlet, function):
    frame = greenlet.gr_frame
    while frame.f_code.co_name != function:
        frame = frame.f_back
    return frame


@pytest.mark.parametrize("steps", [0, 200])
def test_a_greenlet_that_is_not_half_done_says_so_and_stays(steps):
    class Short(Nested):
        def fit(self):
            hand_over()

    live = after(Short, min(steps, 2))
    failed = captured(after(Nested, 1)).restore(run_roots(live))
    assert "greenlet" in failed["loop"] and type(live.loop) is greenlets.greenlet


async def waits(numbers):
    total = 0
    async for number in numbers:
        total += number
    return total


async def gives(limit):
    number = 0
    while number < limit:
        number += 1
        await _turn()
        yield number


class _Turn:
    def __await__(self):
        yield


def _turn():
    return _Turn()


def test_coroutines_and_async_generators_are_read_and_set():
    def begun(turns):
        numbers = gives(5)
        total = waits(numbers)
        for _ in range(turns):
            total.send(None)
        return {"total": total, "numbers": numbers}

    def ended(coroutine):
        try:
            while True:
                coroutine.send(None)
        except StopIteration as stop:
            return stop.value

    one, two, untouched = begun(4), begun(2), begun(2)
    snapshot = Snapshot.capture({"held": one})
    assert snapshot["held/total/total"].value == 6
    assert snapshot.restore({"held": two}, ["held/total/total"]) == {}
    assert ended(untouched["total"]) == 15
    assert ended(two["total"]) == 15 - 1 + 6
    ended(one["total"])


def test_a_variable_that_the_function_does_not_have_is_refused():
    other = Loop()
    other.loop = (number for number in range(3))
    next(other.loop)
    failed = captured(other).restore(run_roots(after(Loop, 1)), ["loop/number"])
    assert failed == {"loop/number": "train() has no variable 'number'"}


def test_reading_frames_changes_nothing():
    one, two = after(Loop, 3), after(Loop, 3)
    for _ in range(3):
        walk(run_roots(one))
        captured(one)
        assert one.step() == two.step()


class Named:
    """Variables whose names and order might mislead: `line` and `position`, one that is bound late, a kept file."""

    def __init__(self, read=False):
        self.model = torch.nn.BatchNorm1d(1)
        self.loop = greenlets.greenlet(self.fit)
        self.loop.switch(read)

    def fit(self, read):
        line, position, mean = 3, 4, self.model.running_mean
        if read:
            file = {"fixed": torch.ones(2)}
            fixed = file["fixed"]
        else:
            fixed = torch.ones(2)
        while True:
            hand_over()
            if mean.item():
                old = fixed + line + position
                shown = old
            else:
                shown = fixed + line
            mean.add_(len(shown))

    def step(self):
        self.loop.switch()


def test_the_names_of_variables_depend_on_the_code_and_not_on_who_looked_when():
    one, two = Named(), Named()
    for _ in range(2):
        one.step(), two.step()
        captured(two)  # the first time, `old` has no value yet
    assert [*captured(one)] == [*captured(two)]
    assert {"loop/line", "loop/position", "loop/(position)"} <= {*captured(one)}
    assert captured(one)["loop/line"].value == 3
    assert captured(one)["loop/shown"].value == captured(two)["loop/shown"].value == "= loop/old"


def test_a_tensor_of_a_function_has_its_name_though_the_file_it_came_from_is_kept():
    one, two = (captured(Named(read)) for read in (False, True))
    assert one["loop/fixed"].digest == two["loop/fixed"].digest
    assert two["loop/file/fixed"].value == "= loop/fixed"
    assert one["loop/mean"].value == "= model/running_mean", "a buffer has the name that its module gives it"


def test_what_a_loop_over_a_state_dict_leaves_behind_does_not_name_the_parameter():
    def train():
        aside = torch.nn.Linear(2, 1)
        for name, value in aside.state_dict().items():
            assert name and value is not None
        yield

    training = train()
    next(training)
    leaves = walk({"train": training}).leaves
    assert leaves["train/aside/bias"].role == "parameter"
    assert leaves["train/value"].role == "alias"


class Moved:
    """A method that moves what its optimizer holds to a device, as users write it after loading."""

    def __init__(self):
        self.model = torch.nn.BatchNorm1d(2)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.model(torch.ones(2, 2)).sum().backward()
        self.optimizer.step()

    def here(self, optimizer):
        a = optimizer.state
        b = optimizer.param_groups
        for c in a.values():
            for d in c.values():
                assert d is not None
        for e in b:
            assert e is not None
        for f in self.model.buffers():
            assert f is not None
        yield a, b, c, d, e, f

    def in_self(self):
        yield from self.here(self.optimizer)


@pytest.mark.parametrize("name", ["here", "in_self"])
def test_what_loops_over_an_optimizer_leave_behind_does_not_name_its_state(name):
    run = Moved()
    training = run.in_self() if name == "in_self" else run.here(run.optimizer)
    next(training)
    leaves = walk({"train": training}).leaves
    at, inside = ("train/optimizer", "train") if name == "here" else ("train/self/optimizer", "train/here()")
    assert leaves[f"{at}/self.model.bias/exp_avg_sq"].role == "moment"
    assert leaves[f"{at}/group.0/lr"].role == "option"
    assert {leaves[f"{inside}/{variable}"].role for variable in "abcdef"} == {"alias"}


def test_the_state_of_an_optimizer_in_an_attribute_is_not_named_by_a_variable():
    def train(self):
        for state in self.optimizer.state.values():
            for moment in state.values():
                assert moment is not None
        yield

    training = train(Moved())
    next(training)
    leaves = walk({"train": training}).leaves
    assert leaves["train/self/optimizer/self.model.bias/exp_avg_sq"].role == "moment"
    assert leaves["train/state"].role == leaves["train/moment"].role == "alias"
