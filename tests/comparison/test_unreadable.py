"""Two folders are compared as far as their files can be read, and those that cannot are named with the reason."""

import pytest
import torch

from dora_repro import compare
from dora_repro.checkpoint.reading import leaves_of_file
from dora_repro.comparison.unreadable import unread, value_in
from dora_repro.errors import BadInput


def run(folder, changed=()):
    """Three epochs of one file each."""
    folder.mkdir()
    for epoch in (1, 2, 3):
        weight = torch.arange(4.0) + epoch + (epoch in changed)
        torch.save({"w": weight, "b": torch.zeros(2)}, folder / f"epoch{epoch}.pt")
    return folder


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte_of_the_last_tensor(file):
    content = bytearray(file.read_bytes())
    place = content.index(torch.tensor([3.0, 4.0, 5.0]).numpy().tobytes())  # within `w` of epoch 2
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("spoil", [cut, flip_a_byte_of_the_last_tensor, lambda file: file.write_bytes(b"")])
def test_a_torn_file_of_a_run_is_named_and_the_others_are_compared(spoil, tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", changed=(3,))
    spoil(one / "epoch2.pt")
    found = compare(one, other)
    paths = {each.path: each for each in found.differences}
    assert set(paths) == {"epoch2/epoch2.pt", "epoch3/epoch3.pt/w"}
    torn = paths["epoch2/epoch2.pt"]
    assert torn.kind == "unreadable" and "cannot read" in torn.expected and not torn.actual
    assert set(found.compared) == {f"epoch{epoch}/epoch{epoch}.pt/{name}" for epoch in (1, 3) for name in "wb"}
    assert found.notes[0] == "epoch 3 is the first that differs; equal: epoch 1"
    (also,) = (each for each in compare(other, one).differences if each.kind == "unreadable")
    assert also.actual == torn.expected and not also.expected


def test_equal_but_for_a_torn_file_is_not_equal_and_says_of_which_side(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    assert compare(one, other).equal
    cut(other / "epoch1.pt")
    found = compare(one, other)
    assert not found.equal and not found.within(1e9)
    assert str(found.differences[0]).startswith("epoch1/epoch1.pt  not compared: of the second, cannot read ")


def test_a_torn_part_of_one_checkpoint_is_named_too(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for part in ("model", "optimizer"):
            torch.save({"x": torch.ones(3)}, tmp_path / name / f"{part}.pt")
    cut(tmp_path / "one" / "optimizer.pt")
    found = compare(tmp_path / "one", tmp_path / "other")
    assert [(each.path, each.kind) for each in found.differences] == [("optimizer.pt", "unreadable")]
    assert found.compared == ("model.pt/x",)


def test_a_file_that_is_gone_or_written_anew_while_others_are_read_is_named(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    first, second = (leaves_of_file(each, partial=True) for each in (one, other))
    (one / "epoch1.pt").unlink()
    torch.save({"w": torch.zeros(400), "b": torch.zeros(2)}, other / "epoch2.pt")
    reasons = {each.path: each.expected + each.actual for each in compare(first, second).differences}
    assert set(reasons) == {"epoch1/epoch1.pt", "epoch2/epoch2.pt"}
    assert "there is no such file" in reasons["epoch1/epoch1.pt"]
    assert "replaced or written to while it was being read" in reasons["epoch2/epoch2.pt"]


def test_what_is_all_that_there_is_must_be_readable(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    for epoch in (1, 2, 3):
        cut(one / f"epoch{epoch}.pt")
    with pytest.raises(BadInput, match="cannot read"):
        compare(one, other)
    with pytest.raises(BadInput, match="cannot read"):
        compare(one / "epoch1.pt", other / "epoch1.pt")


def test_where_nobody_asks_for_a_part_a_torn_file_ends_the_reading(tmp_path):
    cut(run(tmp_path / "one") / "epoch2.pt")
    with pytest.raises(BadInput, match=r"cannot read .*epoch2\.pt"):
        leaves_of_file(tmp_path / "one")


def test_a_torn_file_that_is_ignored_is_no_difference(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    cut(one / "epoch2.pt")
    assert compare(one, other, ignore=["epoch2/*"]).equal
    assert not compare(one, other, only=["*/b"]).equal  # there may be one in it


def test_what_is_in_no_folder_is_read_or_refused():
    class Torn(dict):
        def get(self, key, default=None):
            raise BadInput("cannot read it")

    with pytest.raises(BadInput, match="cannot read it"):
        value_in(Torn(a=1), "a", None)
    assert value_in({"a": 1}, "a", None) == 1 and value_in({}, "a", "nothing") == "nothing"
    assert unread({"a": 1}, {"a": 2}, ()) == []
