"""What a value of a file is by its form: its keys, and the shapes and kinds of what lies under them. No name counts.

The state of an optimizer has `param_groups`; that of torch's CPU generator has 5056 bytes; Python's is (3, 625 words,
…); numpy's begins with "MT19937", or is a dictionary with `bit_generator`. Sources: `state_dict` of torch's optimizers,
schedules, scaler and loaders as of torch 2.13, `random.getstate`, `numpy.random.get_state` and `BitGenerator.state`.
"""

from collections.abc import Mapping
from enum import StrEnum

import numpy
import torch

from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.stub import Stub
from dora_repro.checkpoint.tensors import TensorEntry

TORCH_CPU_BYTES = 5056  # of the state of torch's CPU generator
CUDA_BYTES = 16  # seed and offset of a CUDA generator
PYTHON_WORDS = 625  # of the state of Python's generator: 624 words and a place
TWISTER_WORDS = 624


class Form(StrEnum):
    """What something is, whatever it is called."""

    NONE = ""
    OPTIMIZER = "optimizer state"
    SCHEDULER = "schedule state"
    SCALER = "scaler state"
    LOADER = "loader state"
    MODULE = "pickled module"
    TENSORS = "named tensors"
    SETTINGS = "settings"
    TORCH = "torch generator"
    CUDA = "cuda generator"
    NUMPY = "numpy generator"
    PYTHON = "python generator"


GENERATORS = (Form.TORCH, Form.CUDA, Form.NUMPY, Form.PYTHON)

# What optimizers of torch, and those built like them, keep for each parameter: names that nothing else has, and others.
MOMENTS = frozenset(
    "exp_avg exp_avg_sq max_exp_avg_sq exp_inf momentum_buffer square_avg grad_avg acc_delta exp_avg_diff "
    "exp_avg_sq_row exp_avg_sq_col".split()
)
_BESIDE_MOMENTS = frozenset("step sum prev prev_grad step_size mu_product eta ax d mu nu neg_pre_grad".split())
_SCHEDULE_KEYS = frozenset(
    "_step_count base_lrs _last_lr num_bad_epochs cooldown_counter _schedulers total_steps milestones T_max".split()
)
_LOADER_KEYS = frozenset(
    "_sampler_iter_state _sampler_iter_yielded _num_yielded _iterator_finished _snapshot _index_sampler_state "
    "_dataset_state samples_yielded sampler_iter_yielded".split()
)
_SETTINGS_KEYS = frozenset("architectures model_type peft_type tokenizer_class weight_map transformers_version".split())
_SETTINGS_CLASSES = ("Arguments", "Config", "Namespace", "DictConfig", "Options", "Settings")
_LOADERS = ("torch.utils.data.", "torchdata.", "accelerate.data_loader.")


def form_of(value: FileValue) -> Form:
    """What a value is by its form; `Form.NONE` where it says nothing."""
    if isinstance(value, (TensorEntry, torch.Tensor, numpy.ndarray)):
        return _of_array(value)
    if isinstance(value, (list, tuple)):
        return _of_sequence(value)
    if isinstance(value, Stub):
        return _of_stub(value)
    return _of_mapping(value) if isinstance(value, (dict, Mapping)) else Form.NONE  # asking for a dict alone is quick


def is_number(value: FileValue) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, (int, float, numpy.number)) and not isinstance(value, bool)


def is_tensor(value: FileValue) -> bool:
    """Whether a value is a tensor, loaded or not, or an array of numbers."""
    if isinstance(value, numpy.ndarray):
        return value.dtype.kind in "fiucb"
    return isinstance(value, (TensorEntry, torch.Tensor))


