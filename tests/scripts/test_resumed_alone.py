"""What only the resumed process has in a variable is set aside; what the other had there as well is not."""

import sys

import torch

from dora_repro.scripts.resumed_alone import only_resumed, only_uninterrupted
from dora_repro.state.frames import Running
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


class Settings:
    def __init__(self, rank):
        self.rank, self.targets = rank, {"q", "v"}


def running(owner, build):
    """The state of a function `main()` that trains a model, and of whatever else has the settings of it."""

    def main():
        if build:
            config = build
        model = [1.0]
        return sys._getframe(), model, locals().get("config")

    return Snapshot.capture({"main": Running(main()[0]), "owner": owner})


def digests(snapshot):
    return {path: leaf.digest for path, leaf in snapshot.items()}


def test_what_only_the_run_from_the_beginning_built_from_is_no_loss():
    settings = Settings(4)
    fresh, resumed = running(Holder(config=settings), settings), running(Holder(config=Settings(4)), None)
    paths = [*fresh]
    alone = [*only_uninterrupted(paths, digests(fresh), fresh, fresh, resumed, resumed)]
    assert sorted(alone) == ["main/config/rank", "main/config/targets", "owner/config"]


def test_such_a_variable_is_one_where_a_step_changed_it_or_the_other_has_it_too():
    settings = Settings(4)
    fresh = running(Holder(), settings)
    settings.rank = 5
    later, resumed = running(Holder(), settings), running(Holder(), None)
    assert [*only_uninterrupted([*fresh], digests(fresh), later, later, resumed, resumed)] == ["main/config/targets"]
    both = running(Holder(), Settings(8))
    assert not [*only_uninterrupted([*fresh], digests(fresh), fresh, fresh, both, both)]
    other = Snapshot.capture({"train": Holder(), "owner": Holder()})  # no such function is running there
    assert not [*only_uninterrupted([*fresh], digests(fresh), fresh, fresh, other, other)]
