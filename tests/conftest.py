"""What holds for every test: the marker `gpu`, how hypothesis is set, and that Ctrl-C can be tried."""

import os
import signal

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

# A job that a shell runs in the background ignores Ctrl-C, and so would all that is started here and sent one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine is no defect, so no deadline; in continuous integration the same examples at each run.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu`, with the reason, where torch sees no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none here"))


def _has_cuda() -> bool:
    import torch  # here, since it takes a second: only a run that holds such a test pays it

    return torch.cuda.is_available()
