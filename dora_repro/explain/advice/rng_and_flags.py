"""Lines of code that read and set each generator, and each of the numeric switches (`state/flags.py`)."""

import re

from dora_repro.contracts import Value

# Flags that a call sets: (expression that reads, line that sets).
_BY_CALL = {
    "decimal.prec": ("decimal.getcontext().prec", "decimal.getcontext().prec = {}"),
    "decimal.rounding": ("decimal.getcontext().rounding", "decimal.getcontext().rounding = {}"),
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
    """The expression that reads a flag, and the line that sets it; both empty where a running process cannot set it.

    Args:
        name: name of the flag, as in its path.
        key: an expression for the saved value.
    """
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


# torch.load refuses numpy's arrays by default (weights_only=True); numpy takes lists back.
_LISTED = '[part.tolist() if hasattr(part, "tolist") else part for part in {}]'
ARRAYS = "Its state has numpy arrays, which torch.load reads only with weights_only=False."

_GLOBAL = {
    "rng/torch.cpu": ("torch.get_rng_state()", "torch.set_rng_state({})"),
    "rng/numpy": (_LISTED.format("np.random.get_state()"), "np.random.set_state({})"),
    "rng/python": ("random.getstate()", "random.setstate({})"),
}


def generator_lines(path: str, value: Value, code: str, key: str) -> tuple[str, str]:
    """The expression that reads a generator's state, and the line that sets it.

    Args:
        path: path of the leaf.
        value: its saved value, which distinguishes torch's, numpy's and Python's generators.
        code: an expression for the generator, where it is no global one.
        key: an expression for the saved state.
    """
    if path in _GLOBAL:
        get, put = _GLOBAL[path]
        return get, put.format(key)
    if path.startswith("rng/torch."):
        backend, _, index = path.removeprefix("rng/torch.").partition(":")
        if backend == "mps":
            return "torch.mps.get_rng_state()", f"torch.mps.set_rng_state({key})"
        device = index or "0"
        return f"torch.{backend}.get_rng_state({device})", f"torch.{backend}.set_rng_state({key}, {device})"
    if isinstance(value, tuple) and value[:1] == ("bit_generator",):
        if "has_gauss" in value:  # numpy.random.RandomState
            return _LISTED.format(f"{code}.get_state()"), f"{code}.set_state({key})"
        return f"{code}.bit_generator.state", f"{code}.bit_generator.state = {key}"
    if isinstance(value, tuple):
        return f"{code}.getstate()", f"{code}.setstate({key})"
    return f"{code}.get_state()", f"{code}.set_state({key})"


def has_arrays(value: Value, get: str) -> bool:
    """Whether the state that the expression `get` reads has arrays in it."""
    return "bit_generator.state" in get and isinstance(value, tuple) and any(":" in str(name) for name in value[::2])
