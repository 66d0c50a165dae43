"""A file to compare is read as what it says it is."""

import pytest
import torch

from dora_repro import BadInput, Snapshot
from dora_repro.checkpoint.reading import Leaves
from dora_repro.comparison.files import read_side
from dora_repro.comparison.stepwise import Sides
from dora_repro.trace import Step, Trace


def test_a_trace_a_snapshot_and_a_checkpoint_are_told_apart(tmp_path):
    Trace([Step(1, 0.5, (), (), {})]).write(tmp_path / "any")
    Snapshot.capture({"model": torch.nn.Linear(2, 1)}).write(tmp_path / "snapshot.pt")
    torch.save({"format": "another", "w": torch.ones(2)}, tmp_path / "checkpoint.pt")
    assert [type(read_side(tmp_path / name)) for name in ("any", "snapshot.pt", "checkpoint.pt")] == [
        Trace, Snapshot, Leaves,
    ]  # fmt: skip  # three in a line


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no such file"):
        read_side(tmp_path / "gone.pt")


def test_a_trace_has_no_values_to_look_at_step_by_step(tmp_path):
    Trace([Step(1, 0.5, (), (), {})]).write(tmp_path / "trace.jsonl")
    with pytest.raises(BadInput, match="is a trace, which holds digests: give a snapshot or a checkpoint file"):
        Sides(tmp_path / "trace.jsonl", tmp_path / "trace.jsonl")
