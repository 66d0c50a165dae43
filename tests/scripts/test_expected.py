"""The steps of a run held against those that are expected, from the step on that it goes on from."""

from dataclasses import replace

from dora_repro.scripts.expected import Expected
from tests.traces import trace

STEPS = [[f"update w {letter}"] for letter in "abcd"]


def test_it_is_silent_while_the_steps_are_those_expected():
    theirs = trace(*STEPS)
    expected = Expected(theirs, start=2)

    assert [expected.differs(replace(step, number=step.number - 2)) for step in theirs.steps[2:]] == [None, None]


def test_it_names_the_first_step_that_is_another_one_by_its_number_there():
    theirs = trace(*STEPS)
    expected = Expected(theirs, start=2)

    assert expected.differs(replace(theirs.steps[2], number=1)) is None
    assert expected.differs(replace(theirs.steps[2], number=2)) == 4
