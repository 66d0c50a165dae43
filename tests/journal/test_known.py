"""Which start wrote what was read, and after which update."""

import shutil

import pytest

from dora_repro.journal.known import Known, by_parameters, chosen
from tests.journal.journals import make, state, wrote


@pytest.fixture
def journal(tmp_path):
    """A start that wrote two checkpoints, with the state before the update that followed each."""
    first = state(0, parameter_w="a", moment_m="a", generator_g="a")
    states = [state(3, parameter_w="b", moment_m="b", generator_g="b"), state(6, parameter_w="c", moment_m="c")]
    lines = wrote(tmp_path / "one.pt", 3, "one"), wrote(tmp_path / "two.pt", 6, "two!")
    make(tmp_path / "journal", 1, *lines, first=first, states=states, updates="xyzabcd")
    return tmp_path / "journal"


def reads(*paths):
    return {str(path): path.stat().st_size for path in paths}


def test_a_file_is_known_by_its_content(journal, tmp_path):
    copy = tmp_path / "elsewhere.bin"
    shutil.copy(tmp_path / "one.pt", copy)
    (source,) = Known(journal).sources(reads(copy))
    assert (source.start, source.update, source.files) == (1, 3, (str(copy),))


def test_another_content_is_not_known(journal, tmp_path):
    (tmp_path / "one.pt").write_text("won")  # as long as it was
    assert Known(journal).sources(reads(tmp_path / "one.pt")) == []


def test_most_of_the_files_tell(journal, tmp_path):
    arguments = [wrote(tmp_path / "arguments.bin", update, "arguments") for update in (3, 9)]  # the same each time
    make(journal, 2, *arguments, wrote(tmp_path / "model.bin", 9, "model"))
    (source,) = Known(journal).sources(reads(tmp_path / "arguments.bin", tmp_path / "model.bin"))
    assert (source.start, source.update) == (2, 9)


def test_of_several_the_state_tells(journal, tmp_path):
    found = chosen(Known(journal).sources(reads(tmp_path / "one.pt", tmp_path / "two.pt")), state(0, parameter_w="b"))
    source, difference = found
    assert source.update == 3
    assert set(difference.lost) == {"moment", "generator"}
    source, difference = chosen(
        Known(journal).sources(reads(tmp_path / "one.pt", tmp_path / "two.pt")), state(0, parameter_w="c", moment_m="c")
    )
    assert source.update == 6
    assert difference.same


def test_where_it_was_killed_before_its_next_update_the_state_is_that_of_the_save(journal, tmp_path):
    folder = journal / "start-0001"
    (folder / "state-3.json").unlink()
    state(3, moment="save", parameter_w="b", moment_m="b", generator_g="b").write(folder / "saved-3.json")
    (source,) = Known(journal).sources(reads(tmp_path / "one.pt"))
    found = source.difference(state(0, parameter_w="b", moment_m="a", generator_g="c"))
    assert found.lost == {"moment": ("moment/m",)}
    assert found.unknown == ("generator/g",)


def test_the_present_start_is_left_out(journal, tmp_path):
    assert Known(journal)
    assert not Known(journal, but=1)
    assert Known(journal, but=1).sources(reads(tmp_path / "one.pt")) == []


def test_a_file_that_was_begun_by_a_start_which_was_killed_then_is_known_by_its_name(journal, tmp_path):
    make(journal, 2, {"kind": "writes", "path": str(tmp_path / "three.pt"), "update": 9, "backwards": 0})
    (tmp_path / "three.pt").write_text("three")
    (source,) = Known(journal).sources(reads(tmp_path / "three.pt"))
    assert (source.start, source.update) == (2, 9)
    assert not Known(journal, but=1), "that it was completed is not known"


def test_a_file_that_was_not_overwritten_in_the_end_is_what_it_was(journal, tmp_path):
    make(journal, 2, {"kind": "writes", "path": str(tmp_path / "two.pt"), "update": 9, "backwards": 0})
    (source,) = Known(journal).sources(reads(tmp_path / "two.pt"))
    assert (source.start, source.update) == (1, 6)


