"""Series of checkpoints: read from each layout, measured, told; drawn; and looked through without a browser."""

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dora_repro import BadInput
from dora_repro.checkpoint.layouts import model_name, write_study
from dora_repro.series.pairs import parting_of
from dora_repro.series.series import MEASURES, Series, deviations_of, gaps_of
from dora_repro.study import TrainingConfig
from dora_repro.subject.demo import trained, two_trained
from dora_repro.widgets.checkpoints import figures, text
from dora_repro.widgets.checkpoints.explorer import CheckpointExplorer, shown

LAYERS = [
    *(f"clip_model.vision_model.encoder.layers.{block}.self_attn.out_proj" for block in (1, 2)),
    "clip_model.text_model.encoder.layers.1.self_attn.out_proj",
]
SHAPES = {"m": (6,), "delta_D_A": (2, 6), "delta_D_B": (4, 2)}


def dora(epoch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Three layers at the end of an epoch: each number goes its way by a hundredth of a draw an epoch."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer in LAYERS:
        for suffix, shape in SHAPES.items():
            start, way = torch.randn(2, *shape, generator=generator)
            found[f"{layer}.{suffix}"] = start + 0.01 * epoch * way
    return found


def kit(folder: Path, epochs=range(1, 8), change=lambda epoch, held: held, **more) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in epochs:
        parts = {"dora": change(epoch, dora(epoch)), "progress": {"epoch": epoch}, **more}
        torch.save({"format": "dora_repro/1", "contains": list(parts), **parts}, folder / f"epoch{epoch}.pt")
    return folder


def study(folder: Path, epochs=range(1, 6), beside: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    states = {"torch_rng_state": torch.get_rng_state(), "numpy_rng_state": np.random.get_state()}
    states["python_rng_state"] = random.getstate()
    for epoch in epochs:
        _, written = write_study(folder, epoch, dora(epoch), states)
        if beside:
            (folder / beside).mkdir(exist_ok=True)
            written.rename(folder / beside / written.name)
    return folder


def peft(folder: Path, steps=(100, 200, 300), dora_used: bool = True) -> Path:
    for step in steps:
        place = folder / f"checkpoint-{step}"
        place.mkdir(parents=True)
        held = {}
        for layer in LAYERS:
            values = dora(step)
            held[f"base_model.model.{layer}.lora_B.weight"] = values[f"{layer}.delta_D_A"].T.contiguous()
            held[f"base_model.model.{layer}.lora_A.weight"] = values[f"{layer}.delta_D_B"].T.contiguous()
            if dora_used:
                held[f"base_model.model.{layer}.lora_magnitude_vector"] = values[f"{layer}.m"]
        save_file(held, place / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "use_dora": dora_used, "r": 2, "lora_alpha": 32}
        (place / "adapter_config.json").write_text(json.dumps(config))
    return folder


def made(count: int, numbers=tuple(range(1, 11)), seed: int = 0, name: str = "run") -> Series:
    """A series of so many layers, without files; the last but one change of the first layer is far out."""
    draws, size = np.random.default_rng(seed), (count, len(numbers))
    change = np.exp(draws.normal(-5, 0.01, size))
    change[:, 0], change[0, -2] = np.nan, 0.5
    values = dict.fromkeys(MEASURES, 1 + draws.random(size)) | {"change": change}
    layers = tuple(f"model.blocks.{index}.attn.out_proj" for index in range(count))
    each = [{"adapter": 3 * count}] * len(numbers), [("kit",)] * len(numbers), [{}] * len(numbers)
    gaps, spacing = gaps_of(numbers)
    return Series(
        Path("/nowhere") / name, "epoch", numbers, layers, tuple(each[0]), tuple(each[1]), gaps, spacing, (), (),
        values, True, tuple(each[2]),
    )  # fmt: skip


# --- reading


def test_a_folder_of_this_kit_is_measured_layer_by_layer(tmp_path):
    series = Series.read(kit(tmp_path / "run"))
    assert (series.unit, series.numbers, series.gaps, series.troubles) == ("epoch", tuple(range(1, 8)), (), ())
    assert series.layers == tuple(sorted(LAYERS)) and not series.based
    layer, values = series.layers[0], dora(3)
    update = 16 / 2 * (values[f"{layer}.delta_D_A"].double().T @ values[f"{layer}.delta_D_B"].double().T)
    assert series.measures["update"][0, 2] == pytest.approx(float(update.norm()))
    assert series.measures["magnitude"][0, 2] == pytest.approx(float(values[f"{layer}.m"].double().norm()))
    assert series.measures["to_first"][0, 0] == pytest.approx(1) and series.measures["to_first"][0, 6] < 1
    before = torch.cat([dora(2)[f"{layer}.{suffix}"].double().flatten() for suffix in SHAPES])
    after = torch.cat([values[f"{layer}.{suffix}"].double().flatten() for suffix in SHAPES])
    assert series.measures["change"][0, 2] == pytest.approx(float((after - before).norm() / before.norm()))
    assert np.isnan(series.measures["change"][:, 0]).all() and np.isnan(series.measures["to_base"]).all()


@pytest.mark.parametrize("beside", ["", "random_states"])
def test_the_studys_files_are_put_together_by_epoch(tmp_path, beside):
    series = Series.read(study(tmp_path / "run", beside=beside))
    assert series.numbers == (1, 2, 3, 4, 5) and series.layers == tuple(sorted(LAYERS))
    assert all(set(held) == {"adapter", "rng"} for held in series.components)
    assert set(series.layouts) == {("study parameters", "study random states")}
    same = Series.read(kit(tmp_path / "kit", range(1, 6)))
    for measure in MEASURES:
        assert np.array_equal(series.measures[measure], same.measures[measure], equal_nan=True)
    assert parting_of(series, same).first is None  # another layout, the same bytes


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
    assert series.based and series.measures["to_first"][0, 1] == pytest.approx(float(cosine))
    assert np.isfinite(series.measures["to_base"]).all()
    assert "effective weights" in text.courses_text(series)


def test_a_file_without_a_number_is_placed_by_the_epoch_that_it_holds(tmp_path):
    kit(tmp_path, [4]).joinpath("epoch4.pt").rename(tmp_path / "last.pt")
    assert Series.read(tmp_path).numbers == (4,)
    kit(tmp_path, [1, 2])
    series = Series.read(tmp_path)
    assert series.numbers == (1, 2) and series.aside == ("last.pt",)


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
    assert "Missing: epoch 3." in text.finding(series)
    assert any(
        line.startswith("3 ") and line.endswith("missing") for line in text.contents_table(series).split("\n")
    )


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
    assert [(one.number, one.file) for one in series.troubles] == [
        (3, "epoch3.pt"), (5, "epoch5.pt"), (8, "epoch8.pt"),
    ]  # fmt: skip  # three in a line
    assert "make no weight" in series.troubles[2].reason and str(tmp_path) not in series.troubles[0].reason
    assert np.isfinite(series.measures["update"]).any(axis=0).tolist() == [True] * 2 + [False, True] * 2 + [True, False]
    assert "Not read: epoch 3: cannot read epoch3.pt: " in text.finding(series)
    assert "unreadable" in text.contents_table(series) and series.gaps == ()


def test_two_files_of_one_epoch_with_the_same_layer_are_told(tmp_path):
    kit(study(tmp_path), [2])
    series = Series.read(tmp_path)
    assert [one.file for one in series.troubles] == ["epoch2_dora_params.pth"]
    assert "an earlier file of this number holds" in series.troubles[0].reason


def test_bad_folders_say_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="nowhere is not there: name a folder"):
        Series.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no checkpoint with a number in its name"):
        CheckpointExplorer(tmp_path / "empty")
    with pytest.raises(BadInput, match="it holds the folders empty"):
        Series.read(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        Series.read(kit(tmp_path / "run", [1]) / "epoch1.pt")


# --- what is found


def test_an_epoch_that_jumps_is_an_outlier_and_four_epochs_have_none(tmp_path):
    def jump(epoch, held):
        return {name: value + (epoch >= 5 and name.startswith(LAYERS[0])) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", change=jump))
    assert [(one.layer, one.number) for one in series.outliers()] == [(LAYERS[0], 5)]
    assert "epoch 5, vision_model.1.out_proj: changed by" in text.outliers_text(series)
    assert text.outliers_text(Series.read(kit(tmp_path / "calm"))).endswith("unlike the rest of its layer.")
    short = Series.read(kit(tmp_path / "short", range(4, 8), change=jump))
    assert short.outliers() == () and "3 changes are too few" in text.outliers_text(short)


def test_roundings_of_a_steady_course_are_no_outliers_and_a_single_change_is():
    assert deviations_of(np.array([1, 1, 1, 1, 1.0001, 1])).max() < 5
    with np.errstate(all="raise"):
        assert deviations_of(np.array([0, 0, 0, 0, 1e-3, 0]))[4] > 5
    assert deviations_of(np.array([np.nan, 1, np.inf])).tolist() == [0, 0, np.inf]


def test_a_parameter_that_is_not_a_number_is_told(tmp_path):
    def broken(epoch, held):
        return {name: value * (float("nan") if epoch == 3 else 1) for name, value in held.items()}

    series = Series.read(kit(tmp_path / "run", range(1, 5), change=broken))
    assert "epoch 3, vision_model.1.out_proj: not a finite number" in text.outliers_text(series)
    assert figures.changes(series).axes and figures.courses(series).axes


def test_two_runs_part_where_their_bytes_do(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", rng={"torch": torch.zeros(5056, dtype=torch.uint8)}))
    other = Series.read(kit(tmp_path / "other", range(2, 9), later, rng={"torch": torch.ones(5056, dtype=torch.uint8)}))
    both = parting_of(one, other)
    assert (both.numbers, both.first, both.alone) == ((2, 3, 4, 5, 6, 7), 4, ((1,), (8,)))
    assert both.equal == (True, True, False, False, False, False)
    assert both.components["rng"] == 2 and both.components["progress"] is None
    assert (both.sizes[:, :2] == 0).all() and (both.sizes[:, 2:] > 0).all()
    assert text.parting_text(both).splitlines() == [
        "Equal by bytes at epoch 2–3, then epoch 4 is the first that differs.",
        "Of the rest differ: rng (epoch 2).",
        "Equal throughout: progress.",
        "Only the first has epoch 1.",
        "Only the second has epoch 8.",
    ]
    assert text.parting_text(parting_of(one, one)).startswith("All parameters are equal by bytes at epoch 1–7.")
    assert Series.read_any(None) is parting_of(one, None) is figures.apart(None) is None
    assert text.outliers_text(None) == ""
    assert text.parting_text(None) == "There is one folder: nothing to lay beside it."


def test_minus_zero_is_another_byte_and_no_distance(tmp_path):
    def signed(epoch, held):
        return {name: torch.zeros_like(value) * (-1 if epoch == 2 else 1) for name, value in held.items()}

    one = Series.read(kit(tmp_path / "one", [1, 2], lambda epoch, held: signed(1, held)))
    both = parting_of(one, Series.read(kit(tmp_path / "other", [1, 2], signed)))
    assert both.first == 2 and both.sizes[:, 1].tolist() == [0, 0, 0]


def test_what_cannot_lie_side_by_side_is_refused(tmp_path):
    one = Series.read(kit(tmp_path / "one"))
    with pytest.raises(BadInput, match=r"counts in epochs and .* in checkpoints"):
        parting_of(one, Series.read(peft(tmp_path / "peft")))
    with pytest.raises(BadInput, match="no epoch with parameters in common"):
        parting_of(one, Series.read(kit(tmp_path / "late", [20, 21])))


def test_a_training_is_saved_after_each_epoch_and_threads_are_put_back(tmp_path):
    before = torch.get_num_threads()
    config = TrainingConfig(data="synthetic", epochs=2, perturbation="random-targets", perturbation_start=2)
    folder = trained(config, "run", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch1.pt", "epoch2.pt"]
    assert torch.get_num_threads() == before
    plain = trained(replace(config, perturbation="none"), "plain", tmp_path)
    assert parting_of(Series.read(plain), Series.read(folder)).first == 2


def test_given_folders_are_not_trained_again():
    config = TrainingConfig()
    assert two_trained(config, "a") == (Path("a"), None) and two_trained(config, "a", "b") == (Path("a"), Path("b"))
    with pytest.raises(BadInput, match="name the first folder as well"):
        two_trained(config, "", "b")


# --- figures


@pytest.mark.parametrize("count", [3, 300])
def test_the_data_of_the_figures_is_that_of_the_series(count):
    series, other = made(count), made(count, (1, 2, 3, 6, 7, 8, 9), 1, "other")
    axes = figures.courses(series, other).axes
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
    assert len(figures.courses(series, layers=series.layers[:2]).axes[0].get_lines()) == 2
    assert figures.changes(series, layers=series.layers[3:4]).axes[0].get_images()[0].get_array().shape == (1, 10)
    with pytest.raises(BadInput, match="none of the 1 asked for of 9 low-rank layers can be drawn"):
        figures.courses(series, layers=["nowhere"])


# --- the widget


@pytest.fixture
def explorer(tmp_path):
    def later(epoch, held):
        return {name: value + 1e-3 * (epoch >= 4) for name, value in held.items()}

    found = CheckpointExplorer(kit(tmp_path / "<b>one"), kit(tmp_path / "other", change=later))
    yield found
    found.close()


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

    monkeypatch.setattr(figures, "courses", broken)
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


def test_names_are_the_models_own(tmp_path):
    names = set(Series.read(study(tmp_path)).layers)
    assert {f"{name}.m" for name in names} == {model_name(f"{layer}.m") for layer in LAYERS}
