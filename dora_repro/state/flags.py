"""The numeric switches of torch that change what an operator computes, and Python's for decimals, as named values.

They are leaves under `flags/`: a resumed process that runs with other TF32, determinism or thread settings computes
other numbers from the same state.
"""

import decimal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import torch

from dora_repro.contracts import Value
from dora_repro.state.assign import Setter

Flag: TypeAlias = tuple[Callable[[], Value], Setter]
"""How a switch is read, and how it is set; None where a running process cannot set it."""

# torch refuses to read an old switch (`allow_tf32`, `float32_matmul_precision`) once a new one (`fp32_precision`)
# has said something that the old one cannot say. The new ones can always be read, and are flags of their own.
UNREADABLE = "said by fp32_precision"


def _attribute(owner: Value, name: str) -> Flag:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _set_deterministic(value: tuple[bool, bool]) -> None:
    mode, warn_only = value
    torch.use_deterministic_algorithms(mode, warn_only=warn_only)


def _set_default_device(value: str) -> None:
    torch.set_default_device(None if value == "cpu" else value)


def _flushes_denormals() -> bool:
    """Whether this thread's processor takes the smallest numbers for zero; torch can set this, and has no getter."""
    return float.fromhex("0x1p-1074") * 1.0 == 0.0


def _decimal(name: str) -> Flag:
    """Of this thread's context, which `decimal.getcontext()` returns."""
    return (lambda: getattr(decimal.getcontext(), name)), (lambda value: setattr(decimal.getcontext(), name, value))


def _autocast(device: str) -> Flag:
    return (lambda: torch.is_autocast_enabled(device)), (lambda value: torch.set_autocast_enabled(device, value))


def _autocast_dtype(device: str) -> Flag:
    get = lambda: str(torch.get_autocast_dtype(device))  # noqa: E731  # one line of a table
    return get, (lambda value: torch.set_autocast_dtype(device, _dtype(value)))


def _dtype(value: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, value.removeprefix("torch."))
    return dtype


# `Any`: torch's stubs lack the switches of 2.9 (`cudnn.conv`, `mkldnn.matmul`).
_CUDA: Any = torch.backends.cuda
_CUDNN: Any = torch.backends.cudnn
_MKLDNN: Any = torch.backends.mkldnn

FLAGS: dict[str, Flag] = {
    "decimal.prec": _decimal("prec"),
    "decimal.rounding": _decimal("rounding"),
    "torch.default_dtype": (
        lambda: str(torch.get_default_dtype()),
        lambda value: torch.set_default_dtype(_dtype(value)),
    ),
    "torch.default_device": (lambda: str(torch.get_default_device()), _set_default_device),
    "torch.deterministic_algorithms": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    "torch.fill_uninitialized_memory": _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    "torch.flush_denormal": (_flushes_denormals, torch.set_flush_denormal),
    "torch.float32_matmul_precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.num_threads": (torch.get_num_threads, torch.set_num_threads),
    "torch.num_interop_threads": (torch.get_num_interop_threads, None),  # can be set once a process, before any work
    "torch.grad_enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.inference_mode": (torch.is_inference_mode_enabled, None),  # only by its context manager
    "torch.anomaly_detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch.autocast.cpu": _autocast("cpu"),
    "torch.autocast.cpu.dtype": _autocast_dtype("cpu"),
    "torch.autocast.cuda": _autocast("cuda"),
    "torch.autocast.cuda.dtype": _autocast_dtype("cuda"),
    "torch.backends.cudnn.enabled": _attribute(_CUDNN, "enabled"),
    "torch.backends.cudnn.benchmark": _attribute(_CUDNN, "benchmark"),
    "torch.backends.cudnn.deterministic": _attribute(_CUDNN, "deterministic"),
    "torch.backends.cudnn.allow_tf32": _attribute(_CUDNN, "allow_tf32"),
    "torch.backends.cudnn.conv.fp32_precision": _attribute(_CUDNN.conv, "fp32_precision"),
    "torch.backends.cudnn.rnn.fp32_precision": _attribute(_CUDNN.rnn, "fp32_precision"),
    "torch.backends.cuda.matmul.allow_tf32": _attribute(_CUDA.matmul, "allow_tf32"),
    "torch.backends.cuda.matmul.fp32_precision": _attribute(_CUDA.matmul, "fp32_precision"),
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction": _attribute(
        _CUDA.matmul, "allow_fp16_reduced_precision_reduction"
    ),
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": _attribute(
        _CUDA.matmul, "allow_bf16_reduced_precision_reduction"
    ),
    "torch.backends.cuda.flash_sdp": (_CUDA.flash_sdp_enabled, _CUDA.enable_flash_sdp),
    "torch.backends.cuda.math_sdp": (_CUDA.math_sdp_enabled, _CUDA.enable_math_sdp),
    "torch.backends.cuda.mem_efficient_sdp": (_CUDA.mem_efficient_sdp_enabled, _CUDA.enable_mem_efficient_sdp),
    "torch.backends.cuda.cudnn_sdp": (_CUDA.cudnn_sdp_enabled, _CUDA.enable_cudnn_sdp),
    "torch.backends.mkldnn.enabled": (lambda: _MKLDNN.enabled, lambda value: _MKLDNN.set_flags(_enabled=value)),
    "torch.backends.mkldnn.conv.fp32_precision": _attribute(_MKLDNN.conv, "fp32_precision"),
    "torch.backends.mkldnn.matmul.fp32_precision": _attribute(_MKLDNN.matmul, "fp32_precision"),
}


def capture_flags() -> dict[str, Value]:
    """Every flag by name, as plain values."""
    flags: dict[str, Value] = {}
    for name, (get, _) in FLAGS.items():
        try:
            flags[name] = get()
        except RuntimeError:
            flags[name] = UNREADABLE
    return flags


def restore_flags(wanted: Mapping[str, Value]) -> None:
    """Set flags to what `capture_flags` returned, as far as a running process can set them.

    A flag that has its value already is left alone: setting a switch of torch to the same value can change others.
    """
    now = capture_flags()
    for name, value in wanted.items():
        if now[name] != value:
            with suppress(KeyError, RuntimeError):  # one that a running process cannot set
                restore_flag(name, value)


def restore_flag(name: str, value: Value) -> None:
    """Set one flag by its name in `FLAGS`.

    Raises:
        KeyError: no such flag, or it cannot be set in a running process.
    """
    put = FLAGS[name][1]
    if put is None or value == UNREADABLE:
        raise KeyError(name)
    put(value)
