"""Figures of a series of checkpoints: what is drawn is what was measured."""

import numpy as np
import pytest

from dora_repro import BadInput
from dora_repro.series.series import MEASURES, Series
from dora_repro.widgets.checkpoints import figures
from tests.series.folders import kit, made
from tests.show.test_figures import outside, overlapping


@pytest.mark.parametrize("count", [3, 300])
def test_the_data_of_the_figures_is_that_of_the_series(count):
    series, other = made(count), made(count, (1, 2, 3, 6, 7, 8, 9), 1, "other")
    axes = figures.trajectories(series, other).axes
    assert [one.get_title() for one in axes] == [MEASURES[m] for m in ("magnitude", "update", "to_first", "to_base")]
    lines = axes[0].get_lines()
    assert len(lines) == (6 if count == 3 else 2)
    expected = series.measures["magnitude"]
    drawn = np.array([line.get_ydata() for line in lines[: len(lines) // 2]])
    assert np.allclose(drawn, expected if count == 3 else np.median(expected, axis=0)[None])
    assert np.isnan(lines[-1].get_ydata()).tolist() == [False] * 3 + [True] + [False] * 4  # broken at the gap
    panels = figures.changes(series, other).axes
    image = panels[0].get_images()[1].get_array()
    assert image.shape == (count, 10) and np.allclose(image[:, 1:], series.measures["change"][:, 1:])
    assert panels[1].get_images()[1].get_array().shape == (count, 8)
    assert "…" in [text.get_text() for text in panels[1].get_xticklabels()]
    assert len(panels[0].get_yticklabels()) <= 36
    at = next(line for line in panels[0].get_lines())
    assert (8, 0) in list(zip(at.get_xdata(), at.get_ydata(), strict=True))


def test_chosen_layers_alone_are_drawn_and_none_is_refused():
    series = made(9)
    assert len(figures.trajectories(series, layers=series.layers[:2]).axes[0].get_lines()) == 2
    assert figures.changes(series, layers=series.layers[3:4]).axes[0].get_images()[0].get_array().shape == (1, 10)
    with pytest.raises(BadInput, match="none of the 1 layers given is among the 9 low-rank layers of the files"):
        figures.trajectories(series, layers=["nowhere"])


def test_a_parameter_that_is_not_a_number_is_drawn(tmp_path):
    def broken(epoch, held):
        return {name: value * (float("nan") if epoch == 3 else 1) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", range(1, 5), change=broken))
    assert figures.changes(series).axes[0].get_xlabel().startswith("epoch (grey: byte-identical, blank: unknown, red: ")
    assert figures.trajectories(series).axes


def test_of_one_series_alone_there_is_no_distance_to_draw():
    assert figures.distance(None) is None


def test_without_low_rank_layers_there_is_nothing_to_draw():
    with pytest.raises(BadInput, match="the files hold no low-rank layer: there is nothing to draw"):
        figures.positions((), None)


DRAWN = {
    "trajectories of 3": lambda: figures.trajectories(made(3)),
    "trajectories of 3 and 3": lambda: figures.trajectories(made(3), made(3, (1, 2, 3, 6, 7, 8, 9), 1, "other")),
    "trajectories of 30": lambda: figures.trajectories(made(30), made(30, (1, 2, 3, 6, 7, 8, 9), 1, "other")),
    "changes of 9": lambda: figures.changes(made(9)),
    "changes of 9 and 9": lambda: figures.changes(made(9), made(9, (1, 2, 3, 6, 7, 8, 9), 1, "other")),
    "changes of 300": lambda: figures.changes(made(300)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_no_label_lies_over_another_or_outside(name):
    figure = DRAWN[name]()
    assert overlapping(figure) == [] and outside(figure) == []