def test_a_file_that_may_not_have_been_complete_is_known_by_its_name(journal, tmp_path):
    make(journal, 2, wrote(tmp_path / "slow.pt", 4))
    (tmp_path / "slow.pt").write_text("complete by now")
    (source,) = Known(journal).sources(reads(tmp_path / "slow.pt"))
    assert (source.start, source.update) == (2, 4)


def test_a_copy_that_was_written_later_is_aligned_by_its_parameters(tmp_path):
    line = wrote(tmp_path / "late.pt", 5, "late")
    later = state(5, parameter_w="e")
    folder = make(tmp_path / "journal", 1, line, first=state(0, parameter_w="h"), states=[later], updates="abcdef")
    now = state(0, parameter_w="b")
    assert by_parameters(folder, now) == 2
    source, difference = chosen(Known(tmp_path / "journal").sources(reads(tmp_path / "late.pt")), now)
    assert (source.update, difference) == (2, None)


def test_a_copy_that_was_written_later_is_that_of_the_state_which_was_kept_when_it_was_made(tmp_path):
    """Though its parameters come again, and no state was kept when it was written."""
    line = wrote(tmp_path / "late.pt", 5, "late")
    kept = [state(2, parameter_w="b", moment_m="c"), state(4, parameter_w="d", moment_m="d")]
    make(tmp_path / "journal", 1, line, first=state(0, parameter_w="h"), states=kept, updates="abbdef")
    sources = Known(tmp_path / "journal").sources(reads(tmp_path / "late.pt"))
    source, difference = chosen(sources, state(0, parameter_w="b", moment_m="c"))
    assert (source.update, difference.same) == (2, True)
    source, difference = chosen(sources, state(0, parameter_w="b", moment_m="a"))
    assert (source.update, difference.lost) == (2, {"moment": ("moment/m",)})
    source, difference = chosen(sources, state(0, parameter_w="h", moment_m="c"))
    assert (source.update, difference) == (5, None), "none of them, nor any update, has these"


def test_what_its_name_alone_tells_may_have_been_written_once_more(tmp_path):
    """A thread had written the next copy when the process was killed, and nobody had looked."""
    kept = [state(2, parameter_w="b"), state(6, parameter_w="f")]
    make(tmp_path / "journal", 1, wrote(tmp_path / "last.pt", 4), states=kept, updates="abcdffgh")
    (tmp_path / "last.pt").write_text("of update 6")
    (source,) = Known(tmp_path / "journal").sources(reads(tmp_path / "last.pt"))
    assert source.by_name
    found, difference = chosen([source], state(0, parameter_w="f"))
    assert (found.update, difference.same) == (6, True)
    assert chosen([source], state(0, parameter_w="b"))[0].update == 2
    assert chosen([source], state(0, parameter_w="g"))[0].update == 7, "no state was kept then: the updates tell"


def test_what_a_file_holds_is_no_later_than_the_file(tmp_path):
    kept = [state(2, parameter_w="b"), state(6, parameter_w="f")]
    make(tmp_path / "journal", 1, wrote(tmp_path / "last.pt", 4, "four"), states=kept, updates="abcdefg")
    (source,) = Known(tmp_path / "journal").sources(reads(tmp_path / "last.pt"))
    assert not source.by_name
    assert chosen([source], state(0, parameter_w="f"))[0].update == 4


def test_parameters_that_come_twice_are_not_certain(tmp_path):
    folder = make(tmp_path / "journal", 1, updates="abab")
    assert by_parameters(folder, state(0, parameter_w="b")) is None
    assert by_parameters(folder, state(0, parameter_w="b"), before=4) == 2
    assert by_parameters(folder, state(0, parameter_w="d")) is None


def test_an_unknown_file_is_placed_by_its_parameters(journal):
    source = Known(journal).nearest(["changed.pt"], state(0, parameter_w="c"))
    assert (source.start, source.update, source.files) == (1, 6, ("changed.pt",))
    assert Known(journal).nearest(["changed.pt"], state(0, parameter_w="h")) is None
