"""Folders that checks have kept, opened again: what the check returned, and both runs at every moment stored."""

import json
import os
import shutil

import pytest

import dora_repro
from dora_repro import BadInput
from dora_repro.scripts.checking import check_script
from tests import runs
from tests.scripts.trainings import commands


def same(opened, returned):
    """Whether a report is the one that was returned, with all that lies in files of its own."""
    assert opened.to_dict() == returned.to_dict()
    assert str(opened) == str(returned)
    assert [step.effects for step in opened.resumed.steps] == [step.effects for step in returned.resumed.steps]
    return opened.reference.steps == returned.reference.steps


def test_several_checks_of_one_run_keep_their_evidence_and_say_later_what_they_said(every):
    returned, folder = every
    assert [str(report.verdict) for report in returned.reports] == ["DIFFERENT", "DIFFERENT"]
    opened = dora_repro.evidence(folder)
    assert repr(opened) == "KeptCheck(every step: 2 reports, DIFFERENT)"
    assert str(opened.result) == str(returned)
    for one, other in zip(opened.result.reports, returned.reports, strict=True):
        assert same(one, other)
        assert (one.drift.max_abs == other.drift.max_abs).all()
    assert [list(each.states) for each in opened.reports] == [[1, 3], [2, 3]]
    expected, actual = opened.first.states[1]
    assert expected["rng/torch.cpu"].digest != actual["rng/torch.cpu"].digest
    assert opened.first.killed is None


def test_a_resume_of_a_resume_is_kept_too(tmp_path):
    returned = dora_repro.twice(runs.Plain, steps=3, save_at=[1, 2], folder=tmp_path / "kept", in_process=True)
    opened = dora_repro.evidence(tmp_path / "kept")
    assert opened.result.verdict == returned.verdict == "EXACT"
    assert [each.trial for each in opened.reports] == [{}, {}]


def test_a_script_is_opened_as_a_run_object_is(launched):
    returned, folder = launched
    opened = dora_repro.evidence(folder)
    assert same(opened.result, returned)
    assert list(opened.first.states) == [3, 9]
    assert len(opened.first.killed.steps) == 4
    assert opened.first.trial["kill_after"] == 4 and opened.first.trial["step"] == 3


def test_a_check_that_came_to_no_comparison_has_its_reason_and_no_states(tmp_path):
    run, _ = commands(tmp_path)
    check_script(run, run, kill_after=4, folder=tmp_path / "kept")
    opened = dora_repro.evidence(tmp_path / "kept").first
    assert opened.report.reason.startswith("it did not resume: it began anew")
    assert (opened.states, opened.trial, opened.reference) == ({}, {}, None)


@pytest.mark.parametrize(
    "gone", ["reference/trace.jsonl", "resumed-2/result.json", "resumed-1/load.pt", "reference/save-2/before.pt"]
)
def test_evidence_of_which_a_file_is_gone_is_refused(every, tmp_path, gone):
    shutil.copytree(every[1], tmp_path / "kept")
    (tmp_path / "kept" / gone).unlink()
    with pytest.raises(BadInput, match=f"{gone} is gone, on which the report rests"):
        dora_repro.evidence(tmp_path / "kept")


def test_evidence_that_names_what_is_not_in_its_folder_is_refused(every, tmp_path):
    shutil.copytree(every[1], tmp_path / "kept")
    path = tmp_path / "kept" / "evidence.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"resumed-1"', '"../resumed-1"'), encoding="utf-8")
    with pytest.raises(BadInput, match=r"names '../resumed-1', which is not in it"):
        dora_repro.evidence(tmp_path / "kept")


@pytest.mark.parametrize(
    "wrong",
    [
        {"where": None}, {"where": ["load"]}, {"step": True}, {"saves": 1.5}, {"saves": {"x": []}}, {"loading": {}},
        {"saves": {"1": [{"path": "a"}]}}, {"facts": {}}, {"failure": {"error": "x"}}, {"told": "x"}, None,
    ],
)  # fmt: skip  # a table
def test_a_result_that_no_side_writes_is_refused(every, tmp_path, wrong):
    shutil.copytree(every[1], tmp_path / "kept")
    path = tmp_path / "kept" / "resumed-1" / "result.json"
    whole = json.loads(path.read_bytes())
    path.write_text(json.dumps({**whole, **wrong}) if wrong is not None else "[" * 100_000)
    with pytest.raises(BadInput, match=r"result\.json is not whole \(.+\): make the check again with --keep"):
        dora_repro.evidence(tmp_path / "kept")


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 100_000, "is not whole"), ('"answers": []', "has no report in it"), ('"title": 3', "is not whole")],
    ids=["nested without end", "no answers", "a title that is a number"],
)
def test_evidence_that_no_check_writes_is_refused(every, tmp_path, text, words):
    shutil.copytree(every[1], tmp_path / "kept")
    path = tmp_path / "kept" / "evidence.json"
    changed = json.dumps(json.loads(path.read_bytes()) | json.loads(f"{{{text}}}")) if ":" in text else text
    path.write_text(changed)
    with pytest.raises(BadInput, match=words):
        dora_repro.evidence(tmp_path / "kept")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "evidence.json")
    with pytest.raises(BadInput, match=r"evidence\.json.* is no file: name a folder that a check was told to --keep"):
        dora_repro.evidence(tmp_path)
