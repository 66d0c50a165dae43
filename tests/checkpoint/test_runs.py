"""Which files are one checkpoint, and which checkpoints one run, by their names. More of it in test_contents.py."""

import pytest
import torch

from dora_repro import compare
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.runs import beside, checkpoints_of, numbered, run_of
from dora_repro.series.series import Series


def folder_of(folder, *names):
    folder.mkdir()
    for index, name in enumerate(names):
        torch.save({"w": torch.full((3,), float(index))}, folder / name)
    return folder


def found_in(folder):
    run = checkpoints_of(folder)
    return run.unit, {number: [path.name for path in paths] for number, paths in run.checkpoints.items()}, run.aside


@pytest.mark.parametrize(
    ("names", "unit", "numbers"),
    [
        (["epoch=0-step=8.ckpt", "epoch=0-step=16.ckpt"], "step", [8, 16]),
        (["epoch=0-step=8.ckpt", "epoch=0-step=16.ckpt", "epoch=1-step=24.ckpt"], "step", [8, 16, 24]),
        (["epoch_1_iter_500.pth", "epoch_1_iter_1000.pth", "epoch_2_iter_1500.pth"], "iteration", [500, 1000, 1500]),
        (["net-ep3_ckpt7.pt", "net-ep3_ckpt8.pt"], "checkpoint", [7, 8]),
        # One file an epoch: the epoch says enough.
        (["epoch=0-step=8.ckpt", "epoch=1-step=16.ckpt"], "epoch", [0, 1]),
        # Counted anew in each epoch: the step alone does not say which.
        (["epoch_1_iter_5.pth", "epoch_1_iter_9.pth", "epoch_2_iter_5.pth"], "epoch", [1, 2]),
    ],
)
def test_files_of_one_epoch_and_several_steps_are_several_checkpoints(names, unit, numbers, tmp_path):
    folder = folder_of(tmp_path / "run", *names)
    found, by_number, aside = found_in(folder)
    assert (found, list(by_number), aside) == (unit, numbers, [])
    assert sorted(name for files in by_number.values() for name in files) == sorted(names)
    run = run_of(folder)
    assert run is not None and list(run.checkpoints) == numbers


def test_two_steps_of_one_epoch_are_two_in_a_series_in_inspect_and_in_diff(tmp_path):
    names = ["epoch=0-step=8.ckpt", "epoch=0-step=16.ckpt", "last.ckpt"]
    one, other = folder_of(tmp_path / "one", *names), folder_of(tmp_path / "other", *names)
    series = Series.read(one)
    assert (series.unit, series.numbers, series.unread, series.ignored) == ("step", (8, 16), (), ("last.ckpt",))
    assert [number for number, _ in inspect(one).checkpoints] == [8, 16]
    torch.save({"w": torch.full((3,), 7.0)}, other / names[1])
    found = compare(one, other)
    assert [each.path for each in found.differences] == ["step16/epoch=0-step=16.ckpt/w"]
    assert found.notes[0] == "step 16 is the first that differs; equal: step 8"


def test_parts_of_one_step_are_one_checkpoint_and_lie_beside_each_other(tmp_path):
    parts = [f"epoch=0-step={step}_{part}.pt" for step in (8, 16) for part in ("model", "optimizer")]
    folder = folder_of(tmp_path / "run", *parts)
    assert found_in(folder)[1] == {8: parts[:2], 16: parts[2:]}
    assert beside(folder / parts[0]) == [folder / parts[1]]
    assert beside(folder / parts[2]) == [folder / parts[3]]


def test_a_file_without_the_steps_of_the_others_is_named_as_no_part_of_them(tmp_path):
    folder = folder_of(tmp_path / "run", "epoch=0-step=8.ckpt", "epoch=0-step=16.ckpt", "epoch=0.ckpt")
    assert found_in(folder) == (
        "step", {8: ["epoch=0-step=8.ckpt"], 16: ["epoch=0-step=16.ckpt"]}, ["epoch=0.ckpt"]
    )  # fmt: skip


def test_the_number_in_a_name_is_the_first(tmp_path):
    assert numbered(tmp_path / "epoch=3-step=9.ckpt") == ("epoch", 3)
    assert numbered(tmp_path / "last.ckpt") is None
