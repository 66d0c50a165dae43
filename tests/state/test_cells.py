"""A variable that several functions share is one leaf, and has as many other names as there are functions."""

import pytest

from dora_repro.state.cells import cells_of
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk


def counter(count=0):
    def increase():
        nonlocal count
        count += 1

    return increase, lambda: count


def loop(limit):
    best, waited = 10, (0, 0)

    def note():
        nonlocal best, waited
        best -= limit
        waited = (waited[0] + 1, 0)

    while True:
        note()
        yield best, waited


def begun(limit=1, steps=1):
    generator = loop(limit)
    for _ in range(steps):
        next(generator)
    return generator


def roles(roots):
    return {path: leaf.role for path, leaf in walk(roots).items()}


def test_two_functions_around_one_variable_have_one_leaf_and_an_alias():
    increase, count = counter()
    found = walk({"a": increase, "b": count})
    assert found["a/count"].value == 0 and found["b/count"].value == "= a/count"
    assert {found["a/count"].role, found["b/count"].role} == {"memory", "alias"}


def test_functions_around_variables_of_their_own_have_a_leaf_each():
    (one, _), (_, other) = counter(), counter()  # the same code and the same number
    assert roles({"a": one, "b": other}) == {"a/name": "structure", "a/count": "memory", "b/name": "structure",
                                             "b/count": "memory"}  # fmt: skip


def test_a_shared_variable_is_put_back_by_its_first_name_alone():
    increase, count = counter()
    saved = Snapshot.capture({"a": increase, "b": count})
    for _ in range(3):
        increase()
    assert saved.restore({"a": increase, "b": count}, ["a/count"]) == {}
    assert count() == 0


def test_what_a_function_inside_a_loop_shares_with_it_is_an_alias_numbers_and_tuples():
    found = walk({"loop": begun()})
    assert found["loop/best"].value == 9 and found["loop/waited"].value == (1, 0)
    assert found["loop/note/best"].value == "= loop/best"
    assert found["loop/note/waited"].value == "= loop/waited"
    assert found["loop/note/limit"].value == "= loop/limit"


def test_a_shared_variable_of_a_loop_is_put_back_for_both():
    one, two = begun(steps=4), begun(steps=1)
    saved = Snapshot.capture({"loop": one})
    assert saved.restore({"loop": two}, ["loop/best", "loop/waited"]) == {}
    assert next(one) == next(two) == (5, (5, 0))


def test_two_loops_of_one_code_share_nothing():
    found = walk({"a": begun(), "b": begun()})
    assert found["a/best"].value == found["b/best"].value == 9
    assert found["b/note/best"].value == "= b/best"


def test_cells_of_a_generator_are_those_of_its_own_functions():
    one, two = begun(steps=1), begun(steps=2)
    frame, others = one.gi_frame, two.gi_frame.f_locals["note"]
    note = dict(zip(("best", "limit", "waited"), frame.f_locals["note"].__closure__, strict=True))
    for known in ([one], [frame.f_locals["note"]]):
        cells = cells_of(frame, frame.f_locals, known)
        assert cells.keys() == note.keys() and all(cells[name] is note[name] for name in note)
    assert cells_of(frame, frame.f_locals, [others, two, counter()[0]]).keys() <= {"limit"}  # the number 1, for both


def test_variables_of_functions_in_a_greenlet_are_shared_too():
    greenlets = pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    given = []

    def train():
        best = 10

        def epoch():
            nonlocal best
            best -= 1
            given.append(best)
            greenlets.getcurrent().parent.switch()

        while True:
            epoch()

    def after(steps):
        run = greenlets.greenlet(train)
        for _ in range(steps):
            run.switch()
        return run

    one, two = after(4), after(1)
    saved = Snapshot.capture({"train": one})
    assert (saved["train/best"].value, saved["train/epoch()/best"].value) == (6, "= train/best")
    assert saved.restore({"train": two}, ["train/best"]) == {}
    one.switch(), two.switch()
    assert given[-2:] == [5, 5]
