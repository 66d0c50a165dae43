"""Advised lines executed with the names of a function: what they set is there, and what goes wrong ends the process."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from dora_repro.scripts import executing
from dora_repro.scripts.assignment import GivenLine
from dora_repro.scripts.executing import Execution


@pytest.fixture
def execution(monkeypatch):
    told = []
    monkeypatch.setattr(executing.os, "kill", lambda pid, signal: told.append("killed"))
    made = Execution("state", told.append, {"history": [1]})
    made.told = told
    return made


def test_a_line_sets_variables_of_its_function_and_shares_the_others(execution):
    best, shared = 1, {"state": {"best": 7}}
    execution.run(GivenLine('best = state["best"]'), sys._getframe(), shared)
    assert best == 7 and "best" not in shared
    execution.run(GivenLine("more = [*history, best]"), sys._getframe(), shared)
    assert shared["more"] == [1, 7] and not execution.busy
    execution.shared = {"state": {"best": 9}}
    execution.run(GivenLine('best = state["best"]'), sys._getframe())
    assert best == 9


def test_what_a_line_raises_is_told_and_ends_the_process(execution):
    execution.run(GivenLine("state['best']"), sys._getframe(), {"state": {}})
    assert execution.told == [{"error": "KeyError: 'best'"}, "killed"] and not execution.busy


def test_a_line_has_to_wait_for_names_that_do_not_exist_yet(execution):
    lines = [GivenLine("kept = len(history)"), GivenLine("print(kept, later)")]
    frame = sys._getframe()
    assert execution.misses(lines, frame) and not execution.misses(lines[:1], frame)
    later = 1
    assert later and not execution.misses(lines, sys._getframe())


def test_a_line_of_another_file_reads_that_one_as_its_state(execution, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"n": 1}), encoding="utf-8")
    torch.save({"n": 2}, tmp_path / "a.pt")
    save_file({"n": torch.tensor(3)}, tmp_path / "a.safetensors")
    shared = {"state": {"n": 0}}
    for name in ("a.json", "a.pt", "a.safetensors"):
        execution.run(GivenLine("found = int(state['n'])", file=str(tmp_path / name)), sys._getframe(), shared)
        shared[name] = shared.pop("found")
    assert [shared[name] for name in ("a.json", "a.pt", "a.safetensors")] == [1, 2, 3] and shared["state"] == {"n": 0}
