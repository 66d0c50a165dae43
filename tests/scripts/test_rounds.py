"""The round of a loop that follows a save, and how both runs meet it: scripts are run here as if they were main."""

import copy
import sys
import types

import pytest
import torch

from dora_repro.scripts.assignment import Round
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
            patched.setattr(torch, "load", torch.load)
            rounds = Rounds(lambda found, frame: met.append((found, _plain(frame.f_locals))))
            if wanted is None:
                rounds.after_save(out, lambda: True, lambda: passes)
            else:
                rounds.after_load(wanted, (str((out / "a.pt").resolve()),))
            try:
                exec(compile(text, str(path), "exec"), names)
            finally:
                sys.settrace(tracing)
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


def test_a_save_outside_the_loop_has_no_round(ran):
    met, _ = ran(APART)
    assert met == []


def test_a_script_whose_source_cannot_be_read_has_none(tmp_path):
    code = compile("def f():\n    return 1\n", str(tmp_path / "gone.py"), "exec")
    frame = types.SimpleNamespace(f_code=code)
    assert round_of(frame, 1, 2) is None
