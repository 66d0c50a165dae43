"""Series of checkpoints in words."""

import torch

from dora_repro.series.pairs import compare_series
from dora_repro.series.series import Series
from dora_repro.widgets.checkpoints import text
from tests.series.folders import LAYERS, dora, kit


def test_where_the_files_hold_the_base_the_words_name_effective_weights(tmp_path):
    base = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    for epoch in (1, 2):
        torch.save(dora(epoch) | {f"{layer}.D": base for layer in LAYERS}, tmp_path / f"epoch{epoch}.pt")
    assert "effective weights" in text.trajectories_text(Series.read(tmp_path))
    assert "effective weights" not in text.trajectories_text(Series.read(kit(tmp_path / "run")))


def test_missing_numbers_are_named(tmp_path):
    series = Series.read(kit(tmp_path / "run", [1, 2, 4, 5]))
    assert "Missing: epoch 3." in text.summary(series)
    assert any(
        line.startswith("3 ") and line.endswith("missing") for line in text.contents_table(series).split("\n")
    )


def test_a_file_that_was_not_read_is_named(tmp_path):
    folder = kit(tmp_path / "run")
    whole = (folder / "epoch3.pt").read_bytes()
    (folder / "epoch3.pt").write_bytes(whole[: len(whole) // 2])
    series = Series.read(folder)
    assert "Not read: epoch 3: cannot read epoch3.pt: " in text.summary(series)
    assert "unreadable" in text.contents_table(series)


def test_outliers_are_named_and_too_few_changes_are_said(tmp_path):
    def jump(epoch, held):
        return {name: value + (epoch >= 5 and name.startswith(LAYERS[0])) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", change=jump))
    assert "epoch 5, vision_model.1.out_proj: changed by" in text.outliers_text(series)
    assert text.outliers_text(Series.read(kit(tmp_path / "calm"))).endswith("is an outlier of its layer.")
    short = Series.read(kit(tmp_path / "short", range(4, 8), change=jump))
    assert "3 changes, too few to find outliers; it takes 5." in text.outliers_text(short)
    assert text.outliers_text(None) == ""


def test_a_parameter_that_is_not_a_number_is_named(tmp_path):
    def broken(epoch, held):
        return {name: value * (float("nan") if epoch == 3 else 1) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", range(1, 5), change=broken))
    assert "epoch 3, vision_model.1.out_proj: not a finite number" in text.outliers_text(series)


def test_where_two_runs_part_in_words(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", rng={"torch": torch.zeros(5056, dtype=torch.uint8)}))
    other = Series.read(kit(tmp_path / "other", range(2, 9), later, rng={"torch": torch.ones(5056, dtype=torch.uint8)}))
    assert text.divergence_text(compare_series(one, other)).splitlines() == [
        "Byte-identical at epoch 2–3; epoch 4 is the first that differs.",
        "Beside the parameters, different: rng (from epoch 2).",
        "Identical throughout: progress.",
        "Only the first has epoch 1.",
        "Only the second has epoch 8.",
    ]
    assert text.divergence_text(compare_series(one, one)).startswith("All parameters are byte-identical at epoch 1–7.")
    assert text.divergence_text(None) == "There is one folder only: nothing to compare it with."
