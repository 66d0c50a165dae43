"""Which step a resumed process went on from: by its files, or by its state."""

import pytest

from dora_repro.scripts.aligning import Alignment, aligned_by_files, aligned_by_state, corrected_by_state
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Effect, Step, Trace


def entry(kind, path, step, size=1, backwards=0):
    stamp = [1, size, 7]
    return {"kind": kind, "path": path, "stamp": stamp, "step": step, "backwards": backwards}


def test_the_youngest_file_that_was_read_tells(tmp_path):
    names = {name: str(tmp_path / name) for name in ("best.pt", "last.pt", "log.json")}
    written = [
        entry("wrote", names["best.pt"], 3),
        entry("wrote", names["last.pt"], 3),
        entry("wrote", names["last.pt"], 6, size=2),
        entry("wrote", names["log.json"], 8),
    ]
    read = [entry("read", path, 0, size=2 if path == names["last.pt"] else 1) for path in names.values()]
    found = aligned_by_files(written, read, tmp_path)
    assert (found.step, found.by, found.files) == (6, "files", ("last.pt",))
    assert found.words == "Resumed from last.pt, written after step 6."


def test_a_file_that_was_written_anew_since_does_not_tell(tmp_path):
    path = str(tmp_path / "last.pt")
    assert aligned_by_files([entry("wrote", path, 6)], [entry("read", path, 0, size=9)], tmp_path) is None


def test_what_was_read_after_the_first_step_does_not_tell(tmp_path):
    path = str(tmp_path / "last.pt")
    assert aligned_by_files([entry("wrote", path, 6)], [entry("read", path, 1)], tmp_path) is None


def test_a_save_inside_an_accumulation_window_is_known(tmp_path):
    path = str(tmp_path / "last.pt")
    found = aligned_by_files([entry("wrote", path, 6, backwards=3)], [entry("read", path, 0)], tmp_path)
    assert found.backwards == 3


def trace(*weights):
    """A run whose weight is one of these after each step, and its count the number of the step."""
    steps = [
        Step(number, None, (), (Effect("update", "w", value),), {"count": bytes([number])})
        for number, value in enumerate(weights, start=1)
    ]
    return Trace(steps, {"count": b"\0", "constant": b"c"})


def snapshot(**leaves):
    return Snapshot({path: SavedLeaf(path, "memory", value, None, False) for path, value in leaves.items()})


def test_the_state_tells_where_no_file_does():
    found = aligned_by_state(trace(b"a", b"b", b"c"), snapshot(w=b"b", count=b"\2", constant=b"c"))
    assert (found.step, found.by, found.share) == (2, "state", (1.0, 0.0))


def test_leaves_that_are_missing_count():
    assert aligned_by_state(trace(b"a", b"b", b"c"), snapshot(w=b"x", constant=b"c")) is None
    half = aligned_by_state(trace(b"a", b"b", b"c"), snapshot(w=b"b", constant=b"c"))
    assert (half.step, half.share) == (2, (0.5, 0.0))


def test_a_run_that_begins_anew_is_aligned_with_nothing():
    assert aligned_by_state(trace(b"a", b"b"), snapshot(count=b"\0", constant=b"c")) is None


def test_steps_that_changed_nothing_are_not_told_apart():
    assert aligned_by_state(trace(b"a", b"b", b"b"), snapshot(w=b"b")) is None


def test_a_copy_that_a_thread_wrote_later_is_of_the_step_whose_parameters_it_has():
    run = trace(b"a", b"b", b"c")
    later = Alignment(3, "files", ("last.pt",))
    found = corrected_by_state(later, run, snapshot(w=b"b", count=b"\7", constant=b"c"))
    assert (found.step, found.by, found.files) == (2, "state", ("last.pt",))
    assert found.words.startswith("Resumed from last.pt, which was written later than its state was taken")


@pytest.mark.parametrize(
    ("told", "weight"),
    [
        (Alignment(2, "files", ("last.pt",)), b"b"),  # as the files say
        (Alignment(3, "files", ("last.pt",)), b"x"),  # of no step
        (Alignment(2, "files", ("last.pt",)), b"c"),  # written before it was so: another run wrote it
        (Alignment(3, "files", ("last.pt",), others=frozenset({2})), b"b"),  # parameters of an older file
    ],
)
def test_what_files_tell_holds_where_the_parameters_do_not_speak_against_it(told, weight):
    run = trace(b"a", b"b", b"c")
    assert corrected_by_state(told, run, snapshot(w=weight, count=b"\2", constant=b"c")) is told


def test_the_steps_of_older_files_are_known(tmp_path):
    paths = [str(tmp_path / name) for name in ("best.pt", "last.pt")]
    written = [entry("wrote", path, step) for path, step in zip(paths, (3, 6), strict=True)]
    found = aligned_by_files(written, [entry("read", path, 0) for path in paths], tmp_path)
    assert (found.step, found.others) == (6, {3})
