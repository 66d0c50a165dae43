"""Values of parameters at the end of every step: as they were then, and none beyond the limit."""

import torch

from dora_repro.recording import Recorder
from tests import runs


def test_values_are_kept_at_every_step_where_they_are_asked_for():
    run = runs.Plain()
    with Recorder(run, done=4, values=("model/*.weight",)) as recorder:
        before = run.model[0].weight.detach().clone()
        recorder.step()
        recorder.step()
    assert list(recorder.values) == [4, 5, 6]
    assert list(recorder.values[4]) == ["model/0.weight", "model/3.weight"]
    assert torch.equal(recorder.values[4]["model/0.weight"], before)
    assert torch.equal(recorder.values[6]["model/0.weight"], run.model[0].weight.detach())
    assert not torch.equal(recorder.values[5]["model/0.weight"], recorder.values[6]["model/0.weight"])
    with Recorder(runs.Plain()) as recorder:
        recorder.step()
    assert recorder.values == {}


def test_values_beyond_the_limit_are_not_kept_at_all(monkeypatch):
    monkeypatch.setattr("dora_repro.recording.values.VALUES_LIMIT", 1000)
    with Recorder(runs.Plain(), values=("*",)) as recorder:
        recorder.step()
    assert recorder.values == {} and recorder.facts()["values_dropped"] is True
    with Recorder(runs.Plain(), values=("*.bias",)) as recorder:
        recorder.step()
    assert len(recorder.values) == 2 and recorder.facts()["values_dropped"] is False
