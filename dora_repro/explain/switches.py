"""How each of torch's numeric switches (`state/flags.py`) is read and set, as lines of code."""

import re

# Flags that are set by a call: how to read, and how to set.
_BY_CALL = {
    "torch.default_dtype": ("torch.get_default_dtype()", "torch.set_default_dtype({})"),
    "torch.default_device": ("torch.get_default_device()", "torch.set_default_device({})"),
    "torch.deterministic_algorithms": (
        "torch.are_deterministic_algorithms_enabled()",
        "torch.use_deterministic_algorithms({})",
    ),
    "torch.fill_uninitialized_memory": (
        "torch.utils.deterministic.fill_uninitialized_memory",
        "torch.utils.deterministic.fill_uninitialized_memory = {}",
    ),
    "torch.float32_matmul_precision": (
        "torch.get_float32_matmul_precision()",
        "torch.set_float32_matmul_precision({})",
    ),
    "torch.num_threads": ("torch.get_num_threads()", "torch.set_num_threads({})"),
    "torch.grad_enabled": ("torch.is_grad_enabled()", "torch.set_grad_enabled({})"),
    "torch.anomaly_detection": ("torch.is_anomaly_enabled()", "torch.autograd.set_detect_anomaly({})"),
}
_NOT_READ = frozenset(
    {"torch.flush_denormal", "torch.num_interop_threads", "torch.inference_mode", "torch.backends.mkldnn.enabled"}
)


def flag_lines(name: str, key: str) -> tuple[str, str]:
    """How a flag is read, and the line that sets it; an empty line where a running process cannot."""
    if name in _NOT_READ:
        return "", ""
    if name in _BY_CALL:
        get, put = _BY_CALL[name]
        return get, put.format(key)
    if found := re.fullmatch(r"torch\.autocast\.(\w+)(\.dtype)?", name):
        device, of = found[1], "dtype" if found[2] else "enabled"
        get = "get_autocast_dtype" if found[2] else "is_autocast_enabled"
        return f'torch.{get}("{device}")', f'torch.set_autocast_{of}("{device}", {key})'
    if found := re.fullmatch(r"torch\.backends\.cuda\.(\w+_sdp)", name):
        return f"torch.backends.cuda.{found[1]}_enabled()", f"torch.backends.cuda.enable_{found[1]}({key})"
    return name, f"{name} = {key}"
