"""The table of types: explicit, the first match wins, duplicates are refused, and a value itself is not asked."""

import subprocess
import sys
import threading
from collections import OrderedDict

import numpy as np
import pytest
import torch

from dora_repro.state.type_dispatch import Table, Way
from dora_repro.state.walk import TABLE


class Thing:
    pass


WAYS = {
    int: Way.SCALAR, type(None): Way.SCALAR, torch.nn.Parameter: Way.TENSOR, torch.Generator: Way.GENERATOR,
    np.random.RandomState: Way.GENERATOR, np.ndarray: Way.ARRAY, np.float32: Way.ENCODED, torch.dtype: Way.ENCODED,
    type(threading.Lock()): Way.LISTED, dict: Way.SHARED, list: Way.SHARED, tuple: Way.UNSHARED, Thing: Way.SHARED,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "way"), WAYS.items())
def test_each_type_has_its_way(kind, way):
    result, codec, _ = TABLE.way(kind)
    assert result is way and (codec is not None) == (way is Way.ENCODED)


def test_the_first_reader_whose_type_a_value_derives_from_reads_it():
    table = Table(readers=((OrderedDict, "ordered"), (dict, "dict"), (int, "never: a scalar is a leaf")))
    readers = [table.way(kind)[2] for kind in (dict, OrderedDict, type("Mine", (OrderedDict,), {}), list, int)]
    assert readers == ["dict", "ordered", "ordered", None, None]


def test_two_readers_for_one_type_are_refused():
    with pytest.raises(ValueError, match=r"two readers for builtins\.dict"):
        Table(readers=((dict, "one"), (list, "other"), (dict, "another")))


def test_plumbing_is_listed_by_type_and_by_module_unless_a_reader_takes_it():
    mine = type("Mine", (), {"__module__": "rich.console"})
    table = Table(readers=((set, "set"),), plumbing=(list, set), plumbing_modules=("rich",))
    assert [table.way(kind)[0] for kind in (list, mine, set, dict)] == [Way.LISTED, Way.LISTED, Way.SHARED, Way.SHARED]
    assert Table(readers=()).way(mine)[0] is Way.SHARED


def test_the_order_in_which_readers_are_imported_changes_no_table():
    code = (
        "import {first}\nimport {second}, sys\nfrom dora_repro.state.walk import TABLE\n"
        "print([getattr(TABLE.way(kind)[2], '__name__', None) for kind in (dict, list, tuple, object, type(sys))])"
    )
    names = "dora_repro.state.torch_objects", "dora_repro.state.python_objects"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code.format(first=first, second=second)], capture_output=True, text=True, check=True
        ).stdout
        for first, second in (names, names[::-1])
    }
    assert printed == {"['read_mapping', 'read_sequence', 'read_sequence', None, None]\n"}
