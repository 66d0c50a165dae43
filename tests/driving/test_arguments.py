"""Arguments of a training function: places filled in wherever they are, changes put where they belong."""

import argparse
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from dora_repro.driving.arguments import OUT, Places, changed
from dora_repro.errors import BadInput

Pair = namedtuple("Pair", "one other")


@dataclass(frozen=True)
class Config:
    folder: str = "{out}/logs"
    rate: float = 0.1


def places():
    return Places({OUT: lambda: "/place"})


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ("{out}", "/place"),
        ("--out={out}/x", "--out=/place/x"),
        (Path("{out}/a.pt"), Path("/place/a.pt")),
        (PurePosixPath("a"), PurePosixPath("a")),
        ({"a": ["{out}", 3]}, {"a": ["/place", 3]}),
        (("{out}", (1, "{out}")), ("/place", (1, "/place"))),
        (Pair("{out}", 2), Pair("/place", 2)),
        (Config(), Config("/place/logs")),
        (argparse.Namespace(out="{out}", n=1), argparse.Namespace(out="/place", n=1)),
        (3.5, 3.5),
    ],
    ids=str,
)
def test_places_are_filled_in_wherever_they_are(given, filled):
    found = places().fill(given)
    assert found == filled and type(found) is type(filled)


def test_what_is_filled_in_is_a_copy():
    config = {"out": "{out}", "layers": [1]}
    places().fill(config)["layers"].append(2)
    assert config == {"out": "{out}", "layers": [1]}


def test_it_is_known_which_places_were_met():
    one = places()
    one.fill({"a": "out"})
    assert one.met == set()
    one.fill({"a": "{out}"})
    assert one.met == {OUT}


def train(config, epochs=3, *, resume=None):
    pass


def collects(config, **options):
    pass


def test_a_parameter_is_changed_by_name_however_it_was_given():
    assert changed(train, ({}, 3), {}, {"epochs": 5}) == (({}, 5), {})
    assert changed(train, ({},), {"epochs": 3}, {"epochs": 5}) == (({},), {"epochs": 5})
    assert changed(train, ({},), {}, {"resume": "x"}) == (({},), {"resume": "x"})


def test_any_other_name_is_an_entry_of_the_one_configuration():
    assert changed(train, ({"a": 1},), {}, {"from": "x"}) == (({"a": 1, "from": "x"},), {})
    assert changed(train, (argparse.Namespace(a=1),), {}, {"a": 2})[0][0].a == 2
    assert changed(train, (Config(),), {}, {"rate": 1.0})[0][0].rate == 1.0
    assert changed(collects, (3,), {}, {"resume": "x"}) == ((3,), {"resume": "x"})


@pytest.mark.parametrize("args", [(3,), ({}, {})], ids=["no configuration", "two"])
def test_a_name_that_is_neither_is_refused(args):
    with pytest.raises(BadInput, match=r"train\(\) has no parameter 'from'"):
        changed(train, args, {}, {"from": "x"})


def test_the_arguments_themselves_stay_and_the_configuration_is_written_to():
    config, args, kwargs = {"a": 1}, (3,), {"epochs": 3}
    changed(collects, args, kwargs, {"epochs": 5})
    changed(train, (config,), {}, {"a": 2})
    assert (args, kwargs) == ((3,), {"epochs": 3}) and config == {"a": 2}
