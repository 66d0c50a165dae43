"""What a process runs with: versions, processor, accelerator, numeric flags."""

import platform


def environment() -> dict[str, object]:
    """Versions, processor, accelerator and numeric flags of this process, as JSON can hold them."""
    import numpy
    import torch

    from dora_repro.state.flags import capture_flags

    found: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "flags": capture_flags(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
        found["device"] = torch.cuda.get_device_name()
    return found
