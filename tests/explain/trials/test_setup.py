"""What all trials have in common: read once, and found where the folder went."""

from dataclasses import asdict
from pathlib import Path

import pytest

from dora_repro.explain.trials import setup
from dora_repro.explain.trials.setup import Inputs, TrialSetup
from dora_repro.explain.trials.trial import Outcome, Trial, TrialResult
from dora_repro.explain.trials.worker import answer_trials, prepare


def test_what_was_read_beforehand_is_not_read_again(lost, monkeypatch):
    read = {}
    monkeypatch.setattr(setup, "_read_before", read)
    about = asdict(lost.setup)
    prepare(about)
    expected = lost.runner().result(Trial(lost.lost))
    monkeypatch.setattr(Inputs, "read", lambda setup: pytest.fail("read again"))
    assert TrialResult.from_dict(answer_trials(lost.factory, about)(Trial(lost.lost).to_dict())) == expected
    assert expected.outcome is Outcome.SAME and list(read) == [lost.setup]


def test_the_setup_is_found_in_a_folder_that_was_moved(lost, tmp_path):
    folder = tmp_path / "elsewhere"
    moved = TrialSetup.below(
        folder, {**lost.setup.within(Path(lost.setup.reference).parent), "at_end": ["a"], "late": ["b"]}
    )
    assert moved.load == str(folder / "reference/save-2/first/step2.pt") and moved.at_end == ("a",)
    assert moved.late == ("b",) and moved.objects is None and moved.steps == 4


def test_paths_of_a_setup_are_told_relative_to_its_folder(lost):
    fields = lost.setup.within(Path(lost.setup.reference).parent)
    assert fields["reference"] == "reference" and fields["objects"] is None and fields["start"] == 2


def test_nothing_is_passed_over_or_late_unless_that_is_said():
    setup = TrialSetup("load", 1, 2, "reference", "resumed", "saved")
    assert (setup.passed_over, setup.late, setup.at_end, setup.raised) == (0, (), (), False)
