"""Folders of runs read as a name that all have in common, and become the run's own when they are put back."""

import pathlib

from dora_repro.state.places import forget_place, name_place
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk


class Run:
    def __init__(self, folder):
        self.path, self.paths, self.pure = f"{folder}/a.pt", [folder, 3], pathlib.PurePosixPath(folder)
        self.other = "x"
        name_place(self, folder, "{out}")


def test_a_folder_reads_as_its_name_in_every_run():
    one, two = Run("/folder/one"), Run("/folder/two")
    first, second = (Snapshot.capture(run_roots(run)) for run in (one, two))
    assert first["path"].value == second["path"].value == "{out}/a.pt"
    assert [path for path in first if first[path].digest != second[path].digest] == []
    two.path = "/elsewhere"
    assert Snapshot.capture(run_roots(two))["path"].digest != first["path"].digest


def test_what_is_put_back_names_the_folder_of_the_run_that_gets_it():
    one, two = Run("/folder/one"), Run("/folder/two")
    saved = Snapshot.capture(run_roots(one))
    two.path, two.paths = "changed", []
    assert saved.restore(run_roots(two)) == {}
    assert two.path == "/folder/two/a.pt" and two.paths == ["/folder/two", 3]


def test_a_folder_that_is_gone_is_forgotten():
    run = Run("/folder/three")
    forget_place("/folder/three")
    assert walk({"path": run.path})["path"].value == "/folder/three/a.pt"


def test_a_place_of_another_process_that_is_gone_is_not_put_back_and_one_that_is_there_is(tmp_path):
    there, own = tmp_path / "there", tmp_path / "own"
    there.mkdir(), own.mkdir()
    for wanted, kept in ((tmp_path / "gone", own), (there, there), ("relative", "relative")):
        saved, live = Snapshot.capture({"folder": str(wanted), "step": 3}), {"folder": str(own), "step": 4}
        failed = saved.restore(live)
        assert live == {"folder": str(kept), "step": 3}
        assert list(failed) == (["folder"] if str(kept) != str(wanted) else [])
