"""The process of trials: it is as the process of the check was, and how it ended is said."""

import sys
from dataclasses import replace

import pytest

from dora_repro import BadInput
from dora_repro.checks.keeping import Origin
from dora_repro.explain.trials.trial import Trial
from dora_repro.kept.process import TrialProcess, environment

HERE = Origin.here()


def test_what_changes_results_is_as_it_was_and_the_rest_as_it_is(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://of_a_notebook")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("HF_TOKEN", "of today")
    made = environment(replace(HERE, variables={"OMP_NUM_THREADS": "2"}))
    assert made["OMP_NUM_THREADS"] == "2" and made["HF_TOKEN"] == "of today"
    assert "MPLBACKEND" not in made


def test_a_process_that_ends_says_how(tmp_path):
    ending = replace(HERE, flags=("-c", "import sys; print('no memory', file=sys.stderr); sys.exit(3)"))
    result = TrialProcess(tmp_path, 0, ending).run(Trial(frozenset()))
    assert result.outcome == "unresolved"
    assert result.error == "the process of the trial ended with exit code 3\n  no memory"


def test_what_it_refuses_is_refused_here(tmp_path):
    with pytest.raises(BadInput, match="is no folder that a check has kept"):
        TrialProcess(tmp_path, 0, HERE).run(Trial(frozenset()))
    gone = replace(HERE, folder=str(tmp_path / "gone"), python=sys.executable)
    with pytest.raises(BadInput, match=r"the check was made in .*gone, which is gone: a trial has to run there"):
        TrialProcess(tmp_path, 0, gone).run(Trial(frozenset()))
