"""What lies in variables that are overwritten on both sides is no loss; what else leads to it still is one."""

from dora_repro.checks.unread import Unread
from tests.evidence import side, snapshot

KINDS = {"train/batch": "dict", "train/batch/x": "list", "train": "variables"}


def unread(tmp_path, leaves, ours=("train/loss", "train/batch"), theirs=("train/loss", "train/batch"), forms=None):
    end = snapshot(leaves, KINDS, forms)
    sides = [side(tmp_path / name, end=end, overwritten=list(of)) for name, of in (("a", ours), ("b", theirs))]
    return Unread.of(*sides)


def test_values_and_plain_containers_of_such_variables_are_never_read(tmp_path):
    found = unread(tmp_path, {"train/loss": 1.0, "train/batch/x/0": 2.0, "train/total": 3.0, "loss": 1.0})
    assert [path for path in ("train/loss", "train/batch/x/0", "train/total", "loss") if found(path)] == [
        "train/loss",
        "train/batch/x/0",
    ]


def test_what_one_side_still_reads_is_read(tmp_path):
    assert not unread(tmp_path, {"train/loss": 1.0}, theirs=())("train/loss")


def test_what_another_name_leads_to_is_read_and_another_name_for_what_is_elsewhere_is_not(tmp_path):
    leaves = {"train/batch/x/0": 2.0, "train/held": ("= train/batch/x", "alias"), "train/loss": ("= model/w", "alias")}
    found = unread(tmp_path, leaves)
    assert not found("train/batch/x/0") and found("train/loss")


def test_what_an_object_or_a_generator_holds_may_have_other_readers(tmp_path):
    leaves = {"train/batch/x/0": 2.0, "train/loss": ("state", "generator")}
    found = unread(tmp_path, leaves, forms={"train/batch": "Replay"})
    assert found("train/batch/x/0"), "a plain dict, as its kind says"
    assert not found("train/loss")
    end = snapshot({"train/batch/x": 2.0}, {"train": "variables"}, {"train/batch": "Replay"})
    sides = [side(tmp_path / name, end=end, overwritten=["train/batch"]) for name in ("c", "d")]
    assert not Unread.of(*sides)("train/batch/x")
