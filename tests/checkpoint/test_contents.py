"""Layouts are known by their marks, leaves by their component, and what is lacking is said."""

import json
import random

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from dora_repro.checkpoint import contents
from dora_repro.checkpoint.components import CONSEQUENCES, _by_word, by_word
from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.layouts import KIT_FORMAT, write_dora, write_study
from dora_repro.errors import BadInput

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
    lacking = ["optimizer", "scheduler", "rng.cuda", "data", "progress"]
    alone = inspect(tmp_path / "epoch2_random_states.pth")
    assert alone.layout == "study random states" and set(alone.components) == {"rng"}
    assert [lack.part for lack in alone.missing] == lacking  # the parameters lie beside it
    assert alone.notes[-1] == "beside it, of the same checkpoint: epoch2_dora_params.pth (adapter)"
    both = inspect(tmp_path)
    assert both.layout == "study folder" and set(both.components) == {"adapter", "rng"}
    assert missing(tmp_path) == lacking
    (tmp_path / "epoch2_dora_params.pth").rename(tmp_path / "epoch3_dora_params.pth")
    assert missing(tmp_path / "epoch2_random_states.pth") == ["model", *lacking]


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
    assert inspect(tmp_path / "b.pt").layout == "optimizer" and set(counts(tmp_path / "b.pt")) == {"optimizer"}


def test_a_file_of_a_plain_loop_is_read_by_its_keys(usual, tmp_path):
    data = usual | {
        "model_ema": {"w": torch.ones(1)},
        "gradScaler": {"scale": 2.0},
        "loader": {"position": 3},
    }
    torch.save(data, tmp_path / "file.pt")
    found = inspect(tmp_path / "file.pt")
    assert found.layout == "generic" and "components are told by the keys" in found.notes[-1]
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
    "key, component",
    [
        ("lr_scheduler", "scheduler"),
        ("optimizer_state_dict", "optimizer"),
        ("model_state_dict", "model"),
        ("state_dict_ema", "ema"),
        ("best_loss", "progress"),
        ("global_step", "progress"),
        ("trainLoader", "data"),
        ("seed", "rng"),
        ("dataloader_generator_state", "data"),
        ("optimum", "optimizer"),
        ("demand", ""),
        ("config", "settings"),
    ],
)
def test_keys_are_read_word_by_word(key, component):
    assert by_word(key) == component


@given(st.from_regex(r"[a-zA-Z0-9_. ]{1,8}(optim|rng|epoch|ema|Step|loader)[0-9A-Z_.a-z]{0,6}", fullmatch=True))
def test_no_word_of_a_key_hangs_on_a_number(key):
    assert by_word(key) == _by_word.__wrapped__(key)


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


# --- forms before names ------------------------------------------------------------------------------------------


def lab(trained) -> dict:
    """What the lab's loop writes beside its parameters at an epoch's end."""
    states = {"torch_rng_state": torch.get_rng_state(), "numpy_rng_state": numpy.random.get_state()}
    states |= {"python_rng_state": random.getstate(), "dataloader_generator_state": torch.Generator().get_state()}
    return {"epoch": 2, "optimizer_state_dict": trained[1].state_dict(), **states}


