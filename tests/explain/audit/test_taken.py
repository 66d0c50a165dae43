"""What a function took from its data for the next step is told by the data, where both runs have that."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dora_repro.explain.audit.taken import taken_from
from dora_repro.state.snapshot import Snapshot, run_roots

DATA = torch.arange(24.0).reshape(6, 4)


def held(batch, data=DATA):
    return Snapshot.capture(run_roots(SimpleNamespace(data=data.clone(), batch=batch)))


@pytest.mark.parametrize(
    "rows, whole",
    [
        (DATA[2:4], "data"),
        (DATA[[5, 0]], "data"),  # a copy, in another order
        (DATA[2:4].numpy().copy(), "data"),
        (DATA[2:4] + 0.5, None),
        (DATA[2:4, :2].clone(), None),
        (DATA[0:0], None),
        (torch.tensor(3.0), None),
        (3, None),
    ],
)
def test_rows_of_data_are_found(rows, whole):
    assert taken_from("batch", held(rows), held(DATA[:2])) == whole


def test_data_that_the_resumed_run_has_otherwise_tell_nothing():
    assert taken_from("batch", held(DATA[2:4]), held(DATA[:2], DATA + 1)) is None
    assert taken_from("batch", held(DATA[2:4]), Snapshot.capture(run_roots(SimpleNamespace(batch=DATA)))) is None


def test_rows_of_an_array_are_found():
    data = np.arange(12).reshape(6, 2)
    one, other = (Snapshot.capture(run_roots(SimpleNamespace(data=data, row=data[i : i + 1].copy()))) for i in (2, 3))
    assert taken_from("row", one, other) == "data"
