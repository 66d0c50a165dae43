"""Commands with placeholders: what they stand for, and what is refused."""

import sys

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.commands import Command


def test_placeholders_are_filled_in_every_word():
    command = Command("{python} train.py --out={out} '{out}/a b' {newest}", "--run")
    filled = command.filled({"{out}": "/tmp/o u", "{newest}": "/tmp/c.pt"})
    assert filled.words == (sys.executable, "train.py", "--out=/tmp/o u", "/tmp/o u/a b", "/tmp/c.pt")


def test_variables_before_the_program_are_of_its_environment():
    filled = Command("A=1 B='x y' {python} -V", "--run").filled({})
    assert filled.variables == {"A": "1", "B": "x y"}
    assert filled.words == (sys.executable, "-V")
    assert filled.text == f"A=1 B='x y' {sys.executable} -V"


def test_braces_that_are_no_placeholders_are_left_alone():
    command = Command("""{python} -c 'print({"a": 1}, {lr})'""", "--run")
    assert command.filled({}).words[-1] == 'print({"a": 1}, {lr})'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "give the command that trains"),
        ("python train.py --out {outt}", "did you mean {out}"),
        ("python train.py {newset}", "did you mean {newest}"),
        ("python 'train.py", "cannot be read as a command"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, says):
    with pytest.raises(BadInput, match=says.replace("{", r"\{")):
        Command(text, "--run")


@pytest.mark.parametrize("text", ["no-such-program --out {out}", "A=1"])
def test_a_program_that_is_not_there_is_refused(text):
    with pytest.raises(BadInput, match="no program"):
        Command(text, "--run").filled({"{out}": "o"})
