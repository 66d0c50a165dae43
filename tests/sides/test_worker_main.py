"""The main function of a side's interpreter, in pieces; whole interpreters are tested in test_processes.py."""

import sys

import pytest

from dora_repro.sides import worker_main
from dora_repro.sides.worker_main import answer_one, preload, resolve


def test_a_function_is_found_by_module_and_name():
    assert resolve("dora_repro.sides.worker_main:resolve") is resolve


@pytest.mark.parametrize("name", ["dora_repro.sides.worker_main:gone", "no.such.module:work"])
def test_a_name_that_leads_nowhere_raises(name):
    with pytest.raises((AttributeError, ImportError)):
        resolve(name)


def test_modules_are_imported_and_a_missing_one_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "there_to_preload.py").write_text("value = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "there_to_preload", raising=False)
    preload(("no_such_module_to_preload", "there_to_preload"))
    assert sys.modules["there_to_preload"].value == 1
    assert "no_such_module_to_preload" not in sys.modules


def adder(factory, about):
    return lambda question: {"sum": factory() + about["more"] + question["number"]}


def test_a_question_is_answered_by_what_its_maker_returns():
    emitted = []
    told = {"maker": f"{__name__}:adder", "about": {"more": 10}}
    answer_one(lambda: 100, told, lambda: {"number": 2}, emitted.append)
    assert emitted == [{"event": "answer", "sum": 112}]


def test_the_kit_that_every_side_needs_is_there_to_import():
    preload(worker_main.KIT)
    assert set(worker_main.KIT) <= set(sys.modules)