def _of_mapping(value: Mapping[FileValue, FileValue]) -> Form:
    keys = {key for key in value if isinstance(key, str)}
    groups = value.get("param_groups")
    if isinstance(groups, (list, tuple)) and "state" in keys and all(isinstance(one, dict) for one in groups):
        return Form.OPTIMIZER
    if (isinstance(value.get("bit_generator"), str) and "state" in keys) or _is_twister(value):
        return Form.NUMPY
    if ("last_epoch" in keys and keys & _SCHEDULE_KEYS) or {"num_bad_epochs", "patience"} <= keys:
        return Form.SCHEDULER
    if "scale" in keys and {"growth_factor", "_growth_tracker"} & keys:
        return Form.SCALER
    if keys & _LOADER_KEYS:
        return Form.LOADER
    if keys & _SETTINGS_KEYS:
        return Form.SETTINGS
    if _are_moments(value):
        return Form.OPTIMIZER
    return Form.TENSORS if _are_named_tensors(value) else Form.NONE


def _is_twister(value: Mapping[FileValue, FileValue]) -> bool:
    """Whether this is the state of numpy's Mersenne twister, field by field, whatever these are called."""
    named = any(isinstance(inner, str) and inner == "MT19937" for inner in value.values())
    return named and any(_length(inner) == TWISTER_WORDS for inner in value.values())


def _are_moments(value: Mapping[FileValue, FileValue]) -> bool:
    """Whether this is what an optimizer keeps, for one parameter or for each of several."""
    if value and all(isinstance(inner, Mapping) and _are_of_one(inner) for inner in value.values()):
        return True
    return _are_of_one(value)


def _are_of_one(value: Mapping[FileValue, FileValue]) -> bool:
    known = any(key in MOMENTS and is_tensor(inner) for key, inner in value.items())
    return known and all(key in MOMENTS or key in _BESIDE_MOMENTS for key in value)


def _are_named_tensors(value: Mapping[FileValue, FileValue]) -> bool:
    """Whether this reads as a state_dict: names to tensors, but for the generators and few plain values among them."""
    if not value or not all(isinstance(key, str) for key in value):
        return False
    tensors = [inner for inner in value.values() if is_tensor(inner) and _of_array(inner) is Form.NONE]
    return 2 * len(tensors) > len(value)


def _of_stub(value: Stub) -> Form:
    state = value.state if isinstance(value.state, dict) else {}
    if {"_parameters", "_modules"} <= state.keys():
        return Form.MODULE
    if {"param_groups", "defaults"} <= state.keys():
        return Form.OPTIMIZER
    if "last_epoch" in state and _SCHEDULE_KEYS & state.keys():
        return Form.SCHEDULER
    if value.name.endswith(".GradScaler"):
        return Form.SCALER
    if value.name.startswith(_LOADERS):
        return Form.LOADER
    if value.name.endswith(_SETTINGS_CLASSES):
        return Form.SETTINGS
    if value.name == "random.Random" and form_of(value.state) is Form.PYTHON:
        return Form.PYTHON
    return Form.NONE


def _of_array(value: FileValue) -> Form:
    if not isinstance(value, (TensorEntry, torch.Tensor, numpy.ndarray)):
        return Form.NONE
    if str(value.dtype).removeprefix("torch.") != "uint8":
        return Form.NONE
    shape = tuple(value.shape)
    if shape == (TORCH_CPU_BYTES,):
        return Form.TORCH
    return Form.CUDA if shape == (CUDA_BYTES,) else Form.NONE


def _of_sequence(value: list[FileValue] | tuple[FileValue, ...]) -> Form:
    if len(value) == PYTHON_WORDS and all(type(item) is int for item in value):
        return Form.PYTHON
    if len(value) == 3 and type(value[0]) is int and value[0] in (2, 3):
        words = value[1]
        return Form.PYTHON if isinstance(words, (list, tuple)) and len(words) == PYTHON_WORDS else Form.NONE
    if len(value) in (3, 5) and isinstance(value[0], str) and value[0] == "MT19937":
        words = value[1]
        sized = isinstance(words, (list, tuple)) or is_tensor(words)
        return Form.NUMPY if sized and _length(words) == TWISTER_WORDS else Form.NONE
    if len(value) == TORCH_CPU_BYTES and all(type(item) is int and 0 <= item < 256 for item in value):
        return Form.TORCH
    return Form.NONE


def _length(value: FileValue) -> int:
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, (TensorEntry, torch.Tensor, numpy.ndarray)) and len(value.shape) == 1:
        return int(value.shape[0])
    return -1
