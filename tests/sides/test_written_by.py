"""Whether a run's own code builds what is saved, and which of the functions that it is in are a library's."""

import importlib
import pickle
import sys

import pytest
import torch

from dora_repro.sides.written_by import library_functions, writers_of


def written(self, path):
    torch.save(self.state(), path)


@pytest.mark.parametrize(
    "save",
    [
        lambda self, path: torch.save(self.state(), path),
        lambda self, path: written(self, path),
        lambda self, path: self.keeper(self.state(), path),
    ],
    ids=["itself", "by a function", "by what it holds"],
)
def test_it_is_seen_through_functions_and_attributes(save):
    run = type("Mine", (), {"save": save, "state": dict})()
    run.keeper = torch.save if "keeper" in save.__code__.co_names else None
    assert writers_of(run, {}) == ["torch.save"]


def test_a_run_that_writes_nothing_itself_has_no_writers():
    run = type("Mine", (), {"save": lambda self, path: self.library.save_checkpoint(path)})()
    run.library = object()
    assert writers_of(run, {}) == []
    assert writers_of(run, {"fabric": "library"}) == []


def test_a_librarys_method_that_is_given_a_dict_counts_as_the_users_own():
    run = type("Mine", (), {"save": lambda self, path: self.fabric.save(path, {"a": 1})})()
    assert writers_of(run, {"fabric": "fabric"}) == ["fabric.save"]
    assert writers_of(run, {"accelerate": "fabric"}) == ["accelerate.save"]


def test_a_module_that_a_function_imports_for_itself_is_followed():
    def save(self, path):
        import pickle as packed

        packed.dumps(vars(self))

    assert writers_of(type("Mine", (), {"save": save})(), {}) == ["pickle.dumps"]
    assert pickle.dumps.__module__ == "_pickle"


def loop(turns):
    turn = 0
    while turn < turns:
        yield turn
        turn += 1


def test_a_function_of_a_library_is_told_from_the_users_own(tmp_path, monkeypatch):
    (folder := tmp_path / "site-packages").mkdir()
    (folder / "looping_library.py").write_text("def turns(count):\n    for turn in range(count):\n        yield turn\n")
    monkeypatch.syspath_prepend(str(folder))
    library = importlib.import_module("looping_library")
    run = type("Mine", (), {})()
    run.own, run.theirs = loop(3), library.turns(3)
    next(run.own), next(run.theirs)
    assert library_functions(run) == {"theirs": "looping_library"}
    del sys.modules["looping_library"]
