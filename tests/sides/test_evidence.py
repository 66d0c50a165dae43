"""What a side left is read when it is asked for, and None where it did not come that far."""

import pytest

from dora_repro.errors import BadInput
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.sides.result import nothing_done, write_result
from dora_repro.sides.side import perform
from dora_repro.state import rng
from tests import runs


class WithHistory(runs.Plain):
    def __init__(self):
        super().__init__()
        self.losses, self.names, self.empty = [], ["a"], []

    def step(self):
        self.losses.append(super().step())
        return self.losses[-1]

    def outputs(self):
        return {"model": self.model(self.inputs)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Evidence:
    folder = tmp_path_factory.mktemp("whole") / "side"
    with rng.undisturbed():
        perform(WithHistory, Job(folder, 2, saves=(1,), keep=(2, "forward", "loss"), values=("model/*",)))
    return Evidence(folder)


@pytest.fixture
def bare(tmp_path) -> Evidence:
    """Of a side that raised before it had built anything."""
    write_result(tmp_path, nothing_done())
    return Evidence(tmp_path)


def test_all_that_a_side_left_is_read(whole):
    assert [step.number for step in whole.trace.steps] == [1, 2]
    assert whole.end_or_none is whole.end and whole.end["count"].value == 2
    assert whole.at_save(1)["count"].value == 1
    assert whole.checkpoint(1).is_file() and runs.load(str(whole.checkpoint(1)))["count"] == 1
    assert list(whole.outputs) == ["outputs/model"]
    assert list(whole.values) == [0, 1, 2]
    assert whole.kept is not None
    assert whole.failure is None and whole.libraries == {} and whole.loading == []


def test_what_a_side_did_not_come_to_is_none_or_empty(bare):
    assert bare.trace.steps == [] and bare.histories == {}
    assert (bare.loaded_or_none, bare.end_or_none, bare.outputs, bare.values, bare.kept) == (None,) * 5
    assert bare.draws == [] and bare.operators == [] and not bare.streams.exists()


@pytest.mark.parametrize("name", ["loaded", "end"])
def test_a_state_that_is_not_there_is_bad_input(bare, name):
    with pytest.raises(BadInput):
        getattr(bare, name)


def test_histories_are_the_lists_of_numbers_alone(whole):
    assert list(whole.histories) == ["losses"]
    assert whole.histories["losses"] == [step.loss for step in whole.trace.steps]


def test_a_file_is_read_once(whole):
    assert whole.end is whole.end and whole.trace is whole.trace


def test_the_sides_of_a_check_know_where_it_was_saved(whole, tmp_path):
    sides = Sides(whole, Job(whole.folder, 2, saves=(1,)), whole, Job(tmp_path, 2, load=whole.checkpoint(1), start=1))
    assert sides.save_at == 1
