"""The checkpoint explorer without a browser: set a control, read words and data."""

import io

import pytest
import torch
from PIL import Image

from dora_repro import BadInput
from dora_repro.widgets.checkpoints import figures
from dora_repro.widgets.checkpoints.explorer import CheckpointExplorer, render
from tests.series.folders import LAYERS, kit, study


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
    assert "&lt;b&gt;one: epochs 1–7; 3 low-rank layers; checkpoint of this kit." in explorer.summary.value
    assert "; epoch 4 is the first that differs" in explorer.summary.value
    assert explorer.table.value.count("<tr>") == 16 and "different" in explorer.table.value
    assert "<b>one" not in explorer.table.value and explorer.picture.layout.display == "none"


def test_each_view_says_and_shows_what_it_is_about(explorer):
    said = {
        "trajectories": "turned most", "changes": "changed most", "outliers": "no change is an outlier",
        "distance": "; epoch 4 is the first",
    }  # fmt: skip  # pairs in a line
    pictures = set()
    for view, words in said.items():
        explorer.view.value = view
        assert words in explorer.summary.value and explorer.table.value == ""
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
    assert "No layer matches the search." in explorer.summary.value and explorer.picture.layout.display == "none"


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
        explorer.view.value = "trajectories"
    assert "RuntimeError: &lt;no&gt; picture" in explorer.error.value
    explorer.view.value = "outliers"
    assert explorer.error.value == ""


def test_one_folder_alone_has_no_view_of_two(tmp_path):
    explorer = CheckpointExplorer(study(tmp_path))
    assert repr(explorer) == "CheckpointExplorer(5 checkpoints, 3 layers)"
    assert "distance" not in dict(explorer.view.options)
    with pytest.raises(BadInput, match="'distance' needs two folders"):
        render("distance", explorer.series, None, None, explorer.chosen)


def test_after_closing_no_control_is_observed(explorer):
    explorer.close()
    before = explorer.summary.value
    explorer.view.value = "outliers"
    assert explorer.summary.value == before


def test_files_without_low_rank_layers_are_still_described(tmp_path):
    for epoch in (1, 2):
        torch.save({"model": {"weight": torch.ones(2)}, "optimizer": {"state": {}, "param_groups": []}},
                   tmp_path / f"epoch{epoch}.pt")  # fmt: skip  # two arguments
    explorer = CheckpointExplorer(tmp_path, tmp_path)
    assert "0 low-rank layers" in explorer.summary.value
    assert "All parameters are byte-identical at epoch 1–2." in explorer.summary.value
    for view in dict(explorer.view.options).values():
        explorer.view.value = view
        assert explorer.summary.value
