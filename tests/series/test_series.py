"""What a series measures: layers, gaps, outliers."""

import numpy as np
import pytest
import torch

from dora_repro.checkpoint.layouts import model_name
from dora_repro.series.series import Series, deviations_of, gaps_of
from tests.series.folders import LAYERS, SHAPES, dora, kit, study


def test_a_folder_of_this_kit_is_measured_layer_by_layer(tmp_path):
    series = Series.read(kit(tmp_path / "run"))
    assert (series.unit, series.numbers, series.gaps, series.unread) == ("epoch", tuple(range(1, 8)), (), ())
    assert series.layers == tuple(sorted(LAYERS)) and not series.has_base
    layer, values = series.layers[0], dora(3)
    update = 16 / 2 * (values[f"{layer}.delta_D_A"].double().T @ values[f"{layer}.delta_D_B"].double().T)
    assert series.measures["update"][0, 2] == pytest.approx(float(update.norm()))
    assert series.measures["magnitude"][0, 2] == pytest.approx(float(values[f"{layer}.m"].double().norm()))
    assert series.measures["to_first"][0, 0] == pytest.approx(1) and series.measures["to_first"][0, 6] < 1
    before = torch.cat([dora(2)[f"{layer}.{suffix}"].double().flatten() for suffix in SHAPES])
    after = torch.cat([values[f"{layer}.{suffix}"].double().flatten() for suffix in SHAPES])
    assert series.measures["change"][0, 2] == pytest.approx(float((after - before).norm() / before.norm()))
    assert np.isnan(series.measures["change"][:, 0]).all() and np.isnan(series.measures["to_base"]).all()


def test_where_the_file_holds_the_base_effective_weights_are_compared(tmp_path):
    base = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    for epoch in (1, 2):
        held = dora(epoch) | {f"{layer}.D": base for layer in LAYERS}
        torch.save(held, tmp_path / f"epoch{epoch}.pt")
    series = Series.read(tmp_path)
    values, layer = [dora(epoch) for epoch in (1, 2)], series.layers[0]
    weights = []
    for held in values:
        a, b, m = (held[f"{layer}.{suffix}"].double() for suffix in ("delta_D_A", "delta_D_B", "m"))
        direction = base.double() + 8 * (a.T @ b.T)
        weights.append(m[:, None] * direction / direction.norm(dim=1, keepdim=True))
    cosine = torch.nn.functional.cosine_similarity(weights[0].flatten(), weights[1].flatten(), dim=0)
    assert series.has_base and series.measures["to_first"][0, 1] == pytest.approx(float(cosine))
    assert np.isfinite(series.measures["to_base"]).all()


@pytest.mark.parametrize(
    "numbers, gaps, spacing",
    [
        ((1, 2, 4, 8), ((3, 3), (5, 7)), 1),
        ((10, 20, 30, 60), ((40, 50),), 10),
        ((0, 10, 20, 25), (), 10),
        ((7,), (), 1),
        ((1, 2, 3, 999_999_999), ((4, 999_999_998),), 1),
    ],
)
def test_gaps_are_told_by_the_usual_spacing(numbers, gaps, spacing):
    assert gaps_of(numbers) == (gaps, spacing)


def test_over_a_gap_no_change_is_claimed(tmp_path):
    series = Series.read(kit(tmp_path / "run", [1, 2, 4, 5]))
    assert series.gaps == ((3, 3),)
    assert np.isfinite(series.measures["change"]).any(axis=0).tolist() == [False, True, False, True]


def test_an_epoch_that_jumps_is_an_outlier_and_four_epochs_have_none(tmp_path):
    def jump(epoch, held):
        return {name: value + (epoch >= 5 and name.startswith(LAYERS[0])) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", change=jump))
    assert [(one.layer, one.number) for one in series.outliers()] == [(LAYERS[0], 5)]
    assert Series.read(kit(tmp_path / "calm")).outliers() == ()
    assert Series.read(kit(tmp_path / "short", range(4, 8), change=jump)).outliers() == ()


def test_roundings_of_a_steady_course_are_no_outliers_and_a_single_change_is():
    assert deviations_of(np.array([1, 1, 1, 1, 1.0001, 1])).max() < 5
    with np.errstate(all="raise"):
        assert deviations_of(np.array([0, 0, 0, 0, 1e-3, 0]))[4] > 5
    assert deviations_of(np.array([np.nan, 1, np.inf])).tolist() == [0, 0, np.inf]


def test_a_parameter_that_is_not_a_number_is_an_outlier(tmp_path):
    def broken(epoch, held):
        return {name: value * (float("nan") if epoch == 3 else 1) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", range(1, 5), change=broken))
    found = [(one.number, one.change, one.deviations) for one in series.outliers() if one.layer == LAYERS[0]]
    assert found == [(3, np.inf, np.inf), (4, np.inf, np.inf)]


def test_names_are_the_models_own(tmp_path):
    names = set(Series.read(study(tmp_path)).layers)
    assert {f"{name}.m" for name in names} == {model_name(f"{layer}.m") for layer in LAYERS}
