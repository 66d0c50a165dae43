"""What functions of a file call the modules that advised lines need."""

import importlib
import sys

import pytest

from dora_repro.sides.visible import imported_in_file, value_of, visible_names

FILE = """
import numpy.random as npr
import random as rnd
from copy import deepcopy
from torch import get_rng_state as current, nn
from torch.random import set_rng_state
try:
    import torch as t
except ImportError:
    t = None

def plain(self, path):
    pass

def with_its_own(self, path):
    import random
    import copy as duplicate

def hidden(self, rnd, t=None):
    deepcopy = copy = None
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "names_in_this_file.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("names_in_this_file")
    del sys.modules["names_in_this_file"]


def test_modules_and_functions_of_theirs_go_by_the_names_of_the_file(module):
    found, taken = visible_names(module.plain)
    assert found == {
        "numpy.random": "npr",
        "random": "rnd",
        "copy.deepcopy": "deepcopy",
        "torch": "t",
        "torch.nn": "nn",
        "torch.get_rng_state": "current",
        "torch.set_rng_state": "set_rng_state",
    }
    assert taken == []


def test_what_a_function_imports_for_itself_is_visible_there_alone(module):
    found, _ = visible_names(module.with_its_own)
    assert found["random"] == "random" and found["copy"] == "duplicate"
    assert visible_names(module.plain)[0]["random"] == "rnd"


def test_a_variable_hides_the_module_of_its_name(module):
    found, taken = visible_names(module.hidden)
    assert not {"torch", "random", "copy.deepcopy"} & set(found)
    assert taken == ["copy"]


def test_a_function_under_the_name_of_its_module_takes_that_name(module, monkeypatch):
    monkeypatch.setattr(module, "random", value_of("random.random"), raising=False)
    monkeypatch.setattr(module, "copy", [], raising=False)
    found, taken = visible_names(module.plain)
    assert found["random.random"] == "random" and taken == ["copy", "random"]


def test_what_a_function_does_not_name_is_known_from_its_file(module):
    """A class that travels by value has of its module only what it names."""
    function = type(module.plain)(module.plain.__code__, {"__name__": "names_in_this_file"})
    assert imported_in_file(function)["npr"] == "numpy.random"
    assert value_of("numpy.random") is sys.modules["numpy.random"] and value_of("numpy.nothing_such") is None
