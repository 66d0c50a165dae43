"""Evidence that was kept of a run that forgets its moments, in one process: of one resume, and of two."""

import functools

import pytest

from dora_repro.checks.options import request_of
from dora_repro.checks.running import run_check, run_every_step
from tests import runs

MOMENTS = "optimizer (12 moments)"
FORGETFUL = functools.partial(runs.Forgetful, "optimizer")


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "kept"
    options = {"folder": folder, "in_process": True}
    run_check(request_of(FORGETFUL, 3, (1,), options, title="forgets its moments"))
    return folder


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """The first resume, before any step, loses nothing."""
    folder = tmp_path_factory.mktemp("two") / "kept"
    options = {"folder": folder, "in_process": True, "explain": False}
    run_every_step(request_of(FORGETFUL, 2, (0, 1), options, title="every step"))
    return folder
