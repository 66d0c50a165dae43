"""A journal read: the verdict on each start, from whatever is left of it."""

import random
import shutil

import pytest

from dora_repro.checks.report import Verdict
from dora_repro.errors import BadInput
from dora_repro.journal.layout import claim, starts_of
from dora_repro.journal.reading import read_journal
from tests.journal.journals import make, resumed, wrote


def second(tmp_path, *lines, updates="cd", reference="abcd"):
    """The second start of a journal, which goes on from update 2 of the first."""
    make(tmp_path, 1, wrote(tmp_path / "a.pt", 2), updates=reference)
    make(tmp_path, 2, *lines, updates=updates, base=2)
    return read_journal(tmp_path).starts[1]


def test_equal_state_and_updates_are_exact(tmp_path):
    one = second(tmp_path, resumed(1, 2))
    assert (one.verdict, one.repeated, one.updates) == (Verdict.EXACT, 2, (3, 4))
    assert read_journal(tmp_path).verdict is Verdict.EXACT
    assert read_journal(tmp_path).starts[0].verdict is None


def test_a_start_that_was_killed_is_compared_as_far_as_it_came(tmp_path):
    assert second(tmp_path, resumed(1, 2), updates="c").repeated == 1


def test_a_difference_that_it_could_not_tell_is_found(tmp_path):
    one = second(tmp_path, resumed(1, 2), updates="cx")
    assert (one.verdict, one.repeated, one.differs.step, one.differs.phase) == (Verdict.DIFFERENT, 1, 4, "update")


def test_what_it_told_counts_where_the_updates_are_gone(tmp_path):
    told = {"kind": "differs", "update": 4, "phase": "batch", "leaf": "batch/0", "how": "value"}
    one = second(tmp_path, resumed(1, 2), told, updates="", reference="")
    assert (one.verdict, one.repeated, one.differs.leaf) == (Verdict.DIFFERENT, 1, "batch/0")


@pytest.mark.parametrize(
    ("line", "updates", "verdict"),
    [(resumed(1, 2, {"moment": ["m"]}), "cd", Verdict.LATENT),
     (resumed(1, 2, {"moment": ["m"]}), "", Verdict.LATENT),
     (resumed(1, 2), "", Verdict.EXACT),
     (resumed(1, 2, unknown=["rng/torch.cpu"]), "", Verdict.INCONCLUSIVE),
     (resumed(1, 2, unknown=["rng/torch.cpu"]), "cd", Verdict.EXACT),
     ({**resumed(1, 2), "state": None}, "cd", Verdict.INCONCLUSIVE),
     ({"kind": "began", "reads": []}, "cd", Verdict.INCONCLUSIVE)],
)  # fmt: skip  # a table
def test_the_verdict(tmp_path, line, updates, verdict):
    one = second(tmp_path, line, updates=updates)
    assert one.verdict is verdict
    assert read_journal(tmp_path).verdict is verdict


def test_other_software_is_told(tmp_path):
    make(tmp_path, 1, updates="abcd", environment={"torch": "2.12", "flags": {"deterministic": True}})
    make(tmp_path, 2, resumed(1, 2), base=2, environment={"torch": "2.13", "flags": {"deterministic": True}})
    assert read_journal(tmp_path).starts[1].moved == ("torch 2.12 → 2.13",)
    assert "It ran on something else than the start before it: torch 2.12 → 2.13" in str(read_journal(tmp_path))


def test_one_that_had_nothing_to_go_on_from_is_not_judged(tmp_path):
    make(tmp_path, 1, updates="ab")
    make(tmp_path, 2, {"kind": "began", "reads": []}, updates="ab")
    assert [one.verdict for one in read_journal(tmp_path).starts] == [None, None]


def test_one_start_is_no_pass(tmp_path):
    make(tmp_path, 1, updates="ab")
    assert read_journal(tmp_path).verdict is Verdict.INCONCLUSIVE


def test_what_is_no_journal_is_named(tmp_path):
    with pytest.raises(BadInput, match="no such journal"):
        read_journal(tmp_path / "none")
    with pytest.raises(BadInput, match="has no start of a training"):
        read_journal(tmp_path)


def test_torn_anywhere_it_is_read_up_to_there(tmp_path):
    whole = tmp_path / "whole"
    make(whole, 1, updates="abcdefgh")
    make(whole, 2, resumed(1, 2), {"kind": "repeated", "last": 8}, updates="cdefgh", base=2)
    choose = random.Random(0)
    for number in range(200):
        torn = tmp_path / f"torn{number}"
        shutil.copytree(whole, torn)
        file = choose.choice([path for path in sorted(torn.glob("*/*")) if path.stat().st_size])
        data = file.read_bytes()
        file.write_bytes(data[: choose.randrange(len(data))])
        journal = read_journal(torn)
        one = journal.starts[1]
        assert one.differs is None
        assert one.verdict in (Verdict.EXACT, Verdict.INCONCLUSIVE)  # never a difference that was none
        assert one.verdict is Verdict.EXACT or one.problem or one.source is None
        shutil.rmtree(torn)


def test_damage_within_a_line_is_told(tmp_path):
    second(tmp_path, {"kind": "resumed", "start": "no number"})
    assert read_journal(tmp_path).starts[1].problem


def test_each_start_gets_a_folder_of_its_own(tmp_path):
    assert [claim(tmp_path / "journal")[0] for _ in range(3)] == [1, 2, 3]
    shutil.rmtree(tmp_path / "journal" / "start-0002")
    assert claim(tmp_path / "journal")[0] == 4
    assert [*starts_of(tmp_path / "journal")] == [1, 3, 4]
