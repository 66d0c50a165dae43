"""A factory travels as bytes; what a new interpreter would not find goes with it."""

import pickle
import threading

import pytest

from dora_repro.errors import BadInput
from dora_repro.sides.pickling import pickled
from tests import runs


def test_what_cannot_be_pickled_is_bad_input():
    lock = threading.Lock()
    with pytest.raises(BadInput, match=r"cannot be sent to a new process .*in_process=True"):
        pickled(lambda: (lock, runs.Plain()))


def test_a_class_that_can_be_imported_travels_by_its_name():
    assert pickle.loads(pickled(runs.Plain)) is runs.Plain
    assert len(pickled(runs.Plain)) < 100
