"""Values encoded the same in every process and decoded again; plain data as JSON and back without a loss."""

import array
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import re
import uuid
import zoneinfo
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.state.codecs import codec_of, decode, from_json, kind_name, to_json
from dora_repro.state.digest import digest, is_plain
from dora_repro.state.keys import key_text


class Mode(enum.Enum):
    A = 1
    B = "two"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Switches(enum.Flag):
    X = 1
    Y = 2


class Loss(float):
    def __repr__(self):
        raise RuntimeError("not to be asked")


class Name(str):
    def __str__(self):
        raise RuntimeError("not to be asked")


class Count(int):
    pass


PAIRS = [  # (a value, an equal one made anew, another)
    (torch.float32, torch.float32, torch.float64),
    (torch.device("cuda:1"), torch.device("cuda", 1), torch.device("cpu")),
    (torch.strided, torch.strided, torch.sparse_coo),
    (torch.channels_last, torch.channels_last, torch.contiguous_format),
    (torch.per_tensor_affine, torch.per_tensor_affine, torch.per_tensor_symmetric),
    (torch.Size([2, 3]), torch.zeros(2, 3).shape, torch.Size([3, 2])),
    (np.dtype("f4"), np.dtype("float32"), np.dtype(">f4")),
    (np.dtype([("a", "i4")]), np.dtype([("a", "i4")]), np.dtype([("b", "i4")])),
    (np.float64(0.0), np.float64(0.0), np.float64(-0.0)),
    (np.int32(1), np.int32(1), np.int64(1)),
    (np.bool_(True), np.True_, np.False_),
    (np.str_("a"), np.str_("a"), np.str_("b")),
    (np.datetime64("2026-01-01"), np.datetime64("2026-01-01"), np.datetime64("2026-01-02")),
    (pathlib.Path("a/b"), pathlib.Path("a") / "b", pathlib.Path("a/c")),
    (pathlib.PurePosixPath("a"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    (datetime.date(2026, 1, 2), datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2)),
    (datetime.timedelta(1, 2, 3), datetime.timedelta(1, 2, 3), datetime.timedelta(1, 2, 4)),
    (datetime.datetime(2026, 1, 2, fold=0), datetime.datetime(2026, 1, 2), datetime.datetime(2026, 1, 2, fold=1)),
    (datetime.UTC, datetime.timezone(datetime.timedelta(0)), datetime.timezone(datetime.timedelta(hours=1))),
    (zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("UTC"), None),
    (decimal.Decimal("1.0"), decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    (fractions.Fraction(1, 3), fractions.Fraction(2, 6), fractions.Fraction(1, 4)),
    (uuid.UUID(int=1), uuid.UUID(int=1), uuid.UUID(int=2)),
    (range(1, 9, 2), range(1, 9, 2), range(1, 11, 2)),
    (slice(1, None, 2), slice(1, None, 2), slice(1, 2, 2)),
    (re.compile("a", re.I), re.compile("a", re.I), re.compile("a")),
    (array.array("i", [1, 2]), array.array("i", [1, 2]), array.array("l", [1, 2])),
    (bytearray(b"ab"), bytearray(b"ab"), bytearray(b"ac")),
    (np.random.SeedSequence(1), np.random.SeedSequence(1), np.random.SeedSequence(2)),
    (Mode.A, Mode(1), Mode.B),
    (Level.HIGH, Level(2), Level.LOW),
    (Switches.X | Switches.Y, Switches(3), Switches.X),
    (Loss(0.0), Loss(0.0), Loss(-0.0)),
    (Name("a"), Name("a"), Name("b")),
    (Count(3), Count(3), Count(4)),
    (..., Ellipsis, NotImplemented),
]


def encoded(value):
    return codec_of(type(value)).encode(value)


@pytest.mark.parametrize(("value", "equal", "other"), PAIRS, ids=lambda value: type(value).__name__)
def test_equal_values_are_encoded_alike_and_others_not(value, equal, other):
    assert digest(encoded(value)) == digest(encoded(equal))
    if other is not None:
        assert digest(encoded(value)) != digest(encoded(other))
    assert is_plain(encoded(value)) or isinstance(encoded(value), np.ndarray)
    assert key_text(value) == key_text(equal) if not isinstance(value, array.array) else True


@pytest.mark.parametrize("value", [pair[0] for pair in PAIRS], ids=lambda value: type(value).__name__)
def test_a_value_is_decoded_by_the_codec_of_its_type(value):
    codec = codec_of(type(value))
    if codec.decode is None or isinstance(value, (enum.Flag, np.dtypes.VoidDType)):
        return  # a combination of flags, a dtype with fields: encoded, not decoded
    decoded = codec.decode(type(value), encoded(value))
    assert type(decoded) is type(value)
    assert digest(encoded(decoded)) == digest(encoded(value))


def test_some_are_decoded_by_the_name_of_their_type_alone():
    names = {kind_name(value) for value, _, _ in PAIRS}
    assert {
        "torch.dtype",
        "numpy.dtype",
        "numpy scalar",
        "pathlib.PosixPath",
        "uuid.UUID",
        "range",
        "torch.Size",
    } <= names
    for value, _, _ in PAIRS:
        name = kind_name(value)
        if name is not None and not isinstance(value, np.dtypes.VoidDType):
            assert type(decode(name, encoded(value))) is type(value)
            assert digest(encoded(decode(name, encoded(value)))) == digest(encoded(value))


def test_a_name_that_is_not_known_is_refused():
    assert kind_name(Mode.A) is None and kind_name(Loss(1.0)) is None
    with pytest.raises(KeyError):
        decode("os.system", "echo")


@pytest.mark.parametrize("value", [object(), [1], {}, (1,), torch.zeros(1), np.zeros(1), namedtuple("P", "x")(1)])
def test_containers_and_objects_have_no_codec(value):
    assert codec_of(type(value)) is None


def test_the_name_of_a_type_is_the_same_wherever_python_defines_it(monkeypatch):
    """Paths are of `pathlib._local` in Python 3.13; a file names them as in any other version."""
    monkeypatch.setattr(pathlib.PosixPath, "__module__", "pathlib._local")
    assert kind_name(pathlib.PosixPath("a")) == "pathlib.PosixPath"
    assert decode("pathlib.PosixPath", "PosixPath a/b") == pathlib.Path("a/b")
    with pytest.raises(KeyError):
        decode("pathlib._local.PosixPath", "PosixPath a/b")


def test_a_count_that_hangs_on_a_run_is_put_back():
    import itertools

    from dora_repro.state.snapshot import Snapshot

    counts = {itertools.count(5): [5, 6], itertools.count(1, 2): [1, 3], itertools.count(0.5): [0.5, 1.5]}
    for ticks, left in counts.items():
        saved = Snapshot.capture({"ticks": ticks})
        roots = {"ticks": itertools.count()}
        assert saved.restore(roots, ["ticks"]) == {}
        assert [next(roots["ticks"]) for _ in range(2)] == left


# --- plain data as JSON ------------------------------------------------------------------------------------------

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
    written = to_json(value)
    assert digest(from_json(written)) == digest(value)
    assert all(type(item) in (type(None), bool, int, float, str, list, dict) for item in everything(written))


def everything(value):
    yield value
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from everything(item)


def test_plain_lists_and_dicts_stay_readable():
    assert to_json({"a": [1, 2.5, None]}) == {"a": [1, 2.5, None]}
    assert to_json((1,)) == {"~": "tuple", "items": [1]}


def test_json_carries_it():
    value = {"a": (1, {2}), "b": b"\x00", 3: -0.0, "c": np.arange(3)}
    assert digest(list(from_json(json.loads(json.dumps(to_json(value)))).items())[:3]) == digest(
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
    again = from_json(to_json(array))
    assert digest(again) == digest(array) and again.dtype == array.dtype and again.shape == array.shape
    assert again.flags.writeable


def test_what_is_not_plain_is_refused():
    for value in (object(), [object()], {"a": object()}, {object(): 1}, {1, object()}):
        with pytest.raises(TypeError, match="not plain data: object"):
            to_json(value)


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
        from_json(value)
