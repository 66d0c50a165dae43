"""What a load that waits for the first step does at its beginning is no effect of that step."""

from dora_repro.alignment.divergence import first_divergence
from dora_repro.alignment.late_loading import passed_over, recorded_as
from dora_repro.trace import Divergence, Trace
from tests.traces import step


def test_options_that_a_late_load_sets_at_the_beginning_of_its_first_step_are_no_schedule():
    one, two = ("schedule", "optimizer/lr", b"1"), ("schedule", "optimizer/lr", b"2")
    update = ("update", "w", b"u")
    expected = Trace([step(3, update, one), step(4, update, two), step(5, update, one)])
    later = ("schedule[2]", "optimizer/lr", b"2")
    assert first_divergence(expected, Trace([step(4, one, update, later)]), 3) is None
    # Other values than were held are a difference, and so are the right ones in a later step.
    found = first_divergence(expected, Trace([step(4, two, update, later)]), 3)
    assert found is not None and (found.step, found.phase) == (4, "update")
    late = Trace([step(4, update, two), step(5, two, update, ("schedule[2]", "optimizer/lr", b"1"))])
    assert first_divergence(expected, late, 3) is not None


def test_batches_that_are_more_and_others_are_not_passed_over():
    read = [("batch", "batch/0", b"a"), ("batch", "batch/1", b"b")]
    update = ("update", "w", b"u")
    expected, actual = Trace([step(4, *read, update)]), Trace([step(4, *read, ("batch[2]", "batch/0", b"c"), update)])
    assert first_divergence(expected, actual, 3) == Divergence(4, "batch[2]", "batch/0", "unexpected")
    skipped = Trace(
        [step(4, ("batch", "batch/0", b"c"), *(("batch[2]", leaf, value) for _, leaf, value in read), update)]
    )
    assert first_divergence(expected, skipped, 3) is None


def test_options_that_a_late_load_sets_after_it_has_read_its_batches_are_no_schedule():
    option, update = ("schedule", "optimizer/lr", b"1"), ("update", "w", b"u")
    read = [("batch", "batch/0", b"a"), ("batch[2]", "batch/0", b"b")]
    expected = Trace([step(3, update, option), step(4, read[0], update, ("schedule", "optimizer/lr", b"2"))])
    after = ("schedule[2]", "optimizer/lr", b"2")
    assert first_divergence(expected, Trace([step(4, read[0], option, update, after)]), 3) is None
    held = Trace([step(3, update, option), step(4, ("batch", "batch/0", b"c"), update)])
    late = Trace([step(4, read[0], option, read[1], update)])
    found = first_divergence(held, late, 3)
    assert found == Divergence(4, "batch", "batch/0")
    assert recorded_as(held, late, found) == ("batch[2]", "batch/0")
    wrong = ("schedule", "optimizer/lr", b"3")
    assert first_divergence(expected, Trace([step(4, read[0], wrong, update, after)]), 3).phase == "update"


def test_batches_that_a_late_load_passes_over_in_its_first_step_are_no_effect():
    def batches(*values):
        names = ("batch", *(f"batch[{number}]" for number in range(2, len(values) + 1)))
        return [(name, "batch/0", value) for name, value in zip(names, values, strict=True)]

    forward, rest = ("forward", "loss", b"l"), [("batch[2]", "batch/0", b"v"), ("forward[2]", "loss", b"m")]
    expected = Trace([step(3), step(4, *batches(b"c"), forward, *rest), step(5, *batches(b"d"), forward)])
    late = [("batch[4]", "batch/0", b"v"), ("forward[2]", "loss", b"m")]
    assert first_divergence(expected, Trace([step(4, *batches(b"a", b"b", b"c"), forward, *late)]), 3) is None
    assert first_divergence(expected, Trace([step(4, *batches(b"c"), forward, *rest)]), 3) is None
    # What is worked on must be the right one; fewer are not enough; and a later step passes over none.
    wrong = first_divergence(expected, Trace([step(4, *batches(b"a", b"b"), forward, *late)]), 3)
    assert wrong == Divergence(4, "batch", "batch/0")
    assert first_divergence(expected, Trace([step(4, forward, *rest)]), 3) is not None
    again = Trace([step(4, *batches(b"c"), forward, *rest), step(5, *batches(b"x", b"d"), forward)])
    assert first_divergence(expected, again, 3) == Divergence(5, "batch", "batch/0")
    # Options may be set before.
    options = [("schedule", "optimizer/lr", b"1")]
    held = Trace([step(3, *options), step(4, *batches(b"c"), forward)])
    assert first_divergence(held, Trace([step(4, *options, *batches(b"b", b"c"), forward)]), 3) is None


def test_of_batches_read_in_pairs_the_first_wrong_one_is_the_place_whatever_a_late_load_passed_over():
    def batches(*values):
        names = ("batch", *(f"batch[{number}]" for number in range(2, len(values) + 1)))
        return [(name, "batch/0", value) for name, value in zip(names, values, strict=True)]

    forward = ("forward", "loss", b"l")
    expected = Trace([step(3), step(4, *batches(b"a4", b"b4"), forward)])
    late = Trace([step(4, *batches(b"a1", b"b1", b"a2", b"b2", b"a3", b"a4", b"b3"), forward)])
    found = first_divergence(expected, late, 3)
    assert found == Divergence(4, "batch[2]", "batch/0")
    assert recorded_as(expected, late, found) == ("batch[7]", "batch/0")
    assert passed_over(expected, late) == 5 and passed_over(expected, expected) == 0 == passed_over(expected, Trace())
    # What was read in another form is not paired by its number.
    other = Trace([step(4, ("batch", "batch/x", b"a4"), *batches(b"a4", b"b3")[1:], forward)])
    assert first_divergence(expected, other, 3) == Divergence(4, "batch", "batch/0", "missing")
