"""Whose code a frame runs: the kit's modules that pass a run's calls on are told from those that look at it."""

import os

import dora_repro
from dora_repro.recording import user_frames

FOLDER = os.path.dirname(os.path.abspath(dora_repro.__file__))


def owner(inside: str, function: str = "f") -> str:
    return user_frames._owner(os.path.join(FOLDER, *inside.split("/")), "", function)


def test_every_module_that_passes_calls_on_is_there():
    for inside in user_frames._PASSING:
        assert os.path.isfile(os.path.join(FOLDER, inside)), inside


def test_what_replays_batches_passes_calls_on_and_what_digests_looks():
    assert owner("recording/replay.py") == owner("recording/user_frames.py") == "kit"
    assert owner("recording/memory.py") == owner("state/digest.py") == "looking"
    assert owner("recording/recorder.py", "Recorder.step") == "kit"
    assert owner("sides/side.py") == "kit"
    assert owner("faults/plain.py") == owner("subject/model.py") == "user"
