"""Evidence that was kept, once for all tests of the room: of a run object and of a script, each having lost its moments
or its generators."""

import functools
from pathlib import Path

import pytest

import dora_repro
from dora_repro.scripts.checking import check_script
from tests import runs
from tests.scripts.trainings import commands


@pytest.fixture(scope="session")
def every(tmp_path_factory):
    """Two resumes of a run object that forgets its generators: what was returned, and the folder."""
    folder = tmp_path_factory.mktemp("every") / "kept"
    forgetful = functools.partial(runs.Forgetful, "rng")
    options = {"values": "model/*", "in_process": True, "folder": folder}
    return dora_repro.every_step(forgetful, steps=3, save_at=[1, 2], **options), folder


@pytest.fixture(scope="session")
def launched(tmp_path_factory):
    """A script that loses its moments, killed and resumed: what was returned, and the folder beside the script."""
    place = tmp_path_factory.mktemp("script")
    run, resume = commands(place, more="--lose optimizer")
    returned = check_script(run, resume, kill_after=4, explain=False, folder=place / "kept")
    return returned, place / "kept"


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for the list of transplants that were made."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "further.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
