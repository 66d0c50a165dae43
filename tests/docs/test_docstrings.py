"""The examples in docstrings run, and print what they say: the lines of comment after a `print`."""

import contextlib
import functools
import inspect
import io
import re
import textwrap
from collections.abc import Callable, Iterable

import pytest

import dora_repro

# In this order: the first defines the run that the others use.
WITH_EXAMPLES = (
    dora_repro.check, dora_repro.every_step, dora_repro.compare, dora_repro.Recorder, dora_repro.Snapshot,
)  # fmt: skip  # a list of names


def example_in(documented: Callable) -> str:
    """The code of the section `Example:`: what is indented below its double colon; empty where there is none."""
    section = re.search(r"^Example:\n(.*?)(?=^\S|\Z)", inspect.getdoc(documented) or "", re.MULTILINE | re.DOTALL)
    return textwrap.dedent(section[1].partition("::\n")[2]).strip() if section else ""


def promised(code: str) -> list[str]:
    """What an example says that it prints: its lines that are comments."""
    return [line[2:] for line in code.splitlines() if line.startswith("# ")]


def printed(code: str, names: dict[str, object]) -> list[str]:
    """What it prints, run with (and leaving) these names."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, "<example>", "exec"), names)
    return output.getvalue().splitlines()


def broken(documented: Iterable[Callable]) -> list[str]:
    """Those without an example, or with one that prints nothing, or something else than it says."""
    names: dict[str, object] = {"__name__": "__main__"}
    wrong = []
    for each in documented:
        code = example_in(each)
        if not code or not promised(code):
            wrong.append(f"{each.__qualname__} has no example that prints")
        elif (found := printed(code, names)) != promised(code):
            wrong.append(f"{each.__qualname__} prints {found}")
    return wrong


def test_every_example_runs_and_prints_what_it_says(monkeypatch):
    for name in ("check", "every_step"):  # in this process, for speed
        monkeypatch.setattr(dora_repro, name, functools.partial(getattr(dora_repro, name), in_process=True))
    assert broken(WITH_EXAMPLES) == []


def first():
    """One.

    Example:
        To begin with::

            one = 1
            print(one)
            # 1
    """


def second():
    """Two.

    Example:
        With the above::

            print(one + 1)
            # 3

    Raises:
        Nothing: ever.
    """


def third():
    """No example."""


def test_an_example_that_prints_something_else_is_noticed():
    assert example_in(second) == "print(one + 1)\n# 3"
    assert broken([first]) == []
    assert broken([first, second, third]) == ["second prints ['2']", "third has no example that prints"]


def test_an_example_that_raises_is_noticed():
    with pytest.raises(NameError, match="one"):
        broken([second])
