"""What a load that waits for the first step does at its beginning is no effect of that step."""

from dataclasses import replace

from dora_repro.alignment.divergence import first_divergence
from dora_repro.alignment.late_loading import passed_over, recorded_as, without_late_loading
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


# --- options -----------------------------------------------------------------------------------------------------


OPTION, UPDATE, READ = ("schedule", "optimizer/lr", b"1"), ("update", "w", b"u"), ("batch", "batch/0", b"a")
HELD = Trace([step(3, UPDATE, OPTION), step(4, ("batch", "batch/0", b"x"), UPDATE, OPTION), step(5, READ, UPDATE)])


def test_what_a_late_load_moved_is_named_as_it_was_recorded():
    late = Trace([step(4, READ, OPTION, UPDATE), step(5, ("batch", "batch/0", b"y"), OPTION, UPDATE)])
    assert passed_over(HELD, late) == 0
    for number in (4, 5):
        assert recorded_as(HELD, late, Divergence(number, "batch", "batch/0")) == ("batch", "batch/0")
    assert recorded_as(HELD, late, Divergence(9, "batch", "batch/0")) == ("batch", "batch/0")


def test_options_are_those_that_were_held_or_they_count():
    late = [OPTION, ("schedule", "optimizer/momentum", b"2"), READ, UPDATE]
    for momentum, counts in ((b"2", False), (b"3", True)):
        held = [UPDATE, OPTION, ("schedule", "optimizer/momentum", momentum), ("epoch_end", "optimizer/lr", b"9")]
        found = first_divergence(Trace([step(3, *held), step(4, READ, UPDATE)]), Trace([step(4, *late)]), 3)
        assert (found is not None) == counts
    alone = Trace([step(4, READ, UPDATE)])  # nobody knows what was held
    assert first_divergence(alone, Trace([step(4, OPTION, READ, UPDATE)]), 3).phase == "schedule"


# --- batches, and what prepares them -----------------------------------------------------------------------------


def crop(value, number=1, phase="forward", module="crop"):
    return phase, f"outputs/{module}" + (f"[{number}]" if number > 1 else ""), value


def batch(value, number=1):
    return "batch" + (f"[{number}]" if number > 1 else ""), "batch/0", value


MODEL = ("forward", "outputs/model", b"m")


def left(expected, actual):
    """What counts of the first step after loading."""
    prepared = ("outputs/crop", "outputs/it/crop")
    one, other = (replace(step(4, *effects), prepared=prepared) for effects in (expected, actual))
    kept = without_late_loading(Trace([step(3), one]), Trace([other]), other)
    return [(effect.phase, effect.leaf, effect.digest) for effect in kept]


def test_a_step_that_the_other_run_lacks_passes_over_nothing():
    assert passed_over(Trace(), Trace([step(4, READ, UPDATE)])) == 0


def test_what_prepares_a_batch_is_passed_over_with_it():
    before = [batch(b"a"), crop(b"p"), batch(b"b", 2)]
    whole = [batch(b"b"), crop(b"q"), MODEL]
    assert left(whole, [*before, crop(b"q", phase="forward[2]"), ("forward[2]", *MODEL[1:])]) == whole
    assert left([MODEL], [batch(b"a")]) == []
    # By its name no module is known: an iterator may hold it.
    assert left([crop(b"q", module="it/crop"), MODEL], [crop(b"p"), crop(b"q", 2), MODEL]) == [crop(b"q"), MODEL]


def test_where_other_data_was_made_of_the_batches_these_tell_what_was_passed_over():
    expected = [batch(b"b"), crop(b"q"), MODEL]
    more = [crop(b"r"), crop(b"s", 2), MODEL]
    assert left(expected, [batch(b"a"), batch(b"b", 2), *more]) == [batch(b"b"), *more]
    begun = [("forward[2]", leaf, value) for _, leaf, value in more]
    assert left(expected, [crop(b"o"), batch(b"b"), *begun]) == [batch(b"b"), *more]
    # What was prepared before any batch came belongs to the step, where it is what the other run began with.
    first = [crop(b"p"), batch(b"b"), ("forward[2]", *MODEL[1:])]
    assert left(first, [crop(b"o"), crop(b"p", 2), *first[1:]]) == first


def test_where_the_other_run_read_no_batch_as_many_as_it_prepared_are_the_steps():
    assert left([crop(b"p"), MODEL], [batch(b"a"), crop(b"q"), MODEL]) == [crop(b"q"), MODEL]


def test_what_is_passed_over_may_end_within_a_phase():
    back, later = ("backward", "w/grad", b"g"), ("forward[2]", "loss", b"l")
    assert left([crop(b"q"), back], [crop(b"p"), crop(b"q", 2), back]) == [crop(b"q"), back]
    whole = [crop(b"q"), MODEL, back, later]
    assert left(whole, [crop(b"p"), crop(b"q", 2), MODEL, back, later]) == whole
    moved = [crop(b"o", phase="forward[2]"), crop(b"q", 2, "forward[2]"), ("forward[2]", *MODEL[1:])]
    assert left(whole, [crop(b"p"), batch(b"a"), *moved, back, ("forward[3]", *later[1:])]) == whole
