"""The study's names and files, to and from the model's."""

import random

import numpy
import pytest
import torch

from dora_repro.checkpoint.layouts import (
    DORA_SUFFIXES,
    model_name,
    read_dora,
    read_random_states,
    study_files,
    study_name,
    write_dora,
    write_study,
)
from dora_repro.checkpoint.reading import read
from dora_repro.errors import BadInput

PAIRS = {
    f"clip_model.{study}.out_proj": f"clip_model.{model}.out_proj"
    for study, model in {
        "visual.transformer.resblocks.22.attn": "vision_model.encoder.layers.22.self_attn",
        "transformer.resblocks.11.attn": "text_model.encoder.layers.11.self_attn",
    }.items()
}


def dora() -> dict[str, torch.Tensor]:
    """The parameters of two layers, by the model's names: m (out,), delta_D_A (r, out), delta_D_B (in, r)."""
    torch.manual_seed(0)
    shapes = {"m": (6,), "delta_D_A": (2, 6), "delta_D_B": (4, 2)}
    return {
        f"{place}.{suffix}": torch.randn(shapes[suffix])
        for place in PAIRS.values()
        for suffix in DORA_SUFFIXES
    }


def generators() -> dict:
    return {
        "torch_rng_state": torch.get_rng_state(),
        "cuda_rng_state": None,
        "numpy_rng_state": numpy.random.get_state(),
        "python_rng_state": random.getstate(),
    }


@pytest.mark.parametrize("suffix", DORA_SUFFIXES)
@pytest.mark.parametrize("study, model", PAIRS.items())
def test_names_map_both_ways(study, model, suffix):
    study, model = f"{study}.{suffix}", f"{model}.{suffix}"
    assert study_name(model) == study and model_name(study) == model
    assert study_name(study) == study and model_name(model) == model
    assert model_name("module." + study) == model


@pytest.mark.parametrize(
    "name",
    [
        "clip_model.visual.transformer.resblocks.22.attn.out_proj.D",
        "clip_model.visual.transformer.resblocks.22.attn.in_proj.m",
        "clip_model.visual.transformer.resblocks.x.attn.out_proj.m",
        "clip_model.vision_model.encoder.layers.22.attn.out_proj.m",
        "visual.transformer.resblocks.22.attn.out_proj.m",
        "clip_model.visual.transformer.resblocks.22.attn.out_proj.mm",
        "",
    ],
)
def test_other_names_are_refused(name):
    for rename in (study_name, model_name):
        with pytest.raises(
            BadInput, match=r"is not the name of a DoRA parameter; expected e\.g\. clip_model"
        ):
            rename(name)


def test_the_studys_files_come_back_equal(same, tmp_path):
    states = generators()
    written = write_study(tmp_path, 7, dora(), states)
    assert [path.name for path in written] == ["epoch7_dora_params.pth", "epoch7_random_states.pth"]
    assert written == study_files(tmp_path, 7)
    same(read_dora(written[0]), dora())
    same(read_random_states(written[1]), states)


def test_the_parameter_file_is_flat_and_has_the_studys_names(tmp_path):
    assert write_study(tmp_path, 1, dora()) == (tmp_path / "epoch1_dora_params.pth", None)
    assert [file.name for file in tmp_path.iterdir()] == ["epoch1_dora_params.pth"]
    raw = torch.load(tmp_path / "epoch1_dora_params.pth", weights_only=True)
    assert set(raw) == {f"{place}.{suffix}" for place in PAIRS for suffix in DORA_SUFFIXES}
    assert all(type(value) is torch.Tensor for value in raw.values())


def test_parameters_are_written_without_their_graph_and_without_the_rest_of_their_storage(tmp_path):
    name = next(iter(dora()))
    big = torch.nn.Parameter(torch.randn(1000))
    write_dora(tmp_path / "any", {name: big[:6] * 1})
    write_dora(tmp_path / "view", {name: big.detach()[:6]})
    assert not read_dora(tmp_path / "any")[name].requires_grad
    assert (tmp_path / "view").stat().st_size < 2000


def test_a_planted_change_of_one_parameter_is_seen(same, tmp_path):
    write_study(tmp_path, 1, dora())
    raw = read(tmp_path / "epoch1_dora_params.pth")
    next(iter(raw.values()))[0] = -0.0
    torch.save(raw, tmp_path / "epoch1_dora_params.pth")
    with pytest.raises(AssertionError):
        same(read_dora(tmp_path / "epoch1_dora_params.pth"), dora())


def test_random_states_that_torch_refuses_are_read_without_code(same, tmp_path):
    states = generators()
    write_study(tmp_path, 1, dora(), states)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "epoch1_random_states.pth", weights_only=True)
    found = read_random_states(tmp_path / "epoch1_random_states.pth")
    same(found, states)
    numpy.random.set_state(found["numpy_rng_state"])
    random.setstate(found["python_rng_state"])
    torch.set_rng_state(found["torch_rng_state"])
    same(generators(), states)


def test_what_is_not_the_studys_is_refused_with_the_next_move(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_dora(study_files(tmp_path, 3)[0])
    torch.save({"model": {}}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="its entry 'model' is a dict, not a DoRA tensor of a known name"):
        read_dora(tmp_path / "other.pth")
    with pytest.raises(BadInput, match="holds none of torch_rng_state"):
        read_random_states(tmp_path / "other.pth")
    torch.save([], tmp_path / "other.pth")
    with pytest.raises(BadInput, match="no flat mapping"):
        read_dora(tmp_path / "other.pth")


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no DoRA parameter to save"):
        write_study(tmp_path, 1, {})
    with pytest.raises(BadInput, match=r"unknown random states \['jax'\]; known are"):
        write_study(tmp_path, 1, dora(), {"jax": 1})
    with pytest.raises(BadInput, match="is a float; expected a tensor"):
        write_study(tmp_path, 1, {next(iter(dora())): 1.0})
    with pytest.raises(BadInput, match="not the name of a DoRA parameter"):
        write_study(tmp_path, 1, {"fc.weight": torch.ones(1)})
    assert list(tmp_path.iterdir()) == []
