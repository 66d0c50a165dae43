"""What a resumed script differs in, less what its own first step has set."""

import pytest

from dora_repro.scripts.judging import findings_of
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.result import nothing_done, write_result
from dora_repro.state.digest import digest
from dora_repro.state.leaves import SavedLeaf
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Effect, Step, Trace

RATE = "main/opt/group.0/lr"
SAVED, RIGHT, WRONG = 0.1, 0.2, 0.3


def evidence(folder, first, rate, *, weight):
    """A side of two steps after the save, with this rate before the first of them and at each update."""
    folder.mkdir()
    before = Step(1, None, (), (Effect("update", "w", b"0" * 16), Effect("schedule", RATE, digest(SAVED))), {})
    steps = [before] if first == 1 else []
    effects = (Effect("update", "w", weight), Effect("schedule", RATE, digest(rate)))
    Trace([*steps, Step(2, None, (), effects, {})], {}, True).write(folder / "trace.jsonl")
    leaf = {RATE: SavedLeaf(RATE, "option", digest(rate), rate, True)}
    for name in ("save-1/before.pt", "load.pt", "end.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        Snapshot(leaf).write(folder / name)
    write_result(folder, {**nothing_done(), "finished": True, "where": "done"})
    return Evidence(folder)


@pytest.mark.parametrize(
    ("loaded", "phase"),
    [
        ({}, "load"),
        ({RATE: digest(WRONG).hex()}, "load"),
        ({RATE: digest(RIGHT).hex()}, "update"),
        ({RATE: digest(SAVED).hex()}, "update"),
    ],
)
def test_a_rate_that_was_loaded_and_that_the_first_step_sets_shows_in_that_step(tmp_path, loaded, phase):
    reference = evidence(tmp_path / "reference", 1, RIGHT, weight=b"1" * 16)
    resumed = evidence(tmp_path / "resumed", 2, WRONG, weight=b"2" * 16)
    found = findings_of(reference, resumed, 1, (), loaded).divergence
    assert (found.phase, found.leaf) == (phase, RATE if phase == "load" else "w")
