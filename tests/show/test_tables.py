"""Checks side by side, as text."""

import pytest

from dora_repro import BadInput
from dora_repro.show import tables
from dora_repro.study import TrainingConfig, UnexpectedVerdict
from tests.show import made
from tests.show.test_figures import drift

REPORTS = {"dora-only": made.different(drift=drift(2, 5)), "complete": made.report(drift=drift(2, 5, grow=0.0))}


def test_what_each_checkpoint_loses():
    assert tables.lost_table(REPORTS).splitlines() == [
        "checkpoint  verdict    first differs at  leaves lost",
        "----------  ---------  ----------------  -----------",
        "dora-only   DIFFERENT  step 3, update    optimizer 4, rng 1",
        "complete    EXACT      nowhere           nothing",
    ]  # fmt: skip


def test_trials_are_told_with_what_came_of_them():
    assert tables.trial_table(made.explained()).splitlines() == [
        "trial  result                           steps  restored",
        "-----  -------------------------------  -----  --------",
        "1      differs at step 3, phase update  1      nothing",
        "2      restores exact resume            1      all that was lost",
        "3      unresolved                       0      rng/torch.cpu",
    ]


def test_what_is_lost_is_a_line_for_each_kind():
    assert tables.lost_leaves(made.different()).splitlines()[-1].startswith("rng/torch.cpu")
    assert tables.lost_leaves(made.report()) == "nothing differs right after loading"


def test_how_far_each_run_drifts():
    lines = tables.drift_table(REPORTS, after=(1, 4)).splitlines()
    assert lines[0].split() == ["checkpoint", "after", "1", "after", "4"]
    assert lines[3].split() == ["complete", "0.00e+00", "0.00e+00"]
    assert float(lines[2].split()[1]) == pytest.approx(1e-6, rel=0.2)
    with pytest.raises(BadInput, match="steps=9: both runs did 4 steps after loading"):
        tables.drift_table(REPORTS, after=(9,))
    with pytest.raises(BadInput, match="one has no drift: ask the check for values, as in values='model/\\*'"):
        tables.drift_table({"one": made.report()})


def test_whether_each_did_as_promised():
    text = tables.expectation_table(TrainingConfig(), REPORTS)
    assert "dora-only   DIFFERENT  the checkpoint lacks AdamW's moments" in text
    with pytest.raises(UnexpectedVerdict):
        tables.expectation_table(TrainingConfig(), {"complete": made.different()})
