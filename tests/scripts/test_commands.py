"""Commands with placeholders: what they stand for, and what is refused."""

import sys

import pytest

from dora_repro.errors import BadInput
from dora_repro.scripts.commands import Command, of_a_shell


def test_placeholders_are_filled_in_every_word():
    command = Command("{python} train.py --out={out} '{out}/a b' {newest}", "--run")
    filled = command.filled({"{out}": "/tmp/o u", "{newest}": "/tmp/c.pt"})
    assert filled.words == (sys.executable, "train.py", "--out=/tmp/o u", "/tmp/o u/a b", "/tmp/c.pt")


def test_variables_before_the_program_are_of_its_environment():
    filled = Command("A=1 B='x y' {python} -V", "--run").filled({})
    assert filled.variables == {"A": "1", "B": "x y"}
    assert filled.words == (sys.executable, "-V")
    assert filled.text == f"A=1 B='x y' {sys.executable} -V"


def test_what_a_shell_reads_is_quoted_where_the_user_did_not():
    filled = Command("""bash -c 'python t.py {out}/a "{out}"' {out}""", "--run").filled({"{out}": "/o u"})
    assert filled.words[2:] == ("""python t.py '/o u'/a "/o u\"""", "/o u")


def test_braces_that_are_no_placeholders_are_left_alone():
    command = Command("""{python} -c 'print({"a": 1}, {lr})'""", "--run")
    assert command.filled({}).words[-1] == 'print({"a": 1}, {lr})'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "give a command"),
        ("{python} train.py --out {outt}", "did you mean {out}"),
        ("{python} train.py {newset}", "did you mean {newest}"),
        ("python 'train.py", "cannot be read as a command"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, says):
    with pytest.raises(BadInput, match=says.replace("{", r"\{")):
        Command(text, "--run")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no-such-program --out {out}", "there is no program 'no-such-program'"),
        ("pyton train.py", r"there is no program 'pyton'; {python} stands for the one"),
        ("A=1", "names no program to run"),
    ],
)
def test_a_program_that_is_not_there_is_refused(text, says):
    with pytest.raises(BadInput, match=says.replace("{", r"\{")):
        Command(text, "--resume")


def test_a_file_that_cannot_be_executed_is_told_from_one_that_is_not_there(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("")
    with pytest.raises(BadInput, match=r"cannot be executed; put \{python\} before it"):
        Command(f"{path} --out {{out}}", "--run")


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("env a | tee log", "|"),
        ("cd there && env a", "&&"),
        ("env a > log.txt", ">"),
        ("env a 2>&1", ">"),
        ("env a &", "&"),
        ("env a; env b", ";"),
        ("env --data $HOME/data", "$H"),
        ('env --data "${DATA}"', "${D"),
        ("env `date`", "`"),
        ("""env "it's" | cat""", "|"),
        ("env 'a && b'", None),
        ('env --filter "a > b"', None),
        (r"env a\;b \"|\"", "|"),
        (r"env a\;b '|' \$HOME", None),
        ("""bash -c 'cd there && env "$HOME"'""", None),
    ],
)
def test_what_only_a_shell_understands_is_refused(text, piece):
    assert of_a_shell(text) == piece
    if piece is None:
        Command(text, "--run")
    else:
        with pytest.raises(BadInput, match="write bash -c '…' around it"):
            Command(text, "--run")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{python} -u some/where/train.py --out {out}", "train.py"),
        ("A=1 {python} -m package.train --out {out}", "package.train"),
        ("{python} -m torch.distributed.run --nproc-per-node 2 ddp.py", "ddp.py"),
        ("bash -c 'cd there && {python} train.py'", "train.py"),
        ("{python} 'some where/träin ing.py'", "träin ing.py"),
        ("/usr/bin/env x", "env"),
    ],
)
def test_a_command_has_the_name_of_its_script(text, name):
    assert Command(text, "--run").name == name


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("{python} -I train.py", "-I"),
        ("A=1 {python} -u -sE train.py", "-sE"),
        ("{python} train.py -E", None),
        ("env {python} -S train.py", "-S"),
        ("env -i", None),
    ],
)
def test_an_option_that_hides_the_recorder_is_found(text, option):
    assert Command(text, "--run").isolating == option


@pytest.mark.parametrize(
    ("resume", "more"),
    [
        ("python train.py --out {out}", False),
        ("python train.py --out {out} --resume {newest}", False),
        ("python train.py --out {out} --resume", False),
        ("python train.py --out {out} --resume={newest}", False),
        ("python train.py --out {out} --ckpt {newest}", False),
        ("python train.py --out {out} --init_from=resume", False),
        ("python train.py --out {out} --resume {newest} --lr 0.1", True),
        ("python train.py --out {out} --resume {newest} --lr=0.1", True),
        ("python train.py --out {out} --config resumed.yaml", True),
        ("python finetune.py --out {out} --resume {newest}", True),
        ("python train.py --out {out} --resume {newest} --no-warmup", True),
    ],
)
def test_what_a_resume_is_told_besides_is_known(resume, more):
    assert Command(resume, "--resume").tells_more_than(Command("python train.py --out {out}", "--run")) is more
