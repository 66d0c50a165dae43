"""Single values that are no plain data: told the same in every process, and made again."""

import array
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import uuid
import zoneinfo
from collections import namedtuple

import numpy as np
import pytest
import torch

from dora_repro.state.codecs import kind_name, made, told
from dora_repro.state.digest import digest, is_plain
from dora_repro.state.type_dispatch import key_text


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


def tell(value):
    return told(type(value))[0](value)


@pytest.mark.parametrize(("value", "equal", "other"), PAIRS, ids=lambda value: type(value).__name__)
def test_equal_values_are_told_alike_and_others_not(value, equal, other):
    assert digest(tell(value)) == digest(tell(equal))
    if other is not None:
        assert digest(tell(value)) != digest(tell(other))
    assert is_plain(tell(value)) or isinstance(tell(value), np.ndarray)
    assert key_text(value) == key_text(equal) if not isinstance(value, array.array) else True


@pytest.mark.parametrize("value", [pair[0] for pair in PAIRS], ids=lambda value: type(value).__name__)
def test_a_value_is_made_again_from_what_was_told_with_one_of_its_type_at_hand(value):
    again = told(type(value))[1]
    if again is None or isinstance(value, (enum.Flag, np.dtypes.VoidDType)):
        return  # a combination of flags, a dtype with fields: told, not made
    made_again = again(type(value), tell(value))
    assert type(made_again) is type(value)
    assert digest(tell(made_again)) == digest(tell(value))


def test_some_are_made_from_the_name_of_their_type_alone():
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
            assert type(made(name, tell(value))) is type(value)
            assert digest(tell(made(name, tell(value)))) == digest(tell(value))


def test_a_name_that_is_not_known_is_refused():
    assert kind_name(Mode.A) is None and kind_name(Loss(1.0)) is None
    with pytest.raises(KeyError):
        made("os.system", "echo")


@pytest.mark.parametrize("value", [object(), [1], {}, (1,), torch.zeros(1), np.zeros(1), namedtuple("P", "x")(1)])
def test_containers_and_objects_are_not_told(value):
    assert told(type(value)) is None


# --- keys --------------------------------------------------------------------------------------------------------


def test_keys_read_well_and_are_escaped():
    keys = ["lr", 1, (1, "a"), None, True, 1.5, b"x", "a/b", "a~b", frozenset({"b", "a"}), Mode.A, torch.float32]
    texts = ["lr", "1", "(1, 'a')", "None", "True", "1.5", "b'x'", "a~1b", "a~0b", "{'a', 'b'}", "Mode.A"]
    assert [key_text(key) for key in keys] == [*texts, "dtype torch.float32"]
    assert key_text(pathlib.PurePosixPath("a/b")) == "PurePosixPath a~1b"
    assert key_text(test_keys_read_well_and_are_escaped).endswith(".test_keys_read_well_and_are_escaped")
    assert key_text(dict) == "builtins.dict"


def test_keys_without_text_are_given_by_type_and_long_ones_are_cut_apart():
    class Thing:
        def __repr__(self):
            raise RuntimeError

    assert key_text(Thing()).endswith("Thing")
    assert key_text(torch.zeros(3)) == "Tensor"
    long = key_text("x" * 1000), key_text("x" * 1000 + "y")
    assert max(map(len, long)) < 250 and long[0] != long[1] and key_text("x" * 1000) == long[0]


def test_a_count_that_hangs_on_a_run_is_put_back():
    import itertools

    from dora_repro.state.snapshot import Snapshot

    counts = {itertools.count(5): [5, 6], itertools.count(1, 2): [1, 3], itertools.count(0.5): [0.5, 1.5]}
    for ticks, left in counts.items():
        saved = Snapshot.capture({"ticks": ticks})
        roots = {"ticks": itertools.count()}
        assert saved.restore(roots, ["ticks"]) == {}
        assert [next(roots["ticks"]) for _ in range(2)] == left
