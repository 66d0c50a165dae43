"""The round of a loop that follows a save, and how both runs meet it: scripts are run here as if they were main."""

import copy
import sys
import types

import pytest
import torch

from dora_repro.scripts.assignment import Round
from dora_repro.scripts.files import Files
from dora_repro.scripts.rounds import Rounds, round_of

AFTER = """
import torch

def act(buffer, number):
    buffer.append(number)

def train(buffer):
    passed()
    seen.append(sum(buffer))

def main():
    buffer, start = [], 0
    if resume:
        start = torch.load(f"{out}/a.pt")["next"]
    for number in range(start, 4):
        "A round."
        act(buffer, number)
        if number:
            train(buffer)
        if number == 1:
            torch.save({"next": 2}, f"{out}/a.pt")
        last = number

main()
"""

BEFORE = """
import torch
number = 0
if resume:
    number = torch.load(f"{out}/a.pt")["next"]
while number < 3:
    try:
        if number == 1:
            torch.save({"next": number}, f"{out}/a.pt")
            told = number
        passed()
        seen.append(number)
    finally:
        number += 1
"""

APART = """
import torch
for number in range(2):
    passed()
torch.save({}, f"{out}/a.pt")
print("over")
"""


def _plain(variables):
    return {name: copy.copy(value) for name, value in variables.items() if isinstance(value, (int, list))}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Executes a script that meets a round; returns what it met, with the variables then, and what it trained on."""

    def run(text, wanted=None):
        path, out = tmp_path / "train.py", tmp_path / "out"
        out.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        met, passes, seen = [], {}, []

        def passed():
            passes.clear()
            frame = sys._getframe(1)
            while frame.f_code.co_filename == str(path):
                passes[frame] = frame.f_lineno
                frame = frame.f_back

        names = {"__name__": "__main__", "__file__": str(path), "resume": wanted is not None}
        names |= {"out": str(out), "seen": seen, "passed": passed}
        tracing = sys.gettrace()
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", torch.save)
            files = Files(out, lambda: (0, 0))
            files.watch_torch()
            rounds = Rounds(lambda found, frame: met.append((found, _plain(frame.f_locals))))
            if wanted is None:
                rounds.after_save(files, out, lambda: True, lambda: passes)
            else:
                rounds.after_load(files, wanted, (str((out / "a.pt").resolve()),))
            try:
                exec(compile(text, str(path), "exec"), names)
            finally:
                sys.settrace(tracing)
                files.close()
        return met, seen

    return run


def line_of(text, code):
    return next(number for number, line in enumerate(text.splitlines(), 1) if code in line)


def test_a_round_begins_with_the_body_of_the_loop_where_the_loop_saves_after_it_trains(ran, tmp_path):
    [(found, variables)], _ = ran(AFTER)
    assert found == Round(str(tmp_path / "train.py"), "main", line_of(AFTER, "        act(buffer, number)"))
    assert (variables["number"], variables["buffer"]) == (2, [0, 1])
    [(again, there)], _ = ran(AFTER, found)
    assert (again, there["number"], there["buffer"]) == (found, 2, [])


def test_it_begins_after_the_statement_that_saves_where_that_comes_first(ran):
    [(found, variables)], _ = ran(BEFORE)
    assert (found.line, variables["number"]) == (line_of(BEFORE, "    passed()"), 1)
    [(again, there)], seen = ran(BEFORE, found)
    assert (again, there["number"], seen) == (found, 1, [1, 2])


def pickled(text):
    """The same script with a checkpoint that torch knows nothing of, written beside and renamed."""
    text = text.replace("import torch", "import os, pickle; from pathlib import Path")
    text = text.replace('torch.load(f"{out}/a.pt")', 'pickle.loads(Path(f"{out}/a.pt").read_bytes())')
    line = next(line for line in text.splitlines() if "torch.save" in line)
    indent, value = line[: len(line) - len(line.lstrip())], line.partition("torch.save(")[2].rpartition(", f")[0]
    write = f'Path(f"{{out}}/a.new").write_bytes(pickle.dumps({value})); os.replace(f"{{out}}/a.new", f"{{out}}/a.pt")'
    return text.replace(line, f"{indent}{write}")


@pytest.mark.parametrize("text", [AFTER, BEFORE])
def test_it_is_met_whatever_library_writes_and_reads_the_checkpoint(ran, text):
    [(by_torch, _)], _ = ran(text)
    [(found, variables)], _ = ran(pickled(text))
    assert found == by_torch
    [(again, there)], _ = ran(pickled(text), found)
    assert (again, there["number"]) == (found, variables["number"])


def test_a_round_is_met_once(ran):
    [(found, _)], _ = ran(AFTER)
    twice = AFTER.replace("        last = number", '        last = torch.load(f"{out}/a.pt")')
    met, _ = ran(twice, found)
    assert len(met) == 1


def test_a_table_that_is_written_is_no_save(ran):
    text = AFTER.replace('torch.save({"next": 2}, f"{out}/a.pt")', 'open(f"{out}/a.csv", "w").close()')
    assert ran(text)[0] == []


def test_a_save_outside_the_loop_has_no_round(ran):
    met, _ = ran(APART)
    assert met == []


def test_a_script_whose_source_cannot_be_read_has_none(tmp_path):
    code = compile("def f():\n    return 1\n", str(tmp_path / "gone.py"), "exec")
    frame = types.SimpleNamespace(f_code=code)
    assert round_of(frame, 1, 2) is None
