"""The checkpoint explorer without a browser: a series in words and figures; set a control, read words and data."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dora_repro import BadInput
from dora_repro.series.pairs import parting_of
from dora_repro.series.series import MEASURES, Series
from dora_repro.widgets.checkpoints import figures, text
from dora_repro.widgets.checkpoints.explorer import CheckpointExplorer, shown
from tests.series.folders import LAYERS, dora, kit, made, study

# --- words


def test_where_the_files_hold_the_base_the_words_name_effective_weights(tmp_path):
    base = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    for epoch in (1, 2):
        torch.save(dora(epoch) | {f"{layer}.D": base for layer in LAYERS}, tmp_path / f"epoch{epoch}.pt")
    assert "effective weights" in text.courses_text(Series.read(tmp_path))
    assert "effective weights" not in text.courses_text(Series.read(kit(tmp_path / "run")))


def test_missing_numbers_are_named(tmp_path):
    series = Series.read(kit(tmp_path / "run", [1, 2, 4, 5]))
    assert "Missing: epoch 3." in text.finding(series)
    assert any(
        line.startswith("3 ") and line.endswith("missing") for line in text.contents_table(series).split("\n")
    )


def test_a_file_that_was_not_read_is_named(tmp_path):
    folder = kit(tmp_path / "run")
    whole = (folder / "epoch3.pt").read_bytes()
    (folder / "epoch3.pt").write_bytes(whole[: len(whole) // 2])
    series = Series.read(folder)
    assert "Not read: epoch 3: cannot read epoch3.pt: " in text.finding(series)
    assert "unreadable" in text.contents_table(series)


def test_outliers_are_named_and_too_few_changes_are_said(tmp_path):
    def jump(epoch, held):
        return {name: value + (epoch >= 5 and name.startswith(LAYERS[0])) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", change=jump))
    assert "epoch 5, vision_model.1.out_proj: changed by" in text.outliers_text(series)
    assert text.outliers_text(Series.read(kit(tmp_path / "calm"))).endswith("unlike the rest of its layer.")
    short = Series.read(kit(tmp_path / "short", range(4, 8), change=jump))
    assert "3 changes are too few" in text.outliers_text(short)
    assert text.outliers_text(None) == ""


def test_a_parameter_that_is_not_a_number_is_told(tmp_path):
    def broken(epoch, held):
        return {name: value * (float("nan") if epoch == 3 else 1) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", range(1, 5), change=broken))
    assert "epoch 3, vision_model.1.out_proj: not a finite number" in text.outliers_text(series)
    assert figures.changes(series).axes and figures.trajectories(series).axes


def test_where_two_runs_part_in_words(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", rng={"torch": torch.zeros(5056, dtype=torch.uint8)}))
    other = Series.read(kit(tmp_path / "other", range(2, 9), later, rng={"torch": torch.ones(5056, dtype=torch.uint8)}))
    assert text.parting_text(parting_of(one, other)).splitlines() == [
        "Equal by bytes at epoch 2–3, then epoch 4 is the first that differs.",
        "Of the rest differ: rng (epoch 2).",
        "Equal throughout: progress.",
        "Only the first has epoch 1.",
        "Only the second has epoch 8.",
    ]
    assert text.parting_text(parting_of(one, one)).startswith("All parameters are equal by bytes at epoch 1–7.")
    assert figures.distance(None) is None
    assert text.parting_text(None) == "There is one folder: nothing to lay beside it."


# --- figures


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


# --- the widget


@pytest.fixture
def explorer(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    found = CheckpointExplorer(kit(tmp_path / "<b>one"), kit(tmp_path / "other", change=later))
    yield found
    found.close()


def test_a_folder_without_checkpoints_opens_no_explorer(tmp_path):
    with pytest.raises(BadInput, match="holds no checkpoint with a number in its name"):
        CheckpointExplorer(tmp_path)


def test_it_opens_with_contents_and_has_a_short_repr(explorer):
    assert repr(explorer) == "CheckpointExplorer(7 checkpoints beside 7, 3 layers)"
    assert "&lt;b&gt;one: epochs 1–7; 3 low-rank layers; checkpoint of this kit." in explorer.finding.value
    assert "then epoch 4 is the first that differs" in explorer.finding.value
    assert explorer.table.value.count("<tr>") == 16 and "different" in explorer.table.value
    assert "<b>one" not in explorer.table.value and explorer.picture.layout.display == "none"


def test_each_view_tells_and_shows_what_it_is_about(explorer):
    told = {
        "courses": "turned most", "changes": "changed most", "outliers": "no change is unlike", "apart": "then epoch 4",
    }  # fmt: skip  # pairs in a line
    pictures = set()
    for view, words in told.items():
        explorer.view.value = view
        assert words in explorer.finding.value and explorer.table.value == ""
        if view != "outliers":
            assert Image.open(io.BytesIO(explorer.picture.value)).format == "PNG"
            pictures.add(explorer.picture.value)
    assert len(pictures) == 3
    explorer.view.value = "contents"
    assert "<table" in explorer.table.value


def test_layers_are_found_and_chosen(explorer):
    explorer.view.value = "changes"
    everything = explorer.picture.value
    explorer.search.value = "VISION 2"
    assert explorer.chosen == (LAYERS[1],) and explorer.picture.value != everything
    explorer.search.value = ""
    assert explorer.picture.value == everything
    explorer.layers.value = [LAYERS[0]]
    one = explorer.picture.value
    assert explorer.chosen == (LAYERS[0],) and one != everything
    explorer.search.value = "vision"  # what was chosen stays so while it is found
    assert explorer.layers.value == (LAYERS[0],) and explorer.picture.value == one
    explorer.search.value = "nothing like it"
    assert "No layer is found" in explorer.finding.value and explorer.picture.layout.display == "none"


def test_a_view_seen_before_is_not_drawn_again(explorer, monkeypatch):
    explorer.view.value = "changes"
    before = explorer.picture.value
    explorer.view.value = "outliers"
    monkeypatch.setattr(figures, "changes", None)
    explorer.view.value = "changes"
    assert explorer.picture.value == before and explorer.picture.layout.display == ""


def test_what_a_view_raises_is_shown_and_raised(explorer, monkeypatch):
    def broken(*_):
        raise RuntimeError("<no> picture")

    monkeypatch.setattr(figures, "trajectories", broken)
    with pytest.raises(RuntimeError, match="<no> picture"):
        explorer.view.value = "courses"
    assert "RuntimeError: &lt;no&gt; picture" in explorer.trouble.value
    explorer.view.value = "outliers"
    assert explorer.trouble.value == ""


def test_one_folder_alone_has_no_view_of_two(tmp_path):
    explorer = CheckpointExplorer(study(tmp_path))
    assert repr(explorer) == "CheckpointExplorer(5 checkpoints, 3 layers)"
    assert "apart" not in dict(explorer.view.options)
    with pytest.raises(BadInput, match="'apart' needs two folders"):
        shown("apart", explorer.series, None, None, explorer.chosen)


def test_after_closing_no_control_is_heard(explorer):
    explorer.close()
    before = explorer.finding.value
    explorer.view.value = "outliers"
    assert explorer.finding.value == before


def test_files_without_low_rank_layers_are_still_told(tmp_path):
    for epoch in (1, 2):
        torch.save({"model": {"weight": torch.ones(2)}, "optimizer": {"state": {}, "param_groups": []}},
                   tmp_path / f"epoch{epoch}.pt")  # fmt: skip  # two arguments
    explorer = CheckpointExplorer(tmp_path, tmp_path)
    assert "0 low-rank layers" in explorer.finding.value and "All parameters are equal" in explorer.finding.value
    for view in dict(explorer.view.options).values():
        explorer.view.value = view
        assert explorer.finding.value


