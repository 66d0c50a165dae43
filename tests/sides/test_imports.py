"""Libraries of a run are imported once for all forks of an interpreter, as long as they let it be forked."""

import importlib
import os
import sys
from textwrap import dedent

import pytest

from dora_repro import check
from dora_repro.sides.imports import imported_libraries
from dora_repro.sides.interpreters import Interpreters
from dora_repro.sides.pickling import pickled
from tests import runs

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")

LIBRARY = """
    import os
    from pathlib import Path

    with Path(__file__).with_name("imports.txt").open("a") as file:
        file.write(f"{os.getpid()}\\n")

    def double(number):
        return 2 * number
"""
THREAD = """
    import threading, time
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""
HELPERS = "from heavy_library import double\n"
TRAINING = """
    import helpers_of_mine
    from tests import runs

    class Mine(runs.Plain):
        def step(self):
            helpers_of_mine.double(1)
            return super().step()
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Makes a run whose helper imports an installed library; returns its class, and who has imported the library."""

    def make(more=""):
        installed, own = tmp_path / "site-packages", tmp_path / "own"
        for folder in (installed, own):
            folder.mkdir()
            monkeypatch.syspath_prepend(folder)
        (installed / "heavy_library.py").write_text(dedent(LIBRARY) + dedent(more))
        (own / "helpers_of_mine.py").write_text(HELPERS)
        (own / "training_of_mine.py").write_text(dedent(TRAINING))
        importlib.invalidate_caches()
        names = ("heavy_library", "helpers_of_mine", "training_of_mine")
        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)
        run = importlib.import_module("training_of_mine").Mine
        for name in names:
            monkeypatch.setitem(sys.modules, name, sys.modules[name])  # gone after the test
        lines = installed / "imports.txt"
        lines.unlink()
        return run, lines

    return make


def test_a_library_is_found_through_the_modules_of_the_run_and_nothing_else_is(training):
    run, _ = training()
    assert imported_libraries(pickled(run)) == ("heavy_library",)
    assert imported_libraries(pickled(runs.Nothing)) == ()


def uses_it(factory, about, request, emit):
    importlib.import_module("heavy_library")
    emit({"event": "said", "parent": os.getppid()})


def parents(run, count) -> list[int]:
    """The parent of each of some sides that use what the run has imported."""
    found = []
    with Interpreters(libraries=imported_libraries(pickled(run))) as interpreters:
        for _ in range(count):
            with interpreters.acquire() as process:
                process.begin(pickled(runs.Plain), f"{__name__}:uses_it", {})
                found.append(process.wait_for("said", 240.0)["parent"])
    return found


@linux
def test_forks_share_what_their_interpreter_has_imported(training):
    run, lines = training()
    assert os.getpid() not in parents(run, 5)
    assert len(set(lines.read_text().split())) in (1, 2)  # by an interpreter, and by no side


@linux
def test_a_library_that_starts_a_thread_is_left_to_the_sides(training):
    run, lines = training(THREAD)
    found = parents(run, 5)
    assert found[0] == os.getpid()  # not a fork: it has a thread
    assert os.getpid() not in found[-2:]  # interpreters that have not imported it are forked
    assert len(set(lines.read_text().split())) == 5  # each side has imported it by itself


@linux
def test_a_check_has_its_libraries_imported_beforehand(training):
    run, lines = training()
    report = check(run, steps=4, save_at=2, control="always", explain=False)
    assert report.verdict.value == "EXACT"
    assert len(set(lines.read_text().split())) in (1, 2)  # and there were three sides
