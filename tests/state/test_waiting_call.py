"""The arguments of a call that has not begun: those that a variable gives follow it, the others are put by name."""

import sys

import pytest

from dora_repro.state.making import NotRestorable
from dora_repro.state.waiting_call import WaitingCall, call_of, waits_in


def module(inputs, hidden=None, *more, scale=1):
    """Stands for what is called; its parameters name the arguments."""


def seized(*args, **kwargs):
    """The call as it would be made: seen from inside, before anything of it is done."""
    return WaitingCall(module, args, kwargs, sys._getframe(1))


def test_an_argument_that_a_variable_gives_follows_the_variable():
    batch, state, factor = [1], None, 3
    call = seized(batch, state, scale=factor)
    assert call.own() == {} and call.name == "seized"
    call.follow("state", (4, 5))
    call.follow("factor", 7)
    call.follow("no_argument", 8)
    assert call.args == [batch, (4, 5)] and call.kwargs == {"scale": 7}


def test_what_an_expression_gives_has_the_name_of_the_parameter():
    batch, rest = [1], (2, 3)
    call = seized([*batch, 2], None, *rest, scale=len(batch))
    assert call.own() == {"inputs": [1, 2], "hidden": None, "2": 2, "3": 3, "scale": 1}
    call.put("hidden", "there")
    call.put("3", 9)
    call.put("scale", 2)
    assert call.args == [[1, 2], "there", 2, 9] and call.kwargs == {"scale": 2}
    with pytest.raises(NotRestorable, match=r"seized\(\) is called without 'other'"):
        call.put("other", 1)


def test_of_several_calls_in_a_line_it_is_the_one_that_is_being_made():
    one, other = [1], [2]
    calls = [seized(one), seized(other)]
    for call in calls:
        call.follow("one", 5)
    assert [call.args for call in calls] == [[5], [[2]]]


def test_without_source_every_argument_is_its_own():
    namespace = {"seized": seized}
    exec("batch = [1]\ncall = seized(batch)", namespace)
    assert namespace["call"].own() == {"inputs": [1]}
    assert WaitingCall(module, ([1],), {}, None).own() == {"inputs": [1]}


def test_a_function_is_known_to_wait_in_a_call_as_long_as_it_does():
    waiting, call = _Function(), seized()
    with waits_in(waiting, call):
        assert call_of(waiting) is call
    assert call_of(waiting) is None


class _Function:
    """Stands for a suspended one."""
