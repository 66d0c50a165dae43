"""Folders of checkpoints as each layout writes them, and a series without files: for tests of series and explorers."""

import json
import random
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from dora_repro.checkpoint.layouts import write_study
from dora_repro.series.series import MEASURES, Series, gaps_of

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
