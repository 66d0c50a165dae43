"""Which files of a folder belong together, and what is read from each layout; torn and hostile ones too."""

import numpy as np
import pytest
import torch

from dora_repro import BadInput
from dora_repro.series.pairs import compare_series
from dora_repro.series.series import MEASURES, Series
from tests.series.folders import LAYERS, dora, kit, peft, study


@pytest.mark.parametrize("beside", ["", "random_states"])
def test_the_studys_files_are_put_together_by_epoch(tmp_path, beside):
    series = Series.read(study(tmp_path / "run", beside=beside))
    assert series.numbers == (1, 2, 3, 4, 5) and series.layers == tuple(sorted(LAYERS))
    assert all(set(held) == {"adapter", "rng"} for held in series.components)
    assert set(series.layouts) == {("study parameters", "study random states")}
    same = Series.read(kit(tmp_path / "kit", range(1, 6)))
    for measure in MEASURES:
        assert np.array_equal(series.measures[measure], same.measures[measure], equal_nan=True)
    assert compare_series(series, same).first is None  # another layout, the same bytes


def test_adapters_of_peft_are_the_same_layers_by_other_names(tmp_path):
    series = Series.read(peft(tmp_path / "run"))
    assert (series.unit, series.numbers, series.spacing, series.gaps) == ("checkpoint", (100, 200, 300), 100, ())
    assert series.layers == tuple(sorted(f"base_model.model.{layer}" for layer in LAYERS))
    (tmp_path / "kit").mkdir()
    torch.save(dora(200), tmp_path / "kit" / "epoch200.pt")
    alike = Series.read(tmp_path / "kit", alpha=32)  # as peft's own config says
    assert series.measures["update"][:, 1] == pytest.approx(alike.measures["update"][:, 0])
    assert series.measures["magnitude"][:, 1] == pytest.approx(alike.measures["magnitude"][:, 0])
    plain = Series.read(peft(tmp_path / "lora", dora_used=False))
    assert np.isnan(plain.measures["magnitude"]).all() and np.isfinite(plain.measures["update"]).all()


def test_a_file_without_a_number_is_placed_by_the_epoch_that_it_holds(tmp_path):
    kit(tmp_path, [4]).joinpath("epoch4.pt").rename(tmp_path / "last.pt")
    assert Series.read(tmp_path).numbers == (4,)
    kit(tmp_path, [1, 2])
    series = Series.read(tmp_path)
    assert series.numbers == (1, 2) and series.ignored == ("last.pt",)


def test_torn_and_hostile_files_are_told_and_the_others_go_on(tmp_path):
    folder, called = kit(tmp_path / "run"), tmp_path / "called"
    whole = (folder / "epoch3.pt").read_bytes()
    (folder / "epoch3.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "epoch5.pt").write_bytes(b"\x80\x02cposix\nsystem\nX" + len(f"touch {called}").to_bytes(4, "little")
                                       + f"touch {called}".encode() + b"\x85R.trailing")  # fmt: skip
    torch.save(
        {f"{LAYERS[0]}.delta_D_A": torch.zeros(2, 6), f"{LAYERS[0]}.delta_D_B": torch.zeros(4, 3)}, folder / "epoch8.pt"
    )
    series = Series.read(folder)
    assert series.numbers == tuple(range(1, 9)) and not called.exists()
    assert [(one.number, one.file) for one in series.unread] == [
        (3, "epoch3.pt"), (5, "epoch5.pt"), (8, "epoch8.pt"),
    ]  # fmt: skip  # three in a line
    assert "make no weight" in series.unread[2].reason and str(tmp_path) not in series.unread[0].reason
    assert np.isfinite(series.measures["update"]).any(axis=0).tolist() == [True] * 2 + [False, True] * 2 + [True, False]
    assert series.unread[0].reason.startswith("cannot read epoch3.pt: ") and series.gaps == ()


def test_two_files_of_one_epoch_with_the_same_layer_are_told(tmp_path):
    kit(study(tmp_path), [2])
    series = Series.read(tmp_path)
    assert [one.file for one in series.unread] == ["epoch2_dora_params.pth"]
    assert "an earlier file of this number holds" in series.unread[0].reason


def test_bad_folders_say_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="nowhere is not there: name a folder"):
        Series.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no checkpoint with a number in its name"):
        Series.read(tmp_path / "empty")
    with pytest.raises(BadInput, match="it holds the folders empty"):
        Series.read(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        Series.read(kit(tmp_path / "run", [1]) / "epoch1.pt")
