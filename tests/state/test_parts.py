"""Parts of a library: named last, put back in place, and read by the library's own words."""

import sys
import types

import torch

from dora_repro.explain.advice.expressions import code
from dora_repro.state.frames import Running
from dora_repro.state.parts import Part, Parts
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk


class Counter:
    def __init__(self):
        self.total = 0


def roots(counter: Counter, held: types.SimpleNamespace) -> dict[str, object]:
    parts = {"state": Part(counter, "trainer.state"), "best": Part(held.best, "trainer.best", held, "best")}
    return {"trainer": Parts(parts)}


def test_a_part_has_the_words_of_its_library_and_its_attributes_below_it():
    held = types.SimpleNamespace(best=0.5)
    leaves = walk(roots(Counter(), held)).leaves
    assert {path: leaves[path].value for path in ("trainer/state/total", "trainer/best")} == {
        "trainer/state/total": 0,
        "trainer/best": 0.5,
    }


def test_a_part_is_put_back_in_place_or_on_who_holds_it():
    counter, held = Counter(), types.SimpleNamespace(best=0.5)
    saved = Snapshot.capture(roots(counter, held))
    counter.total, held.best = 7, 0.1
    assert saved.restore(roots(counter, held), [*saved]) == {}
    assert (counter.total, held.best) == (0, 0.5)


def test_lines_name_a_part_as_the_library_does_also_of_a_snapshot_that_was_written(tmp_path):
    Snapshot.capture(roots(Counter(), types.SimpleNamespace(best=0.5))).write(tmp_path / "state.pt")
    kinds = Snapshot.read(tmp_path / "state.pt").kinds
    assert code("trainer/state/total", kinds) == "trainer.state.total"
    assert code("trainer/best", kinds) == "trainer.best"


def test_the_names_of_the_script_come_first():
    def frame_of_training(model: torch.nn.Module, trainer: types.SimpleNamespace) -> types.FrameType:
        return sys._getframe()

    model, counter = torch.nn.Linear(1, 1), Counter()
    frame = frame_of_training(model, types.SimpleNamespace(model=model, state=counter))
    parts = {"model": Part(model, "trainer.model"), "state": Part(counter, "trainer.state")}
    leaves = walk({"a": Parts(parts), "z": Running(frame)}).leaves
    assert "z/model/weight" in leaves and leaves["a/model"].value == "= z/model"
    assert "a/state/total" in leaves and leaves["z/trainer/state"].value == "= a/state"
