"""Minimising a sufficient set: the answer is sufficient, nothing can be left out of it, and few tests are run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.explain.trials.minimal import ddmin, halved, minimal, quickxplain, split


class Counted:
    """A test that passes where all of `needed` are there, and counts how often it is run."""

    def __init__(self, *needed, harmful=()):
        self.needed, self.harmful, self.asked = set(needed), set(harmful), 0

    def __call__(self, items):
        self.asked += 1
        return self.needed <= set(items) and not self.harmful & set(items)


@given(st.sets(st.integers(0, 29), max_size=6), st.sampled_from([minimal, quickxplain, ddmin]))
def test_exactly_the_causes_are_found(needed, method):
    assert set(method(range(30), Counted(*needed))) == (needed or set(method(range(30), Counted())))


@given(st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=3))
def test_of_several_sufficient_sets_one_is_found_of_which_nothing_can_be_left_out(sets):
    def restores(items):
        return any(needed <= set(items) for needed in sets)

    for method in (minimal, ddmin, quickxplain):
        found = method(range(10), restores)
        assert restores(found)
        assert not any(restores([item for item in found if item != one]) for one in found)


def test_what_is_not_needed_and_does_harm_in_small_sets_is_left_to_delta_debugging():
    # 3 suffices only where 7 is there too or 5 is not: more is not always better.
    def restores(items):
        return 3 in items and (7 in items or 5 not in items)

    assert minimal(range(10), restores) == (3,)


def test_a_test_that_fails_for_every_single_item_leaves_the_pair_that_is_needed():
    def restores(items):
        return len(items) > 1 and {1, 2} <= set(items)

    assert minimal((1, 2, 3), restores) == (1, 2)


@pytest.mark.parametrize(("count", "most"), [(8, 6), (64, 9), (500, 12)])
def test_one_cause_among_the_first_takes_about_the_logarithm_of_tests(count, most):
    restores = Counted(0)
    assert minimal(range(count), restores) == (0,)
    assert restores.asked <= most


def test_three_causes_among_many_take_far_fewer_tests_than_there_are_items():
    restores = Counted(3, 200, 411)
    assert minimal(range(500), restores) == (3, 200, 411)
    assert restores.asked <= 64


def test_halving_stops_where_neither_half_suffices():
    restores = Counted(4, 60)
    assert halved(range(64), restores) == tuple(range(64))
    assert restores.asked == 2
    assert halved(range(64), Counted(5)) == (5,)


def test_parts_without_anything_in_them_are_left_out():
    assert split((1, 2), 5) == [(1,), (2,)] and split((), 3) == []


@given(st.lists(st.integers(), max_size=20), st.integers(1, 25))
def test_parts_are_all_of_it_in_order_and_of_nearly_equal_size(items, pieces):
    parts = split(tuple(items), pieces)
    assert [item for part in parts for item in part] == items
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


class Asked:
    """A test that passes where all of `needed` are there, and keeps what it was asked."""

    def __init__(self, *needed):
        self.needed, self.sets = set(needed), []

    def __call__(self, items):
        self.sets.append(tuple(items))
        return self.needed <= set(items)


def test_where_less_would_do_than_was_found_delta_debugging_has_the_last_word():
    enough = [{0, 1, 2}, {1}, {1, 2}]  # and 2 beside 0 does harm
    assert quickxplain(range(3), lambda items: set(items) in enough) == (1, 2)
    assert minimal(range(3), lambda items: set(items) in enough) == (1,)


def test_the_answer_itself_is_tested_and_each_set_with_one_less():
    restores = Asked(0, 2)
    quickxplain(range(4), restores)
    assert (0, 2) not in restores.sets  # known by what follows from other tests
    assert minimal(range(4), restores) == (0, 2)
    assert {(0, 2), (0,), (2,)} <= set(restores.sets)


def test_an_answer_that_does_not_hold_is_not_given():
    """A trial that is unresolved at one time need not be so at another."""
    restores = Asked(0, 2)
    minimal(range(4), restores)
    never_again = {(0, 2)}

    def unsteady(items):
        return tuple(items) not in never_again and {0, 2} <= set(items)

    assert minimal(range(4), unsteady) != (0, 2)


def test_of_nothing_nothing_is_left():
    assert minimal((), Asked()) == quickxplain((), Asked()) == ddmin((), Asked()) == halved((), Asked()) == ()


def test_what_is_known_is_not_asked():
    restores = Asked(7)
    assert quickxplain((7,), restores) == ddmin((7,), restores) == halved((7,), restores) == (7,)
    assert restores.sets == []


def test_delta_debugging_asks_halves_then_quarters_then_what_is_left_without_each():
    restores = Asked(0, 3)
    assert ddmin(range(4), restores) == (0, 3)
    halves, quarters = [(0, 1), (2, 3)], [(0,), (1,), (2,), (3,)]
    without_one = [(1, 2, 3), (0, 2, 3)]  # the second will do
    again = [(0,), (2,), (3,), (2, 3), (0, 3), (0,), (3,)]
    assert restores.sets == [*halves, *quarters, *without_one, *again]


@pytest.mark.parametrize(("needed", "count", "tests"), [((2, 5), 8, 28), ((1, 2), 5, 15), ((0, 1, 2, 3), 4, 10)])
def test_delta_debugging_divides_no_finer_than_there_are_items(needed, count, tests):
    restores = Counted(*needed)
    assert ddmin(range(count), restores) == needed
    assert restores.asked == tests


def test_halving_asks_the_first_half_before_the_second():
    restores = Asked(2)
    assert halved(range(5), restores) == (2,)
    assert restores.sets == [(0, 1), (2, 3, 4), (2,)]
