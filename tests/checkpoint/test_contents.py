"""Layouts are known by their marks, leaves by their component, and what is lacking is said."""

import json
import random

import numpy
import pytest
import torch
from safetensors.torch import save_file

from dora_repro.checkpoint import contents
from dora_repro.checkpoint.components import CONSEQUENCES, component_of
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.layouts import KIT_FORMAT, write_dora, write_study

DORA = {"clip_model.vision_model.encoder.layers.22.self_attn.out_proj.m": torch.ones(6)}
ALL = list(CONSEQUENCES)


def missing(path) -> list[str]:
    return [lack.part for lack in inspect(path).missing]


def counts(path) -> dict[str, int]:
    return {name: len(entries) for name, entries in inspect(path).components.items()}


def test_dora_only_lacks_everything_but_dora(tmp_path):
    write_dora(tmp_path / "file.pth", DORA)
    found = inspect(tmp_path / "file.pth")
    assert (found.layout, found.file_format) == ("study parameters", "torch zip")
    (entry,) = found.entries
    assert (entry.component, entry.kind, entry.dtype, entry.shape, entry.nbytes) == (
        "adapter",
        "tensor",
        "float32",
        (6,),
        24,
    )
    assert entry.path == "clip_model.visual.transformer.resblocks.22.attn.out_proj.m"
    assert [lack.part for lack in found.missing] == [part for part in ALL if part != "model"]
    assert all(lack.consequence.endswith(".") for lack in found.missing)
    assert found.description == "the study's DoRA parameters (dora-only)" and found.nbytes == 24


def kit() -> dict:
    return {
        "format": KIT_FORMAT,
        "contains": ["dora", "optimizer", "scheduler", "rng", "data", "progress"],
        "dora": DORA,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(6)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scheduler": {"last_epoch": 1},
        "rng": {
            "torch.cpu": torch.get_rng_state(),
            "torch.cuda:0": torch.zeros(16, dtype=torch.uint8),
            "numpy": {
                "bit_generator": "MT19937",
                "state": {"key": torch.zeros(624, dtype=torch.int64), "pos": 1},
            },
            "python": random.getstate(),
        },
        "data": {"generator": torch.get_rng_state()},
        "progress": {"step": 3},
    }


def test_a_complete_file_of_this_kit_lacks_nothing(tmp_path):
    torch.save(kit(), tmp_path / "file.pt")
    found = inspect(tmp_path / "file.pt")
    assert found.layout == "kit" and found.missing == () and found.stubs == ()
    assert set(found.components) == {"adapter", "optimizer", "scheduler", "rng", "data", "progress", "other"}


@pytest.mark.parametrize(
    "drop, lacking",
    [
        ("dora", ["model"]),
        ("optimizer", ["optimizer"]),
        ("scheduler", ["scheduler"]),
        ("rng", ["rng.torch", "rng.numpy", "rng.python", "rng.cuda"]),
        ("data", ["data"]),
        ("progress", ["progress"]),
    ],
)
def test_each_part_that_is_left_out_is_missed(drop, lacking, tmp_path):
    torch.save({key: value for key, value in kit().items() if key != drop}, tmp_path / "file.pt")
    assert missing(tmp_path / "file.pt") == lacking


@pytest.mark.parametrize("source", ["torch.cpu", "torch.cuda:0", "numpy", "python"])
def test_each_generator_that_is_left_out_is_missed(source, tmp_path):
    data = kit()
    del data["rng"][source]
    torch.save(data, tmp_path / "file.pt")
    assert missing(tmp_path / "file.pt") == [
        "rng." + source.removeprefix("torch.").replace("cpu", "torch").rstrip(":0")
    ]


