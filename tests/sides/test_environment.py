"""What a process runs with."""

import json
import platform

import torch

from dora_repro.sides.environment import environment


def test_an_environment_is_plain_data_that_names_versions_and_flags():
    found = environment()
    assert json.loads(json.dumps(found)).keys() == found.keys()
    assert (found["python"], found["torch"]) == (platform.python_version(), str(torch.__version__))
    assert found["flags"]["torch.num_threads"] == torch.get_num_threads()
    assert ("cuda" in found) == torch.cuda.is_available()


def test_a_flag_that_is_changed_shows():
    before = environment()
    torch.use_deterministic_algorithms(True)
    try:
        assert environment() != before
    finally:
        torch.use_deterministic_algorithms(False)
    assert environment() == before
