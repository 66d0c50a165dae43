"""The folder of a process: taken when it trains, and never two processes in one."""

import json
import os

import torch

from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Anchor
from dora_repro.scripts.place import Place
from dora_repro.state.snapshot import Snapshot


def test_what_is_written_before_it_trains_lies_elsewhere(tmp_path):
    place = Place(tmp_path / "resumed", tmp_path / "resumed", 0, meant=True)
    place.write(assignment.ABOUT, {"steps": 0})

    assert not (tmp_path / "resumed").exists()
    assert json.loads((tmp_path / "untrained" / assignment.ABOUT).read_text()) == {"steps": 0}


def test_a_second_process_of_a_launch_takes_a_folder_beside_the_first_ones(tmp_path):
    first, second = (Place(tmp_path / "resumed", tmp_path / "resumed", 0, meant=True) for _ in range(2))
    first.claim()
    second.claim()

    assert first.path == tmp_path / "resumed"
    assert second.path == tmp_path / f"resumed-process{os.getpid()}"
    assert (second.path / assignment.PROCESS).exists()


def test_a_helper_never_takes_the_folder_of_the_process_that_is_judged(tmp_path):
    helper = Place(tmp_path / "resumed", tmp_path / "resumed", 1, meant=False)
    helper.claim()

    assert not (tmp_path / "resumed").exists()
    assert json.loads((helper.path / assignment.PROCESS).read_text())["depth"] == 1


def test_state_is_kept_with_what_is_known_of_the_loader(tmp_path):
    place = Place(tmp_path / "killed", tmp_path / "killed", 0, meant=True)
    place.claim()
    place.keep(assignment.FIRST, {"main": {"epoch": 3}}, Anchor(None, ["00ff"], 1))

    assert Snapshot.read(place.path / assignment.FIRST)["main/epoch"].value == 3
    assert Anchor.read(place.path / f"{assignment.FIRST}{assignment.ANCHOR}").in_hand == ["00ff"]


def test_the_launcher_finds_word_of_what_went_wrong(tmp_path):
    place = Place(tmp_path / "sub" / "killed", tmp_path / "sub" / "killed", 0, meant=True)
    place.fail(OSError("no space left"))

    (word,) = (tmp_path / "sub").glob("killed.*.error")
    assert word.read_text() == "OSError: no space left"


def test_a_frozen_copy_of_a_model_is_kept_by_value_once_it_has_moved(tmp_path):
    place = Place(tmp_path / "launch", tmp_path / "launch", 0, True)
    place.claim()
    average = torch.nn.Linear(2, 1).requires_grad_(False)
    roots = {"main": {"average": average}}
    place.keep("before.pt", roots, Anchor(None))
    average.weight.data.add_(1)
    place.keep("after.pt", roots, Anchor(None))
    before, after = (Snapshot.read(place.path / name) for name in ("before.pt", "after.pt"))
    kept = {path: (before[path].kept, after[path].kept) for path in ("main/average/weight", "main/average/bias")}
    assert kept == {"main/average/weight": (False, True), "main/average/bias": (False, False)}
    assert torch.equal(after["main/average/weight"].value, average.weight)
