"""Checks side by side, as text; and norms of DoRA layers."""

import math

import pytest
import torch

from dora_repro import BadInput, Drift
from dora_repro.checks import losses
from dora_repro.dora import norms
from dora_repro.show import tables
from dora_repro.study import TrainingConfig, UnexpectedVerdict
from dora_repro.trace import Step, Trace
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
        "trial  came of it                 steps  put back",
        "-----  -------------------------  -----  --------",
        "1      differs at step 3, update  1      nothing",
        "2      heals                      1      all that was lost",
        "3      no verdict                 0      rng/torch.cpu",
    ]


def test_how_far_a_loss_is_off_epoch_by_epoch():
    sides = ([4.0, 4.0, 2.0, 2.0, 1.0, 3.0], [2.0, 2.2, 1.0, 2.0])
    reference, resumed = (
        Trace([Step(first + index, loss, (), (), {}) for index, loss in enumerate(losses)])
        for first, losses in zip((1, 3), sides, strict=True)
    )
    histories = {"reference": {"validation_losses": [3.0, 2.0, 1.0]}, "resumed": {"validation_losses": [2.0, 1.5]}}
    report = made.report(save_at=2, steps=6, reference=reference, resumed=resumed, histories=histories)
    assert losses.losses_apart(report, 2) == [(1, pytest.approx(5.0)), (2, pytest.approx(25.0))]
    assert losses.validation_apart(report, 2) == [(1, 0.0), (2, 50.0)]
    with pytest.raises(ValueError, match="no history 'nothing'"):
        losses.validation_apart(report, 2, "nothing")


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


def test_whether_each_did_as_promised():
    text = tables.expectation_table(TrainingConfig(), REPORTS)
    assert "dora-only   DIFFERENT  the checkpoint lacks AdamW's moments" in text
    with pytest.raises(UnexpectedVerdict):
        tables.expectation_table(TrainingConfig(), {"complete": made.different()})


def test_norms_of_both_sides_of_each_layer():
    held = {"model/a.m": torch.tensor([3.0, 4.0]), "model/a.delta_D_A": torch.tensor([[1.0, 0.0]]),
            "model/a.delta_D_B": torch.tensor([[2.0], [0.0]]), "model/head.weight": torch.ones(1)}  # fmt: skip
    grown = {**held, "model/a.m": torch.tensor([6.0, 8.0])}
    found = norms.norms(Drift.between({1: held, 2: held, 3: grown}, {2: held, 3: held}), scaling=2.0)
    assert found == {
        "length of m": [("model/a", (1, 2, 3), (5.0, 5.0, 10.0)), ("model/a", (2, 3), (5.0, 5.0))],
        "size of the low-rank update": [("model/a", (1, 2, 3), (4.0,) * 3), ("model/a", (2, 3), (4.0,) * 2)],
    }
    assert math.isclose(found["length of m"][0][2][2], 10.0)


def test_without_a_dora_layer_there_are_no_norms():
    with pytest.raises(BadInput, match="no DoRA layer among the parameters: ask the check for values='model/\\*'"):
        norms.norms(drift(2, 3))