def test_the_studys_folder_and_its_random_states(tmp_path):
    states = {"torch_rng_state": torch.get_rng_state(), "cuda_rng_state": None}
    states |= {"numpy_rng_state": numpy.random.get_state(), "python_rng_state": random.getstate()}
    write_study(tmp_path, 2, DORA, states)
    alone = inspect(tmp_path / "epoch2_random_states.pth")
    assert alone.layout == "study random states" and set(alone.components) == {"rng"}
    assert [lack.part for lack in alone.missing] == [
        "model",
        "optimizer",
        "scheduler",
        "rng.cuda",
        "data",
        "progress",
    ]
    both = inspect(tmp_path)
    assert both.layout == "study folder" and set(both.components) == {"adapter", "rng"}
    assert missing(tmp_path) == ["optimizer", "scheduler", "rng.cuda", "data", "progress"]


def test_a_trainer_folder(trained, tmp_path):
    model, optimizer, scheduler = trained
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.save(scheduler.state_dict(), tmp_path / "scheduler.pt")
    states = {"python": random.getstate(), "numpy": numpy.random.get_state(), "cpu": torch.get_rng_state()}
    torch.save(states, tmp_path / "rng_state.pth")
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"global_step": 3, "epoch": 0.5, "log_history": [{"loss": 1}]})
    )
    torch.save(Arguments(), tmp_path / "training_args.bin")
    found = inspect(tmp_path)
    assert (found.layout, found.file_format) == ("trainer", "folder")
    assert missing(tmp_path) == ["rng.cuda"]
    assert counts(tmp_path)["model"] == 7 and counts(tmp_path)["progress"] == 3
    assert found.stubs == (f"{__name__}.Arguments",)
    assert {entry.component for entry in found.entries if entry.path.startswith("training_args")} == {"other"}
    assert set(inspect(tmp_path / "rng_state.pth").components) == {"rng"}
    (tmp_path / "scheduler.pt").unlink()
    (tmp_path / "rng_state.pth").unlink()
    assert missing(tmp_path) == ["scheduler", "rng.torch", "rng.numpy", "rng.python", "rng.cuda"]


class Arguments:
    """In the place of TrainingArguments, which a Trainer pickles."""

    def __init__(self):
        self.learning_rate = 0.1


def test_an_accelerate_folder(trained, tmp_path):
    model, optimizer, scheduler = trained
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.bin")
    torch.save(scheduler.state_dict(), tmp_path / "scheduler.bin")
    states = {"step": 4, "random_state": random.getstate(), "numpy_random_seed": numpy.random.get_state()}
    torch.save(states | {"torch_manual_seed": torch.get_rng_state()}, tmp_path / "random_states_0.pkl")
    torch.save({"generator": torch.get_rng_state()}, tmp_path / "sampler.bin")
    assert inspect(tmp_path).layout == "accelerate"
    assert missing(tmp_path) == ["rng.cuda", "progress"]
    (tmp_path / "sampler.bin").unlink()
    assert missing(tmp_path) == ["rng.cuda", "data", "progress"]


def test_a_lightning_checkpoint(trained, tmp_path):
    model, optimizer, scheduler = trained
    data = {
        "epoch": 1,
        "global_step": 5,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": model.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"EarlyStopping": {"wait_count": 0}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hyper_parameters": {"model": "small"},
    }
    torch.save(data, tmp_path / "last.ckpt")
    assert inspect(tmp_path / "last.ckpt").layout == "lightning"
    assert missing(tmp_path / "last.ckpt") == ["rng.torch", "rng.numpy", "rng.python", "rng.cuda", "data"]
    assert counts(tmp_path / "last.ckpt")["model"] == 7
    data["loops"]["fit_loop"]["state_dict"] = {"combined_loader": [{"position": 3}]}
    torch.save(data, tmp_path / "last.ckpt")
    assert "data" not in missing(tmp_path / "last.ckpt")


def test_a_peft_adapter(tmp_path):
    weights = {
        "base_model.model.fc.lora_A.weight": torch.ones(2, 4),
        "base_model.model.fc.lora_magnitude_vector": torch.ones(3),
    }
    save_file(weights, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "use_dora": True, "r": 2}))
    assert inspect(tmp_path).layout == "peft" and counts(tmp_path) == {"adapter": 2, "other": 3}
    assert missing(tmp_path) == [part for part in ALL if part != "model"]
    assert inspect(tmp_path / "adapter_model.safetensors").layout == "peft weights"
    assert "the run must build the same ones" in inspect(tmp_path).notes[0]


