"""What was read has a name, and is there under a condition."""

import ast

import pytest

from dora_repro.sides.reading import guard_of, is_conditional, last_before_loop, name_given


def parsed(text):
    block = ast.parse(text).body
    call = next(node for node in ast.walk(block[0]) if isinstance(node, ast.Call))
    return block, call


@pytest.mark.parametrize(
    ("text", "name", "conditional"),
    [
        ("x = load()", "x", False),
        ("x: dict = load()", "x", False),
        ("x = load() if path else None", "x", True),
        ("if path and (x := load()):\n    pass", "x", True),
        ("x = path and load()", "", True),
        ("x = y = load()", "", False),
        ("x, y = load()", "", False),
        ("x = [load() for _ in many]", "", True),
    ],
)
def test_a_name_is_that_of_the_whole(text, name, conditional):
    block, call = parsed(text)
    assert name_given(block[0], call) == name and is_conditional(block[0], call) is conditional


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("x", True),
        ("x is not None", True),
        ("path and x", True),
        ("not x", False),
        ("x is None", False),
        ("x or path", False),
        ("path", False),
        ("x != 2", False),
    ],
)
def test_a_guard_is_what_holds_where_it_is_there(condition, holds):
    block, call = parsed(f"x = load() if path else None\nif {condition}:\n    pass")
    assert (guard_of(block[0], block, call, "x") is block[1]) is holds


def test_a_loop_over_what_was_read_belongs_to_reading_it_and_that_of_a_training_does_not():
    block = ast.parse("x = load()\nfor key in x:\n    pass\ny = 1\nwhile y:\n    pass\nz = 2").body
    assert last_before_loop(block, block[0], "x") is block[2]
    assert last_before_loop(block[:3], block[0], "x") is block[2]
