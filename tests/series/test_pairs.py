"""Two series side by side: where their bytes part, and how far they go apart."""

import pytest
import torch

from dora_repro import BadInput
from dora_repro.series.pairs import compare_series
from dora_repro.series.series import Series
from tests.series.folders import kit, peft


def test_two_runs_part_where_their_bytes_do(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", rng={"torch": torch.zeros(5056, dtype=torch.uint8)}))
    other = Series.read(kit(tmp_path / "other", range(2, 9), later, rng={"torch": torch.ones(5056, dtype=torch.uint8)}))
    both = compare_series(one, other)
    assert (both.numbers, both.first, both.only_in) == ((2, 3, 4, 5, 6, 7), 4, ((1,), (8,)))
    assert both.equal == (True, True, False, False, False, False)
    assert both.components["rng"] == 2 and both.components["progress"] is None
    assert (both.distances[:, :2] == 0).all() and (both.distances[:, 2:] > 0).all()
    same = compare_series(one, one)
    assert same.first is None and same.numbers == tuple(range(1, 8)) and all(same.equal)
    assert Series.read_any(None) is compare_series(one, None) is None


def test_minus_zero_is_another_byte_and_no_distance(tmp_path):
    def signed(epoch, held):
        return {name: torch.zeros_like(value) * (-1 if epoch == 2 else 1) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", [1, 2], lambda epoch, held: signed(1, held)))
    both = compare_series(one, Series.read(kit(tmp_path / "other", [1, 2], signed)))
    assert both.first == 2 and both.distances[:, 1].tolist() == [0, 0, 0]


def test_what_cannot_lie_side_by_side_is_refused(tmp_path):
    one = Series.read(kit(tmp_path / "one"))
    with pytest.raises(BadInput, match=r"counts in epochs and .* in checkpoints"):
        compare_series(one, Series.read(peft(tmp_path / "peft")))
    with pytest.raises(BadInput, match="no epoch with parameters in common"):
        compare_series(one, Series.read(kit(tmp_path / "late", [20, 21])))
