"""What only the resumed process has in a variable is set aside; what the other had there as well is not."""

import torch

from dora_repro.scripts.resumed_alone import only_resumed
from dora_repro.state.snapshot import Snapshot


class Holder:
    """Variables of a function, as attributes."""

    def __init__(self, **variables):
        vars(self).update(variables)


def snapshot(**variables):
    return Snapshot.capture({"main": Holder(**variables), "rest": Holder(more=1.0)})


NOTHING = snapshot(best=0.5, state=None)
LOADED = snapshot(best=0.4, state={"epoch": 1, "moments": torch.ones(2)}, file="a.pt")
PATHS = ["main/best", "main/state", "main/state/epoch", "main/state/moments", "main/file", "rest/more"]


def test_a_checkpoint_that_was_read_is_of_the_resumed_process_alone():
    alone = [*only_resumed(PATHS, NOTHING, NOTHING, LOADED, ["rest"])]
    assert alone == ["main/state", "main/state/epoch", "main/state/moments", "main/file"]


def test_a_variable_that_the_other_run_had_by_then_is_not():
    had = snapshot(best=0.5, state={"epoch": 0})
    assert [*only_resumed(PATHS, had, NOTHING, LOADED, ["rest"])] == ["main/file"]
    assert [*only_resumed(PATHS, NOTHING, had, LOADED, ["rest"])] == ["main/file"]


def test_attributes_of_named_objects_are_no_variables():
    assert not [*only_resumed(PATHS, NOTHING, NOTHING, LOADED, ["main", "rest"])]
