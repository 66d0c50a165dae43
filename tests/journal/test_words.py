"""What a journal says, in sentences."""

from pathlib import Path

import pytest

from dora_repro.journal.known import Source
from dora_repro.journal.state import StateDifference
from dora_repro.journal.words import listed, of_divergence, of_repeated, of_state, resumed_from
from dora_repro.trace import Divergence


def source(*files, backwards=0):
    return Source(2, Path("start-0002"), 1200, backwards, files)


def test_what_it_goes_on_from():
    assert resumed_from(source("/runs/epoch1.pt")) == "epoch1.pt (update 1,200, start 2)"
    several = resumed_from(source("/runs/step-9/model.pt", "/runs/step-9/optimizer.pt"))
    assert several == "2 files of step-9 (update 1,200, start 2)"
    apart = resumed_from(source("/runs/model/9.pt", "/runs/optimizer/9.pt"))
    assert apart == "9.pt and 1 more file (update 1,200, start 2)"
    inside = resumed_from(source("a.pt", backwards=3))
    assert inside == "a.pt (update 1,200 and 3 backward passes, start 2)"


@pytest.mark.parametrize(
    ("lost", "said"),
    [({}, "9 leaves as when it was saved"),
     ({"generator": ("rng/torch.cpu",)}, "rng/torch.cpu is not what it was when it was saved"),
     ({"moment": ("opt/a/exp_avg", "opt/b/exp_avg"), "generator": ("rng/torch.cpu",)},
      "2 moments of opt and rng/torch.cpu are not what they were when it was saved"),
     ({"parameter": ("a/w", "b/w")}, "2 parameters are not what they were when it was saved")],
)  # fmt: skip  # a table
def test_how_its_state_is(lost, said):
    assert of_state(StateDifference(9, lost)) == said


def test_what_is_not_known_is_said():
    assert "none is kept of that update" in of_state(None)
    ended = StateDifference(9, {}, unknown=("rng/torch.cpu",))
    assert of_state(ended) == (
        "9 leaves as when it was saved; rng/torch.cpu not compared, since the job was over before its next update"
    )


def test_updates_that_were_done_again():
    assert of_repeated(1201, 1234) == "updates 1,201 to 1,234 repeated bit for bit"
    assert of_repeated(7, 7) == "update 7 repeated bit for bit"
    assert of_divergence(Divergence(1201, "batch", "batch/0")) == "first differs at update 1,201, phase batch: batch/0"


def test_a_list_in_words():
    assert [listed(list(text)) for text in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