def test_state_dicts_alone(trained, tmp_path):
    torch.save(trained[0].state_dict(), tmp_path / "a.pt")
    torch.save(trained[1].state_dict(), tmp_path / "b.pt")
    assert inspect(tmp_path / "a.pt").layout == "state_dict" and counts(tmp_path / "a.pt") == {"model": 7}
    assert inspect(tmp_path / "b.pt").layout == "optimizer" and set(counts(tmp_path / "b.pt")) == {
        "optimizer"
    }


def test_a_file_of_a_plain_loop_is_read_by_its_names(usual, tmp_path):
    data = usual | {
        "model_ema": {"w": torch.ones(1)},
        "gradScaler": {"scale": 2.0},
        "loader": {"position": 3},
    }
    torch.save(data, tmp_path / "file.pt")
    found = inspect(tmp_path / "file.pt")
    assert found.layout == "generic" and "components are inferred from names alone" in found.notes[-1]
    by_path = {entry.path: entry.component for entry in found.entries}
    assert by_path["model/0.weight"] == "model" and by_path["optimizer/state/0/exp_avg"] == "optimizer"
    assert by_path["model_ema/w"] == "ema" and by_path["gradScaler/scale"] == "scaler"
    assert (
        by_path["numpy_rng_state/1"] == "rng"
        and by_path["epoch"] == "progress"
        and by_path["loader/position"] == "data"
    )
    assert missing(tmp_path / "file.pt") == ["rng.cuda"]


def test_generators_are_known_by_their_looks_whatever_they_are_called(tmp_path):
    torch.save(
        {"t": torch.get_rng_state(), "n": numpy.random.get_state(), "p": random.getstate()},
        tmp_path / "file.pt",
    )
    assert missing(tmp_path / "file.pt") == [
        "model",
        "optimizer",
        "scheduler",
        "rng.cuda",
        "data",
        "progress",
    ]


@pytest.mark.parametrize(
    "path, component",
    [
        ("lr_scheduler/last_epoch", "scheduler"),
        ("optimizer_state_dict/state", "optimizer"),
        ("model_state_dict/w", "model"),
        ("state_dict_ema/w", "ema"),
        ("best_loss", "progress"),
        ("global_step", "progress"),
        ("trainLoader/x", "data"),
        ("seed", "rng"),
        ("optimum", "optimizer"),
        ("demand", "other"),
        ("config/lr", "other"),
    ],
)
def test_names_are_read_word_by_word(path, component):
    assert component_of(path, "generic", None, None) == component


def test_listing_reads_no_tensor(tmp_path, monkeypatch):
    torch.save({"model": {"w": torch.ones(10)}}, tmp_path / "file.pt")

    def refuse(*_):
        raise AssertionError("a tensor was loaded")

    monkeypatch.setattr("dora_repro.checkpoint.archive.ZipArchive.load", refuse)
    assert inspect(tmp_path / "file.pt").nbytes == 40


def test_every_layout_has_words():
    assert all(contents.LAYOUTS.values())


def test_subfolders_are_named_as_not_looked_into(trained, tmp_path):
    torch.save(trained[1].state_dict(), tmp_path / "optimizer.pt")
    (tmp_path / "pytorch_model_fsdp_0").mkdir()
    assert "not read: the folders pytorch_model_fsdp_0" in inspect(tmp_path).notes


def test_a_complete_checkpoint_of_the_kits_training_lacks_nothing(tmp_path):
    from dora_repro.study import TrainingConfig, TrainingRun

    run = TrainingRun(TrainingConfig(data="synthetic"))
    run.save(tmp_path / "complete.pt")
    assert missing(tmp_path / "complete.pt") == []
    partial = TrainingRun(TrainingConfig(data="synthetic", checkpoint="dora+optimizer+data"))
    partial.save(tmp_path / "partial.pt")
    assert missing(tmp_path / "partial.pt") == [
        "scheduler",
        "rng.torch",
        "rng.numpy",
        "rng.python",
        "rng.cuda",
        "progress",
    ]
