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


def test_an_equal_object_that_was_made_anew_leaves_the_old_one_to_a_variable_that_nothing_reads(tmp_path):
    """A callback that the Trainer restores: main() holds the one that it gave it, and a correct script was LATENT."""
    kept = snapshot({"main/given/value": 1.0, "callback/T": ("= main/given", "alias")}, {"main": "variables"})

    def found(value, read=()):
        end = snapshot({"main/given/value": 2.0, "callback/T/value": value}, {"main": "variables"})
        of = [name for name in ("main/given",) if name not in read]
        folder = tmp_path / f"{value}{len(read)}"
        return Unread.of(*(side(folder / name, end=each, overwritten=of) for name, each in (("a", kept), ("b", end))))

    assert found(1.0).made_anew == {"callback/T", "callback/T/value"} and found(1.0)("main/given/value")
    for other in (found(3.0), found(1.0, read=["main/given"])):
        assert not other.made_anew and not other("main/given/value")
