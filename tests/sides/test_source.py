"""The source of a function: its calls, the statements that they are in, its text and its lines."""

import ast
import sys

from dora_repro.sides.source import Source, replaced


def spread(self, path):
    with open(path) as file:
        self.write(
            {
                "ä": 1,
                "b": 2,
            },
            file,
        )
    return [self.inner(each) for each in ()]


SOURCE = Source.of(spread)
FIRST = spread.__code__.co_firstlineno


def test_calls_are_those_of_the_function_itself_with_the_statements_around_them():
    assert [ast.unparse(call.func) for call in SOURCE.calls] == ["open", "self.write"]
    blocks = SOURCE.blocks_to(SOURCE.calls[1])
    assert [type(statement) for statement, _ in blocks] == [ast.With, ast.Expr]
    assert blocks[0][1] is SOURCE.node.body and blocks[1][1] is blocks[0][0].body


def test_text_and_lines_are_those_of_the_file():
    (_, _), (statement, _) = SOURCE.blocks_to(SOURCE.calls[1])
    given = SOURCE.calls[1].args[0]
    assert SOURCE.text(given) == '{\n    "ä": 1,\n    "b": 2,\n}'
    assert replaced(SOURCE, statement, given, "state") == "self.write(\n    state,\n    file,\n)"
    assert SOURCE.span(statement) == f"test_source.py:{FIRST + 2}-{FIRST + 8}"
    assert SOURCE.at(statement) == f"test_source.py:{FIRST + 2}"
    assert SOURCE.at(statement, end=True) == f"test_source.py:{FIRST + 8}"
    assert SOURCE.has_its_lines(statement)


def test_a_statement_that_shares_its_line_does_not_have_it():
    def shares(first):
        second = first; del first  # fmt: skip  # noqa: E702  # two in a line is the case
        third = second  # a comment is none
        return third

    source = Source.of(shares)
    assert [source.has_its_lines(one) for one in source.node.body] == [False, False, True, True]


def test_what_has_no_source_of_its_own_is_none():
    names = {}
    exec("def made(): pass", names)
    assert Source.of(names["made"]) is None and Source.of(lambda: 1) is None


def test_it_is_known_which_names_are_assigned_and_where():
    def some(first, *, second=2):
        third = first
        del third

    source = Source.of(some)
    assert (source.arguments, source.assigned) == (["first"], {"third"})
    given, deleted = source.node.body
    assert source.is_assigned_between("third", given, deleted)
    assert not source.is_assigned_between("third", deleted, deleted)
    assert not source.is_assigned_between("first", given, deleted)


def test_variables_are_told_apart_by_when_they_are_assigned_and_attributes_of_classes_and_others_variables_are_none():
    def trains(path):
        class Seen:
            level: int = 0
            late = 1

        shared, both, early = 1, 2, 3
        if path:
            state = path.read()
            early, both = state["early"], state["both"]

        def inner():
            nonlocal shared
            shared, own, early = 2, 3, 4  # this `early` is another one
            return own, early

        both = level = late = [own() for own in (Seen, inner)]
        return both, early, level, late

    source = Source.of(trains)
    block = source.node.body[2].body
    assert source.assigned_after(block[-1]) == ["late", "level"]
    assert source.assigned_again(block[0], block[-1]) == ["both"]
    assert source.assigned_again(source.node.body[1], source.node.body[1]) == ["both", "early", "shared"]


def test_what_a_variable_is_made_of_is_followed_through_loops_and_functions_inside():
    def trains(data, share):
        noise = make()  # noqa: F821  # it is read and not called

        def mixed(rows):
            return rows + noise

        part = data[:share]
        unused = share
        for rows in part:
            given = mixed(rows)
            part += given
        return given, unused

    made = Source.of(trains).made_of
    assert made["given"] == {"mixed", "rows", "noise", "part", "data", "share"}
    assert made["unused"] == {"share"} and made["noise"] == set()


def test_what_a_statement_has_read_before_its_call_is_known():
    met = []

    def waits(value):
        met.append(sys._getframe(1).f_lasti)
        return value

    def trains(scale, other, rows):
        other = other + 1
        loss = scale * waits(rows) + other
        return loss

    trains(2, 3, 4)
    source = Source.of(trains)
    assert source.read_before(met[0]) == ["scale"]
    assert source.read_before(0) == []
