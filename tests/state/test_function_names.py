"""What functions name is read once for all processes of a check."""

import json

import pytest

from dora_repro.state import function_names
from dora_repro.state.function_names import leave, names_of, take


@pytest.fixture(autouse=True)
def another_process(monkeypatch):
    """As in a process that has read nothing yet; call it to be another one."""

    def begin():
        monkeypatch.setattr(function_names, "_of_code", {})
        monkeypatch.setattr(function_names, "_told", {})

    begin()
    return begin


def made(text):
    """A function of some text, as a cell of a notebook makes it: all have the same file and line."""
    namespace = {}
    exec(compile(text, "<cell>", "exec"), namespace)
    return namespace["run"]


def counting():
    global counted
    counted = 1


counted = 0


def test_what_one_process_has_read_the_next_one_does_not_read(tmp_path, another_process, monkeypatch):
    names = names_of(counting)
    leave(tmp_path / "names.json")
    another_process()
    monkeypatch.setattr(function_names, "names_in_source", lambda _: pytest.fail("read anew"))
    take(tmp_path / "names.json")
    assert names_of(counting) == names == {"counted": True}


def test_a_function_is_read_once_and_from_its_source_where_it_has_one(monkeypatch):
    asked = []
    monkeypatch.setattr(function_names, "names_in_source", lambda function: asked.append(function) or {"told": True})
    assert names_of(counting) == names_of(counting) == {"told": True} and asked == [counting]
    monkeypatch.setattr(function_names, "names_in_source", lambda function: None)
    run = made("def run():\n    global other\n    other = 1")
    assert names_of(run) == {"other": True}


def test_without_a_file_all_is_read(tmp_path):
    take(tmp_path / "names.json")
    assert names_of(counting) == {"counted": True}


@pytest.mark.parametrize(
    "other",
    ["def run(): return b", "def run(): return lambda: a", "def run(): global a; a = 2", "def run(c): c[a]()"],
)
def test_functions_of_one_place_are_told_apart_by_their_code(tmp_path, another_process, other):
    first, second = made("def run(): return a"), made(other)
    expected = names_of(second)
    another_process()
    assert names_of(first) == {"a": False}
    leave(tmp_path / "names.json")
    another_process()
    take(tmp_path / "names.json")
    assert names_of(second) == expected


def test_a_later_process_adds_what_it_has_read(tmp_path, another_process):
    file = tmp_path / "names.json"
    names_of(counting)
    leave(file)
    another_process()
    take(file)
    names_of(made("def run(): return a"))
    leave(file)
    assert sorted(map(tuple, map(dict.items, json.loads(file.read_text()).values()))) == [
        (("a", False),),
        (("counted", True),),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["names.json"]


def test_where_nothing_new_was_read_the_file_is_left_alone(tmp_path, another_process):
    leave(tmp_path / "names.json")
    assert not list(tmp_path.iterdir())
    names_of(counting)
    leave(tmp_path / "names.json")
    another_process()
    take(tmp_path / "names.json")
    (tmp_path / "names.json").unlink()
    names_of(counting)
    leave(tmp_path / "names.json")
    assert not list(tmp_path.iterdir())
