"""Classes that a function makes are found by the name of the function that made them, the youngest first."""

import collections
import enum

from dora_repro.state.attributes import name_of_type
from dora_repro.state.local_classes import is_named, youngest


def made():
    class Plain:
        pass

    class Below(Plain):
        pass

    class Colour(enum.Enum):
        RED = 1

    return Plain, Below, Colour, collections.namedtuple("Entry", "state reward")


def test_the_youngest_class_of_a_name_is_found():
    older, younger = made(), made()
    for one, other in zip(older, younger, strict=True):
        assert one is not other and youngest(name_of_type(other)) is other


def test_it_is_found_below_its_base_and_not_below_another():
    plain, below, colour, entry = made()
    assert youngest(name_of_type(entry), tuple, below=False) is entry
    assert youngest(name_of_type(below), plain, below=False) is below
    assert youngest(name_of_type(below), object, below=False) is None
    assert youngest(name_of_type(colour), tuple) is None


def test_a_class_has_its_whole_name_and_no_end_of_it():
    plain = made()[0]
    assert is_named(plain, f"{__name__}.made.<locals>.Plain")
    assert not is_named(plain, "made.<locals>.Plain") and not is_named(plain, f"{__name__}.Plain")
    assert youngest("nowhere.Plain") is None
