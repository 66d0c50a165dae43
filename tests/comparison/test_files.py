"""A file to compare is read as what it says it is."""

import numpy as np
import pytest
import torch

from dora_repro import BadInput, Snapshot
from dora_repro.checkpoint.reading import Leaves
from dora_repro.comparison.files import read_side
from dora_repro.trace import Step, Trace


def test_a_trace_a_snapshot_and_a_checkpoint_are_told_apart(tmp_path):
    Trace([Step(1, 0.5, (), (), {})]).write(tmp_path / "any")
    Snapshot.capture({"model": torch.nn.Linear(2, 1)}).write(tmp_path / "snapshot.pt")
    torch.save({"format": "another", "w": torch.ones(2)}, tmp_path / "checkpoint.pt")
    assert [type(read_side(tmp_path / name)) for name in ("any", "snapshot.pt", "checkpoint.pt")] == [
        Trace, Snapshot, Leaves,
    ]  # fmt: skip  # three in a line


def test_an_entry_that_is_named_format_need_be_no_text(tmp_path):
    for form in (torch.ones(2), np.array([1.0, 2.0]), 3):
        torch.save({"format": form, "w": torch.ones(2)}, tmp_path / "checkpoint.pt")
        assert set(read_side(tmp_path / "checkpoint.pt")) == {"format", "w"}


def test_of_a_folder_what_can_be_read_is_and_the_rest_is_named(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pt")
    (tmp_path / "optimizer.pt").write_bytes(b"")
    leaves = read_side(tmp_path)
    assert list(leaves) == ["model.pt/w"] and list(leaves.about.unread) == ["optimizer.pt"]


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no such file"):
        read_side(tmp_path / "gone.pt")
