"""Notebooks that pass, fail, hang and lie, executed as the command executes them: in a process that can be ended."""

import json

import pytest

from dora_repro.errors import BadInput
from dora_repro.headless import child, running
from tests.headless import specimens

LIMITS = {"cell_timeout": 60.0, "timeout": 120.0}


def executed(tmp_path, *sources, parameters="", given=None, **limits):
    path = specimens.write(tmp_path / "specimen.ipynb", *sources, parameters=parameters)
    return running.execute(path, given or {}, tmp_path / "out", **{**LIMITS, **limits})


@pytest.mark.parametrize(("checkpoint", "verdict"), [("complete", "EXACT"), ("dora-only", "DIFFERENT")])
def test_a_check_that_must_fail_fails_as_promised(tmp_path, checkpoint, verdict):
    kept = f"{specimens.ASK}\ndora_repro.study.expectation(config).check(report)"
    found = executed(tmp_path, kept, parameters='checkpoint = "complete"', given={"checkpoint": checkpoint})
    assert (found.outcome, found.verdict, found.expected) == ("passed", verdict, (verdict,)), found.problem
    assert found.parameters == {"checkpoint": checkpoint}


def test_a_notebook_that_promises_what_it_does_not_keep_fails(tmp_path):
    liar = f"{specimens.ASK}\ndora_repro.study.expectation(dora_repro.study.TrainingConfig()).check(report)"
    found = executed(tmp_path, liar, parameters='checkpoint = "dora-only"')
    assert found.outcome == "failed"
    said = "cell 2 raised UnexpectedVerdict: expected EXACT, since all that a step reads is in the checkpoint"
    assert said in found.problem


def test_a_cell_that_raises_fails_the_notebook_and_the_copy_is_there(tmp_path):
    found = executed(tmp_path, "print(1)", "1 / 0", "print(2)")
    assert (found.outcome, found.problem) == ("failed", "cell 2 raised ZeroDivisionError: division by zero")
    assert found.copy.exists() and not found.passed


def test_what_a_widgets_callback_raises_fails_the_notebook(tmp_path):
    found = executed(tmp_path, specimens.CALLBACK)
    assert found.outcome == "failed" and "RuntimeError: in a callback" in found.problem


def test_what_an_output_widget_swallows_fails_the_notebook(tmp_path):
    found = executed(tmp_path, specimens.SWALLOWED, "print('on it goes')")
    assert (found.outcome, found.problem) == ("failed", "a widget raised RuntimeError: swallowed")


def test_a_cell_that_hangs_is_stopped_by_its_limit(tmp_path):
    found = executed(tmp_path, "import time\ntime.sleep(600)", cell_timeout=4.0)
    assert (found.outcome, found.problem) == ("stopped", "a cell did not finish within 4 s")
    assert found.seconds < 60


def test_a_notebook_that_hangs_is_stopped_from_outside_with_its_kernel(tmp_path):
    mark = tmp_path / "kernel.pid"
    source = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    found = executed(tmp_path, source, timeout=20.0)
    assert (found.outcome, found.problem) == ("stopped", "did not finish within 20 s")
    assert not _alive(int(mark.read_text()))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_kernel_that_dies_fails_the_notebook(tmp_path):
    found = executed(tmp_path, "import os\nos._exit(1)")
    assert found.outcome == "failed" and "DeadKernelError" in found.problem


def test_several_are_executed_side_by_side_and_each_is_told(tmp_path):
    paths = [specimens.write(tmp_path / f"{name}.ipynb", f"print({name!r})") for name in ("a", "b", "c")]
    done = list(running.execute_all([(path, {}) for path in paths], tmp_path / "out", jobs=2, **LIMITS))
    assert sorted(one.name for one in done) == ["a", "b", "c"] and all(one.passed for one in done)


def test_a_verdict_that_was_not_promised_is_seen_in_the_copy_alone(tmp_path):
    said = {"verdict": "EXACT", "expected": ["DIFFERENT"]}
    content = specimens.notebook("x")
    content["cells"][0]["outputs"] = [
        {"output_type": "execute_result", "data": {running.MIME: said}, "metadata": {}, "execution_count": 1}
    ]
    path = tmp_path / "copy.ipynb"
    path.write_text(json.dumps(content))
    assert running.judge(path)[0] == "failed" and "not one that was expected: DIFFERENT" in running.judge(path)[3]


def test_no_copy_takes_the_place_of_a_notebook_or_of_another_copy(tmp_path):
    path = specimens.write(tmp_path / "a.ipynb", "1")
    (tmp_path / "other").mkdir()
    same_name = specimens.write(tmp_path / "other" / "a.ipynb", "2")
    before = path.read_bytes()
    for paths, out, said in (
        ([path], tmp_path, "its copy would take its place"),
        ([path, same_name], tmp_path / "out", "two notebooks are called a.ipynb"),
        ([same_name], path, "is a file: name a folder"),
    ):
        with pytest.raises(BadInput, match=said):
            list(running.execute_all([(each, {}) for each in paths], out, jobs=1, **LIMITS))
    assert path.read_bytes() == before


def test_a_torn_copy_is_a_failure(tmp_path):
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    assert running.judge(tmp_path / "torn.ipynb")[::3] == (
        "failed",
        "the executed copy is torn: its process was ended while it wrote",
    )


@pytest.mark.parametrize(("dies", "code"), [(1, None), (2, 1)])
def test_a_kernel_that_dies_before_it_answers_is_started_once_more(monkeypatch, capsys, dies, code):
    started = []

    def execute_notebook(*words, **options):
        started.append(words)
        if len(started) <= dies:
            raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr("papermill.execute_notebook", execute_notebook)
    asked = {"notebook": "a.ipynb", "copy": "b.ipynb", "parameters": {}, "cell_timeout": 1}
    if code is None:
        child.main(asked)
    else:
        with pytest.raises(SystemExit, match="1"):
            child.main(asked)
        assert "before replying" in capsys.readouterr().out
    assert len(started) == 2
