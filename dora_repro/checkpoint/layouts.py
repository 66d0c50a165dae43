"""Which file holds what: the study's two files and the names in them.

The study (CLIP-HBA) names its DoRA parameters after OpenAI's CLIP; the model of this kit is the CLIP of
`transformers`. Both are two spellings of the same places, mapped here one to one. What this is not: a
converter of CLIP weights; only the three trained parameters of a DoRA layer (`m` (out,), `delta_D_A` (r,
out), `delta_D_B` (in, r)) have names here, and these have the same orientation in both.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import numpy
import torch
from torch import Tensor

from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.reading import read
from dora_repro.checkpoint.writing import refuse_unplain, save
from dora_repro.errors import BadInput
from dora_repro.printable import named

KIT_FORMAT = "dora_repro/1"  # `format` in this kit's own checkpoint, beside `contains` and the parts it names
DORA_SUFFIXES = ("m", "delta_D_A", "delta_D_B")
RANDOM_STATE_KEYS = ("torch_rng_state", "cuda_rng_state", "numpy_rng_state", "python_rng_state")

# (place in the study's CLIP, place in transformers' CLIP) of the towers; what follows is the block's number.
_TOWERS = (
    ("clip_model.visual.transformer.resblocks", "clip_model.vision_model.encoder.layers"),
    ("clip_model.transformer.resblocks", "clip_model.text_model.encoder.layers"),
)
_SUFFIX = "|".join(DORA_SUFFIXES)
_STUDY = re.compile(rf"(?:module\.)?({'|'.join(re.escape(s) for s, _ in _TOWERS)})\.(\d+)\.attn\.out_proj\.({_SUFFIX})")
_MODEL = re.compile(
    rf"(?:module\.)?({'|'.join(re.escape(m) for _, m in _TOWERS)})\.(\d+)\.self_attn\.out_proj\.({_SUFFIX})"
)


def study_name(name: str) -> str:
    """The study's (OpenAI CLIP) name of a DoRA parameter of the model; a name of the study's is returned as it is.

    Raises:
        BadInput: the name is not one of a DoRA parameter.
    """
    return _rename(name, _MODEL, {model: study for study, model in _TOWERS}, "attn", _STUDY)


def model_name(name: str) -> str:
    """The model's (transformers CLIP) name of a DoRA parameter of the study; the inverse of `study_name`.

    A leading `module.` (DataParallel) is dropped.

    Raises:
        BadInput: the name is not one of a DoRA parameter.
    """
    return _rename(name, _STUDY, dict(_TOWERS), "self_attn", _MODEL)


def is_study_name(name: FileValue) -> TypeGuard[str]:
    """Whether this is the study's name of a DoRA parameter."""
    return isinstance(name, str) and _STUDY.fullmatch(name) is not None


def _rename(
    name: str, pattern: re.Pattern[str], towers: dict[str, str], attention: str, already: re.Pattern[str]
) -> str:
    if match := pattern.fullmatch(name):
        tower, block, suffix = match.groups()
        return f"{towers[tower]}.{block}.{attention}.out_proj.{suffix}"
    if already.fullmatch(name):
        return name.removeprefix("module.")
    raise BadInput(
        f"{name!r} is not the name of a DoRA parameter; expected e.g. "
        "clip_model.visual.transformer.resblocks.22.attn.out_proj.m (study) or "
        "clip_model.vision_model.encoder.layers.22.self_attn.out_proj.m (model)"
    )


def study_files(folder: str | os.PathLike[str], epoch: int) -> tuple[Path, Path]:
    """The study's two files of one epoch: DoRA parameters and random states."""
    return Path(folder) / f"epoch{epoch}_dora_params.pth", Path(folder) / f"epoch{epoch}_random_states.pth"


def step_in_name(path: str | os.PathLike[str], steps_per_epoch: int) -> int:
    """Optimizer steps done, as a file's name says: `epoch{N}…` (the study's), `step{N}…`; 0 for any other name."""
    match = re.match(r"(epoch|step)(\d+)(?![\d])", Path(path).name)
    if match is None:
        return 0
    return int(match[2]) * (steps_per_epoch if match[1] == "epoch" else 1)


def write_dora(path: str | os.PathLike[str], dora: Mapping[str, Tensor]) -> None:
    """Write exactly the study's parameter file: a flat {study's name: tensor}, detached, on the CPU.

    Args:
        path: the file.
        dora: the model's names, or the study's, to tensors.

    Raises:
        BadInput: nothing to save, a name of no DoRA parameter, or no tensor; or the file cannot be written.
    """
    if not dora:
        raise BadInput(
            f"cannot write {named(path)}: there is no DoRA parameter to save; put DoRA layers into the model first"
        )
    for name, value in dora.items():
        if not isinstance(value, Tensor):
            raise BadInput(f"cannot write {named(path)}: {name} is a {type(value).__name__}; expected a tensor")
    save(path, {study_name(name): value.detach().cpu().clone() for name, value in dora.items()})


def write_study(
    folder: str | os.PathLike[str],
    epoch: int,
    dora: Mapping[str, Tensor],
    random_states: Mapping[str, FileValue] | None = None,
) -> tuple[Path, Path | None]:
    """Write the study's files of one epoch, each atomically.

    Args:
        folder: that they are written to.
        epoch: in their names.
        dora: the model's names, or the study's, to tensors.
        random_states: any of `RANDOM_STATE_KEYS`: torch's state as a uint8 tensor, CUDA's as a tensor or list of
            them, `numpy.random.get_state()`, `random.getstate()`.

    Returns:
        the path of the parameters, and that of the random states; None where none are given.

    Raises:
        BadInput: as `write_dora`; or an unknown key, or a value that is not plain.
    """
    parameters, states = study_files(folder, epoch)
    if random_states is not None:
        if unknown := set(random_states) - set(RANDOM_STATE_KEYS):
            raise BadInput(
                f"unknown random states {sorted(map(str, unknown))}; known are {', '.join(RANDOM_STATE_KEYS)}"
            )
        refuse_unplain(random_states, also=(numpy.ndarray,))
    write_dora(parameters, dora)
    if random_states is None:
        return parameters, None
    save(states, dict(random_states))
    return parameters, states


def read_dora(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the study's parameter file: {model's name: tensor}.

    Raises:
        BadInput: not such a file, naming what is in the way.
    """
    data = read(path)
    if not isinstance(data, Mapping) or not data:
        raise BadInput(
            f"{named(path)} holds no flat mapping of DoRA parameters; see `dora-repro inspect {named(path)}`"
        )
    result: dict[str, Tensor] = {}
    for name, value in data.items():
        if not is_study_name(name) or not isinstance(value, torch.Tensor):
            raise BadInput(
                f"{named(path)} is not the study's parameter file: its entry {name!r} is a {type(value).__name__}, "
                f"not a DoRA tensor of a known name; `dora-repro inspect {named(path)}` shows what it holds"
            )
        result[model_name(name)] = value.detach()
    return result


def read_random_states(path: str | os.PathLike[str]) -> dict[str, FileValue]:
    """Read the study's random states: any of `RANDOM_STATE_KEYS`, numpy's and Python's as their tuples.

    Raises:
        BadInput: the file holds none of them.
    """
    data = read(path)
    if not isinstance(data, dict) or not set(data) & set(RANDOM_STATE_KEYS):
        raise BadInput(f"{named(path)} holds none of {', '.join(RANDOM_STATE_KEYS)}; it is not a file of random states")
    return {key: value for key, value in data.items() if key in RANDOM_STATE_KEYS}
