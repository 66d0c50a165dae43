"""Naming a run: package.module:NAME, or path/to/file.py:NAME."""

import functools
import sys

import pytest

from dora_repro.cli.factory import found
from dora_repro.errors import BadInput
from dora_repro.sides.pickling import pickled
from tests.show.made import report

RUN = "from beside import NUMBER\nclass Run:\n    @classmethod\n    def made(cls): return NUMBER\nvalue = 3\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("NUMBER = 7\n", encoding="utf-8")
    (tmp_path / "my_runs.py").write_text(RUN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_module_of_this_folder_is_found(folder):
    assert found("my_runs:Run").__name__ == "Run"
    assert found("my_runs:Run.made")() == 7


def test_a_file_is_found_with_what_lies_beside_it(folder, monkeypatch):
    monkeypatch.chdir("/")
    assert found(f"{folder}/my_runs.py:Run.made")() == 7


def test_a_file_whose_name_is_taken_is_found_all_the_same(folder):
    import json

    (folder / "json.py").write_text("class Run: pass\n", encoding="utf-8")
    factory = found("json.py:Run")
    assert factory.__module__ != "json" and sys.modules["json"] is json
    assert len(pickled(factory)) > 0


def test_a_file_whose_name_is_no_module_name_is_found(folder):
    (folder / "train.v2.py").write_text("class Run: pass\n", encoding="utf-8")
    assert found("train.v2.py:Run").__name__ == "Run"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_runs", "'my_runs' names no run: give package.module:NAME or path/to/file.py:NAME"),
        (":Run", "':Run' names no run: give package.module:NAME or path/to/file.py:NAME"),
        ("my_runs:", "'my_runs:' names no run: give package.module:NAME or path/to/file.py:NAME"),
        ("my_rins:Run", "there is no module 'my_rins', neither here nor among what is installed"),
        ("my_runs.deep:Run", "there is no module 'my_runs.deep', neither here nor among what is installed"),
        ("no/file:Run", "there is no module 'no/file', neither here nor among what is installed: for a file give "
                        "path/to/file.py:NAME"),
        ("my_rins.py:Run", "there is no file my_rins.py: did you mean my_runs.py?"),
        ("gone/x.py:Run", "there is no file gone/x.py"),
        ("my_runs:Rum", "my_runs has no 'Rum': did you mean 'Run'?"),
        ("beside:Run", "beside has no 'Run': it has nothing to call"),
        ("my_runs:value", "my_runs:value is a int: name a class or function that builds a run"),
    ],
)  # fmt: skip  # a table
def test_what_is_not_there_is_named(folder, target, message):
    with pytest.raises(BadInput) as caught:
        found(target)
    assert str(caught.value) == message


@pytest.mark.parametrize("target", ["broken:Run", "broken.py:Run"])
@pytest.mark.parametrize("text", ["1 / 0\n", "import not_installed_anywhere\n", "def (:\n"])
def test_a_module_that_raises_shows_its_traceback(folder, target, text):
    (folder / "broken.py").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="raised when it was imported; fix it first:\nTraceback"):
        found(target)


def test_the_command_asks_about_the_run_that_was_named(folder, call, stand_in):
    asked = stand_in("run_check", report())
    assert call("check", "my_runs.py:Run", "--steps", 6, "--save-at", 3, "--ignore", "x").exit_code == 0
    (request,) = asked
    assert request.factory.__name__ == "Run"
    assert (request.steps, request.points, request.ignore) == (6, (3,), ("x",))
    assert request.title == "my_runs.py:Run"


def test_every_step_and_twice_are_asked(folder, call, stand_in):
    asked = stand_in("run_every_step", report())
    assert call("check", "my_runs:Run", "--steps", 6, "--every-step").exit_code == 0
    assert (asked[0].steps, asked[0].points) == (6, (0, 1, 2, 3, 4, 5, 6))
    asked = stand_in("run_twice", report())
    assert call("check", "my_runs:Run", "--steps", 6, "--twice", "--save-at", 2, "--save-at", 4).exit_code == 0
    assert asked[0].points == (2, 4)


def test_the_message_reaches_the_command_line(folder, call):
    done = call("check", "my_runs:Rum", "--steps", 6, "--save-at", 3)
    assert (done.exit_code, done.stderr) == (2, "Error: my_runs has no 'Rum': did you mean 'Run'?\n")


def test_a_partial_is_a_factory(folder):
    (folder / "partials.py").write_text("import functools\nrun = functools.partial(dict, a=1)\n", encoding="utf-8")
    assert isinstance(found("partials:run"), functools.partial)
