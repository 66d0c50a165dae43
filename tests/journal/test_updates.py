"""Updates as lines: written, read, rotated, and cut off anywhere."""

import pytest

from dora_repro.journal.layout import updates_of
from dora_repro.journal.updates import Updates, last_update, read_updates
from dora_repro.trace import Effect, Recorded, Step


def step(number, loss=0.5):
    effects = (Effect("batch", "batch/0", bytes([number]) * 16), Effect("update", "model/weight", b"w" * 16))
    memory = {"rng/torch.cpu": b"g" * 16, "gone": None}
    thrown_away = (Recorded(number - 1, "backward", "critic/weight/grad"),) if number % 2 else ()
    return Step(number, loss, (0.1, 0.2), effects, memory, b"i" * 16, ("outputs/scale",), thrown_away)


def write(folder, base=0, saved_after=(), count=6, room=1 << 20):
    done = []
    updates = Updates(folder, base, lambda: room, done.append)
    for number in range(1, count + 1):
        updates.step(step(number))
        if number in saved_after:
            updates.begin_file()
    updates.close(False, ())
    return done


def test_what_was_written_is_read(tmp_path):
    done = write(tmp_path, base=10)
    assert [one.number for one in done] == [*range(11, 17)]
    assert [where.step for one in done for where in one.thrown_away] == [10, 12, 14]
    assert read_updates(tmp_path).steps == done
    assert last_update(tmp_path) == 16


def test_a_file_begins_wherever_a_checkpoint_was_written(tmp_path):
    done = write(tmp_path, saved_after=(2, 4))
    assert [*updates_of(tmp_path)] == [0, 2, 4]
    assert read_updates(tmp_path).steps == done
    assert read_updates(tmp_path, 3).steps == done[3:]
    updates_of(tmp_path)[0].unlink()
    assert read_updates(tmp_path, 0).steps == []  # the first that is wanted is no longer there
    assert read_updates(tmp_path).steps == done[2:]


def test_a_gap_ends_what_is_read(tmp_path):
    done = write(tmp_path, saved_after=(2, 4))
    updates_of(tmp_path)[2].unlink()
    assert read_updates(tmp_path, 0).steps == done[:2]


def test_a_file_that_is_full_takes_no_more(tmp_path):
    assert len(write(tmp_path, room=300)) == 6  # each is told of
    assert 0 < len(read_updates(tmp_path).steps) < 6


@pytest.mark.parametrize("stride", [1, 7])
def test_cut_off_anywhere_the_whole_updates_are_read(tmp_path, stride):
    done = write(tmp_path)
    file = updates_of(tmp_path)[0]
    data = file.read_bytes()
    for size in range(0, len(data), stride):
        file.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert read_updates(tmp_path).steps == done[:whole]
        assert last_update(tmp_path) == (whole or None)
