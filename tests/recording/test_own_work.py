"""A failure in the midst of a run is laid to whose code it was in."""

import types

import pytest
import torch

from dora_repro.errors import BadInput, Defect
from dora_repro.recording import effects
from dora_repro.recording.own_work import own_work


def of_the_kit(function):
    """A function as if it stood in a module of the kit's."""
    return types.FunctionType(function.__code__, {**vars(effects), "torch": torch})


def test_what_the_kits_code_raises_or_a_library_that_it_calls_is_a_defect():
    with pytest.raises(Defect, match="recording failed: ZeroDivisionError"), own_work:
        of_the_kit(lambda: 1 / 0)()
    with pytest.raises(Defect, match="recording failed: RuntimeError: ") as caught, own_work:
        of_the_kit(lambda: torch.broadcast_tensors(torch.ones(2), torch.ones(3)))()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_a_users_code_raises_in_it_is_the_users():
    def components():
        raise KeyError("optimiser")

    with pytest.raises(KeyError), own_work:
        of_the_kit(lambda run: run())(components)
    with pytest.raises(ZeroDivisionError), own_work:
        exec("1 / 0", {})  # an advised line


def test_exceptions_of_the_kits_and_those_that_end_a_process_pass():
    for error in (BadInput("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), own_work:
            raise error
