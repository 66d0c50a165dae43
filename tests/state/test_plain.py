"""Plain data as lists, string-keyed dicts, numbers and strings, and back without a loss."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.state.digest import digest
from dora_repro.state.plain import from_simple, to_simple

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2), max_leaves=3)


def nested(inner):
    return (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["~", "a", "items"]), inner)
        | st.sets(HASHABLE, max_size=2)
    )


@given(st.recursive(SCALARS, nested, max_leaves=8))
def test_plain_data_comes_back_with_its_types_and_bits(value):
    simple = to_simple(value)
    assert digest(from_simple(simple)) == digest(value)
    assert all(type(item) in (type(None), bool, int, float, str, list, dict) for item in everything(simple))


def everything(value):
    yield value
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from everything(item)


def test_plain_lists_and_dicts_stay_readable():
    assert to_simple({"a": [1, 2.5, None]}) == {"a": [1, 2.5, None]}
    assert to_simple((1,)) == {"~": "tuple", "items": [1]}


def test_json_carries_it():
    value = {"a": (1, {2}), "b": b"\x00", 3: -0.0, "c": np.arange(3)}
    assert digest(list(from_simple(json.loads(json.dumps(to_simple(value)))).items())[:3]) == digest(
        list(value.items())[:3]
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array(3, ">i2"),
        np.zeros((0, 4), "f4"),
        np.array([math.nan, -0.0]),
        np.array(["a", "bc"]),
        np.array([b"a"]),
        np.array(["2026-01-01"], "M8[s]"),
        np.zeros(2, [("a", "i4"), ("b", "f8", (2, 2))]),
        np.array([True, False]),
        np.array([1j]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_come_back_with_dtype_shape_and_bytes(array):
    again = from_simple(to_simple(array))
    assert digest(again) == digest(array) and again.dtype == array.dtype and again.shape == array.shape
    assert again.flags.writeable


def test_what_is_not_plain_is_refused():
    for value in (object(), [object()], {"a": object()}, {object(): 1}, {1, object()}):
        with pytest.raises(TypeError, match="not plain data: object"):
            to_simple(value)


HOSTILE = [
    {"~": "os.system", "items": ["true"]},
    {"~": "array", "dtype": "|O", "shape": [1], "base64": "AAAAAAAAAAA="},
    {"~": "array", "dtype": [["a", "|O"]], "shape": [1], "base64": "AAAAAAAAAAA="},
    {"~": "array", "dtype": "<f4", "shape": [99], "base64": "AAAAAA=="},
    {"~": "set", "items": [[1]]},
    {"~": "tuple"},
    {"~": "bytes", "base64": 3},
    {"~": ["list"]},
]


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_what_nobody_wrote_raises_and_runs_nothing(value):
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_simple(value)
