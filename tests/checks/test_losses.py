"""How far the resumed run's losses are off, epoch by epoch."""

import pytest

from dora_repro.checks import losses
from dora_repro.trace import Step, Trace
from tests.show import made


def test_how_far_a_loss_is_off_epoch_by_epoch():
    sides = ([4.0, 4.0, 2.0, 2.0, 1.0, 3.0], [2.0, 2.2, 1.0, 2.0])
    reference, resumed = (
        Trace([Step(first + index, loss, (), (), {}) for index, loss in enumerate(losses)])
        for first, losses in zip((1, 3), sides, strict=True)
    )
    histories = {"reference": {"validation_losses": [3.0, 2.0, 1.0]}, "resumed": {"validation_losses": [2.0, 1.5]}}
    report = made.report(save_at=2, steps=6, reference=reference, resumed=resumed, histories=histories)
    assert losses.loss_distances(report, 2) == [(1, pytest.approx(5.0)), (2, pytest.approx(25.0))]
    assert losses.validation_distances(report, 2) == [(1, 0.0), (2, 50.0)]
    with pytest.raises(ValueError, match="no history 'nothing'"):
        losses.validation_distances(report, 2, "nothing")