def test_a_files_name_does_not_say_what_is_in_it(trained, tmp_path):
    for name in ("epoch2_random_states.pth", "anything.pth", "epoch2_dora_params.pth", "model.pt"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        torch.save(lab(trained), folder / name)
        assert set(inspect(folder / name).components) == {"optimizer", "rng", "data", "progress"}
        assert missing(folder / name) == ["model", "scheduler", "rng.cuda"]
        assert set(inspect(folder).components) == {"optimizer", "rng", "data", "progress"}


def test_a_file_named_after_another_part_is_read_by_its_keys(trained, tmp_path):
    model, optimizer, scheduler = trained
    torch.save(model.state_dict(), tmp_path / "optimizer.pt")
    torch.save(optimizer.state_dict(), tmp_path / "rng_state.pth")
    torch.save(scheduler.state_dict(), tmp_path / "model.bin")
    torch.save({"a": torch.get_rng_state()}, tmp_path / "scheduler.pt")
    by_file = {entry.path.partition("/")[0]: entry.component for entry in inspect(tmp_path).entries}
    assert by_file == {
        "optimizer.pt": "model", "rng_state.pth": "optimizer", "model.bin": "scheduler", "scheduler.pt": "rng",
    }  # fmt: skip  # two in a line


def test_the_studys_parameters_with_generators_among_them(trained, tmp_path):
    flat = {"clip_model.visual.transformer.resblocks.22.attn.out_proj.m": torch.ones(6)}
    torch.save(flat | {"rng_state": torch.get_rng_state()}, tmp_path / "a.pth")
    assert counts(tmp_path / "a.pth") == {"adapter": 1, "rng": 1}
    assert "rng.torch" not in missing(tmp_path / "a.pth")
    more = {"optimizer_state": trained[1].state_dict(), "cuda_rng_state": torch.zeros(16, dtype=torch.uint8)}
    torch.save(flat | more | {"rng_state": torch.get_rng_state()}, tmp_path / "b.pth")
    assert missing(tmp_path / "b.pth") == ["scheduler", "rng.numpy", "rng.python", "data", "progress"]
    torch.save(flat | {"rng_state": torch.zeros(5055, dtype=torch.uint8)}, tmp_path / "c.pth")
    assert "rng.torch" in missing(tmp_path / "c.pth")  # a byte too few is no state


def test_parts_without_names_are_known_by_their_form(trained, tmp_path):
    model, optimizer, scheduler = (part.state_dict() for part in trained)
    torch.save((model, optimizer, 3), tmp_path / "tuple.pt")
    assert missing(tmp_path / "tuple.pt") == ["scheduler", *ALL[3:8]]
    torch.save([scheduler, model, random.getstate(), {"scale": 2.0, "growth_factor": 2.0}], tmp_path / "list.pt")
    assert set(counts(tmp_path / "list.pt")) == {"scheduler", "model", "rng", "scaler"}
    deep = {"x": {"y": {"a": model, "b": [optimizer]}, "n": 3}, "z": numpy.random.get_state()}
    torch.save(deep, tmp_path / "deep.pt")
    assert missing(tmp_path / "deep.pt") == ["scheduler", "rng.torch", "rng.python", "rng.cuda", "data", "progress"]


GENERATORS = {
    "python": (random.getstate(), list(random.getstate()), [3, list(random.getstate()[1]), None], random.Random(1)),
    "numpy": (
        numpy.random.get_state(), list(numpy.random.get_state()), numpy.random.get_state(legacy=False),
        numpy.random.default_rng(1).bit_generator.state, numpy.random.default_rng(1), numpy.random.RandomState(1),
    ),
    "torch": (torch.get_rng_state(), torch.get_rng_state().numpy(), torch.get_rng_state().tolist(), torch.Generator()),
}  # fmt: skip  # several in a line


@pytest.mark.parametrize(("kind", "state"), [(kind, state) for kind, states in GENERATORS.items() for state in states])
@pytest.mark.parametrize("key", ["x", "rng", "model"])
def test_a_generator_is_one_in_any_of_its_forms(kind, state, key, tmp_path):
    torch.save({"any": {key: state}}, tmp_path / "file.pt")
    assert [part for part in ALL if part.startswith("rng.") and part not in missing(tmp_path / "file.pt")] == [
        f"rng.{kind}"
    ]


def test_texts_and_empty_places_hold_no_state(trained, tmp_path):
    names = {"optimizer": "adamw", "scheduler": "cosine", "model": "vit", "dataset": "cifar10", "best_path": "a/b"}
    torch.save(names | {"rng": {}, "config": {"epochs": 5, "optimizer": {"lr": 0.1}}}, tmp_path / "file.pt")
    assert missing(tmp_path / "file.pt") == ALL
    torch.save({"optimizer": None, "model": {}, "optimizer_states": [], "scheduler": None}, tmp_path / "file.pt")
    assert missing(tmp_path / "file.pt") == [part for part in ALL if part != "scheduler"]  # that run has none


def test_a_name_in_the_model_is_no_part_of_the_run(tmp_path):
    names = ("data_bn.weight", "step_embed.weight", "rng_head.bias", "optim.weight", "loss_head.weight")
    torch.save({name: torch.ones(2) for name in names}, tmp_path / "flat.pt")
    assert set(counts(tmp_path / "flat.pt")) == {"model"}
    torch.save({"model": {name: torch.ones(2) for name in names}, "epoch": 1}, tmp_path / "nested.pt")
    assert set(counts(tmp_path / "nested.pt")) == {"model", "progress"}


def test_pickled_objects_are_known_by_their_state(trained, tmp_path):
    model, optimizer, scheduler = trained
    torch.save([model, optimizer, scheduler], tmp_path / "file.pt")
    assert missing(tmp_path / "file.pt") == ALL[3:]


def test_keys_the_wrong_way_round_are_told_by_what_lies_under_them(trained, tmp_path):
    model, optimizer = trained[0].state_dict(), trained[1].state_dict()
    torch.save({"optimizer": model, "model": optimizer}, tmp_path / "swapped.pt")
    assert counts(tmp_path / "swapped.pt")["model"] == len(model) and "model" not in missing(tmp_path / "swapped.pt")
    torch.save({"optimizer": model, "net": model, "more": optimizer}, tmp_path / "by_name.pt")
    assert counts(tmp_path / "by_name.pt")["model"] == len(model), "but where there are weights, it keeps its name"


def test_an_average_is_no_model(trained, tmp_path):
    torch.save({"ema": {"model": trained[0].state_dict()}}, tmp_path / "file.pt")
    assert "model" in missing(tmp_path / "file.pt") and set(counts(tmp_path / "file.pt")) == {"ema"}
    torch.save({"model": {"ema": trained[0].state_dict(), "net": trained[0].state_dict()}}, tmp_path / "file.pt")
    assert set(counts(tmp_path / "file.pt")) == {"ema", "model"}


# --- the folder of a run -----------------------------------------------------------------------------------------


def lab_run(folder, trained, epochs=(1, 2, 3)):
    """The lab's folder: a folder for each kind of file, a file of each kind an epoch."""
    for kind in ("dora_params", "random_states"):
        (folder / kind).mkdir(parents=True)
    for epoch in epochs:
        write_dora(folder / "dora_params" / f"epoch{epoch}_dora_params.pth", DORA)
        torch.save(lab(trained), folder / "random_states" / f"epoch{epoch}_random_states.pth")
    return folder


def test_a_runs_folder_is_one_series_of_checkpoints(trained, tmp_path):
    found = inspect(lab_run(tmp_path / "run", trained))
    assert (found.layout, found.unit, [number for number, _ in found.checkpoints]) == ("run", "epoch", [1, 2, 3])
    every = {"adapter", "optimizer", "rng", "data", "progress"}
    assert all(set(one.components) == every for _, one in found.checkpoints)
    assert [lack.part for lack in found.missing] == ["scheduler", "rng.cuda"]
    assert found.entries[0].path.startswith("epoch1/epoch1_dora_params.pth/clip_model.visual")
    (tmp_path / "run" / "random_states" / "epoch2_random_states.pth").unlink()
    found = inspect(tmp_path / "run")
    assert [len(one.missing) for _, one in found.checkpoints] == [2, 8, 2]
    assert [lack.part for lack in found.missing] == ["scheduler", "rng.cuda"]


def test_a_file_of_a_run_is_seen_with_what_lies_beside_it(trained, tmp_path):
    run = lab_run(tmp_path / "run", trained)
    found = inspect(run / "random_states" / "epoch2_random_states.pth")
    assert [lack.part for lack in found.missing] == ["scheduler", "rng.cuda"]
    assert "../dora_params/epoch2_dora_params.pth (adapter)" in found.notes[-1]


def test_the_folders_of_two_runs_are_not_one_run(trained, tmp_path):
    for name in ("model_a", "model_b"):
        (tmp_path / name).mkdir()
        torch.save(trained[0].state_dict(), tmp_path / name / "epoch1.pt")
    assert inspect(tmp_path).layout == "folder" and len(inspect(tmp_path).entries) == 14  # both, each by its name
    assert inspect(tmp_path / "model_a").layout == "folder"


def test_one_checkpoint_is_no_run_whatever_numbers_its_parts_have(trained, tmp_path):
    torch.save(random.getstate(), tmp_path / "random_states_0.pkl")
    for number in range(2):
        torch.save({"epoch": 3}, tmp_path / f"custom_checkpoint_{number}.pkl")
    (tmp_path / "pytorch_model_fsdp_0").mkdir()
    torch.save(trained[0].state_dict(), tmp_path / "pytorch_model_fsdp_0" / "part.pt")
    found = inspect(tmp_path)
    assert found.layout == "accelerate" and not found.checkpoints
    assert set(found.components) == {"rng", "progress", "model"}  # the folder inside of it is read, too


def test_a_trainers_folder_of_checkpoints_is_a_run_with_or_without_its_own_state(trained, tmp_path):
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        torch.save(trained[1].state_dict(), tmp_path / f"checkpoint-{step}" / "optimizer.pt")
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text('{"global_step": 5}')
    (tmp_path / "trainer_state.json").write_text('{"global_step": 10}')
    found = inspect(tmp_path)
    assert (found.unit, [number for number, _ in found.checkpoints]) == ("checkpoint", [5, 10])
    assert found.checkpoints[0][1].layout == "trainer"
    assert missing(tmp_path / "checkpoint-5" / "optimizer.pt") == missing(tmp_path / "checkpoint-5")


def test_files_of_one_name_in_a_folder_for_each_kind_are_all_read(trained, tmp_path):
    parts = {"weights": trained[0].state_dict(), "optim": trained[1].state_dict(), "rng": {"x": random.getstate()}}
    for name, content in parts.items():
        (tmp_path / name).mkdir()
        for epoch in (1, 2):
            torch.save(content, tmp_path / name / f"ep{epoch}.pth.tar")
    found = inspect(tmp_path)
    assert [set(one.components) for _, one in found.checkpoints] == [{"model", "optimizer", "rng"}] * 2
    assert [lack.part for lack in found.missing] == [part for part in ALL[2:] if part != "rng.python"]


def test_a_torn_checkpoint_of_a_run_is_told_and_the_others_go_on(trained, tmp_path):
    run = lab_run(tmp_path / "run", trained)
    for epoch in (2, 1, 3):
        (run / "random_states" / f"epoch{epoch}_random_states.pth").write_bytes(b"\x80torn")
        if epoch == 2:
            found = inspect(run)
            assert [number for number, _ in found.checkpoints] == [1, 3]
            assert found.notes[0].startswith("epoch 2 is left out: cannot read ")
    with pytest.raises(BadInput, match="cannot read"):
        inspect(run)


def test_the_number_in_a_files_name_says_nothing_of_what_is_in_it(tmp_path):
    torch.save({"note": "a", "values": [1, 2]}, tmp_path / "epoch_3.pth")
    assert set(inspect(tmp_path).components) == {"other"} == set(inspect(tmp_path / "epoch_3.pth").components)


@pytest.mark.parametrize("value", [{"format": numpy.arange(3)}, [numpy.arange(3), 1, 2], [numpy.arange(3)] * 5])
def test_an_array_where_a_mark_of_a_layout_would_stand_is_an_array(value, tmp_path):
    torch.save(value, tmp_path / "file.pt")
    assert inspect(tmp_path / "file.pt").layout == "generic"
