"""The first place where two traces differ."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.alignment import first_divergence, first_in_step, first_memory_divergence, passed_over, recorded_as
from dora_repro.trace import Divergence, Effect, Recorded, Step, Trace
from tests.traces import ONE, trace

# --- the first difference of effects -----------------------------------------------------------------------------

OTHER = ["batch x a", "forward loss b", "backward w/grad C", "update w D"]


def throwing(made: Trace, step: int, *places: Recorded) -> Trace:
    """The trace, whose step says where gradients are that it threw away."""
    return replace(made, steps=[replace(s, thrown_away=places) if s.number == step else s for s in made.steps])


AWAY = Recorded(2, "backward", "w/grad")
GRADIENT_DIFFERS, UPDATE_DIFFERS = Divergence(2, "backward", "w/grad"), Divergence(2, "update", "w")
GRADIENT = [*ONE[:2], "backward w/grad C", "update w d"]


def over(step: int, kind: str) -> Divergence:
    return Divergence(step, "epoch_end", "run/finished", kind)


FIRST = {
    "none": (trace(ONE, ONE), trace(ONE, ONE), 0, None),
    "a value": (trace(ONE, ONE), trace(ONE, OTHER), 0, Divergence(2, "backward", "w/grad")),
    "the first of several": (trace(ONE, ONE, ONE), trace(ONE, OTHER, ONE), 0, Divergence(2, "backward", "w/grad")),
    "only before what is asked": (trace(ONE, ONE), trace(OTHER, ONE), 1, None),
    "also after": (trace(ONE, ONE), trace(OTHER, OTHER), 1, Divergence(2, "backward", "w/grad")),
    "missing": (trace(ONE), trace(ONE[:2] + ONE[3:]), 0, Divergence(1, "backward", "w/grad", "missing")),
    "missing at the end": (trace(ONE), trace(ONE[:3]), 0, Divergence(1, "update", "w", "missing")),
    "unexpected": (trace(ONE[:2] + ONE[3:]), trace(ONE), 0, Divergence(1, "backward", "w/grad", "unexpected")),
    "unexpected at the end": (trace(ONE[:3]), trace(ONE), 0, Divergence(1, "update", "w", "unexpected")),
    "another order": (trace(ONE), trace([ONE[1], ONE[0], *ONE[2:]]), 0, Divergence(1, "batch", "x", "missing")),
    "another phase": (trace(["update w a"]), trace(["update[2] w a"]), 0, Divergence(1, "update", "w", "missing")),
    "nothing for something": (trace(ONE), trace([]), 0, Divergence(1, "batch", "x", "missing")),
    "ended early": (trace(ONE, ONE), trace(ONE, finished=True), 0, over(2, "missing")),
    "not recorded as far": (trace(ONE, ONE), trace(ONE), 0, None),
    "went on": (trace(ONE, finished=True), trace(ONE, ONE), 0, over(2, "unexpected")),
    "recorded further": (trace(ONE), trace(ONE, ONE), 0, None),
    "both ended": (trace(ONE, finished=True), trace(ONE, finished=True), 0, None),
    "resumed": (trace(ONE, OTHER, ONE), trace(OTHER, ONE, first=2), 1, None),
    "resumed, and differs": (trace(ONE, ONE, ONE), trace(ONE, OTHER, first=2), 1, Divergence(3, "backward", "w/grad")),
    "thrown away": (throwing(trace(ONE, ONE), 2, AWAY), trace(ONE, GRADIENT), 0, None),
    "thrown away later": (throwing(trace(ONE, ONE, ONE), 3, AWAY), trace(GRADIENT, first=2), 1, None),
    "thrown away by the other": (trace(ONE, ONE), throwing(trace(ONE, GRADIENT), 2, AWAY), 0, None),
    "thrown away in another step": (
        throwing(trace(ONE, ONE), 2, AWAY._replace(step=1)), trace(ONE, GRADIENT), 0, GRADIENT_DIFFERS,
    ),
    "behind what was thrown away": (throwing(trace(ONE, ONE), 2, AWAY), trace(ONE, OTHER), 0, UPDATE_DIFFERS),
    "resumed, compared from the start": (trace(ONE, ONE), trace(ONE, first=2, finished=True), 0, None),
    "resumed where the other had ended": (
        trace(ONE, finished=True), trace(ONE, first=2), 1, Divergence(2, "epoch_end", "run/finished", "unexpected"),
    ),
    "ended at once": (trace(ONE, ONE), Trace(finished=True), 1, Divergence(2, "epoch_end", "run/finished", "missing")),
    "nothing at all": (Trace(), Trace(), 0, None),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "actual", "after", "found"), FIRST.values(), ids=FIRST)
def test_the_first_difference_is_the_first_in_order_of_execution(expected, actual, after, found):
    assert first_divergence(expected, actual, after) == found


@given(st.integers(1, 4), st.integers(0, 3))
def test_a_planted_difference_is_found_where_it_was_planted(step, place):
    texts = [list(ONE) for _ in range(4)]
    phase, leaf, _ = texts[step - 1][place].split()
    texts[step - 1][place] = f"{phase} {leaf} planted"
    found = first_divergence(trace(*[ONE] * 4), trace(*texts))
    assert found == Divergence(step, phase, leaf)
    assert first_divergence(trace(*[ONE] * 4), trace(*texts), after=step) is None


# --- the first difference of memory ------------------------------------------------------------------------------


def memory(*changes, start=None, first=1) -> Trace:
    return trace(*[([], change) for change in changes], start=start or {"a": "0", "b": "0"}, first=first)


MEMORY = {
    "none": (memory({"a": "1"}), memory({"a": "1"}), 0, (), None),
    "a value": (memory({"a": "1"}), memory({"a": "2"}), 0, (), Divergence(1, "", "a")),
    "a change that did not come": (memory({"a": "1"}), memory({}), 0, (), Divergence(1, "", "a")),
    "what was gone": (memory({"a": None}), memory({}), 0, (), Divergence(1, "", "a", "unexpected")),
    "what was not made": (memory({"c": "1"}), memory({}), 0, (), Divergence(1, "", "c", "missing")),
    "later": (memory({}, {"a": "1"}), memory({}, {"a": "2"}), 0, (), Divergence(2, "", "a")),
    "healed": (memory({"a": "1"}, {"a": "5"}), memory({"a": "2"}, {"a": "5"}), 1, (), None),
    "lasting from before": (memory({"a": "1"}, {}), memory({"a": "2"}, {}), 1, (), Divergence(2, "", "a")),
    "skipped": (memory({"a": "1", "b": "1"}), memory({"a": "2", "b": "2"}), 0, {"a"}, Divergence(1, "", "b")),
    "all skipped, then another": (
        memory({"a": "1"}, {"b": "1"}), memory({"a": "2"}, {"b": "2"}), 0, {"a"}, Divergence(2, "", "b"),
    ),
    "all skipped": (memory({"a": "1"}), memory({"a": "2"}), 0, {"a"}, None),
    "resumed with another start": (
        memory({"a": "1"}, {}), memory({}, start={"a": "1", "b": "9"}, first=2), 1, (), Divergence(2, "", "b"),
    ),
    "resumed with the same": (
        memory({"a": "1"}, {"b": "2"}), memory({"b": "2"}, start={"a": "1", "b": "0"}, first=2), 0, (), None,
    ),
    "not recorded as far": (memory({}, {"a": "1"}), memory({}), 0, (), None),
    "nothing at all": (Trace(), Trace(), 0, (), None),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "actual", "after", "skip", "found"), MEMORY.values(), ids=MEMORY)
def test_the_first_difference_of_memory(expected, actual, after, skip, found):
    assert first_memory_divergence(expected, actual, after, skip) == found


def step(number, *effects):
    return Step(number, 1.0, (), tuple(Effect(phase, leaf, value) for phase, leaf, value in effects), {})


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


def test_where_the_order_differs_what_should_have_come_is_missing():
    rate, batch = Effect("schedule", "optimizer/lr", b"1"), Effect("batch", "batch/0", b"2")
    found = first_in_step(4, [rate, batch], [batch, rate])
    assert (found.phase, found.leaf, found.kind) == ("schedule", "optimizer/lr", "missing")


def test_the_order_of_parameters_in_an_update_is_no_difference_and_their_values_are():
    def update(*leaves, phase="update", **other):
        return [Effect(phase, leaf, other.get(leaf, b"1").ljust(2)) for leaf in leaves]

    loss = [Effect("forward", "loss", b"2")]
    expected = [*loss, *update("a", "b", "c"), *update("a", "b", "c", phase="update[2]")]
    shuffled = [*loss, *update("c", "a", "b"), *update("b", "c", "a", phase="update[2]")]
    assert first_in_step(4, expected, shuffled) is None
    planted = [*loss, *update("c", "a", "b", a=b"9", b=b"9"), *update("b", "c", "a", phase="update[2]")]
    assert first_in_step(4, expected, planted) == Divergence(4, "update", "a")
    missing = [*loss, *update("c", "a"), *update("b", "c", "a", phase="update[2]")]
    found = first_in_step(4, expected, missing)
    assert (found.phase, found.leaf, found.kind) == ("update", "b", "missing")
    assert first_in_step(4, expected, [*shuffled, *update("d")]).leaf == "d"


def test_a_parameter_not_recorded_at_the_end_of_a_step_is_as_it_was_updated():
    update, clipped = ("update", "w", b"u"), ("step_end", "w", b"c")
    forward, later = ("forward", "loss", b"l"), ("epoch_end", "loss", b"e")

    def found(expected, actual):
        return first_divergence(Trace([step(1, *expected)]), Trace([step(1, *actual)]))

    end = Divergence(1, "step_end", "w")
    assert found([update, clipped], [update]) == found([update], [update, clipped]) == end
    assert found([update, clipped], [update, ("step_end", "w", b"d")]) == end
    assert found([update, ("step_end", "w", b"u")], [update]) is None
    # What comes before it is the first difference, what comes after it is not.
    assert found([forward, update, clipped], [("forward", "loss", b"x"), update]).phase == "forward"
    assert found([update, clipped, later], [update, ("epoch_end", "loss", b"x")]) == end
    assert found([update, later, clipped], [update, ("epoch_end", "loss", b"x")]).phase == "epoch_end"
    assert found([update, clipped], []).phase == "update"


def used(number, inputs, *effects):
    return Step(number, 1.0, (), tuple(Effect(phase, leaf, value) for phase, leaf, value in effects), {}, inputs)


def handed(value, number=1):
    return "batch" if number == 1 else f"batch[{number}]", "batch/0", value


def test_a_batch_handed_out_in_another_step_is_no_difference_where_the_same_is_used():
    out = ("forward", "outputs/model", b"o")
    expected = Trace([used(4, b"i", handed(b"a"), handed(b"b", 2), out), used(5, b"j", handed(b"c"), out)])

    def found(*steps, **options):
        return first_divergence(expected, Trace(list(steps)), **options)

    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), handed(b"c", 2), out)) is None
    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), out)) is None  # looks less far ahead
    # Another batch is one, though it was not used yet; and so is what is used, and any other effect.
    assert found(used(4, b"i", handed(b"a"), handed(b"b", 2), out), used(5, b"j", handed(b"x"), out)).step == 5
    assert found(used(4, b"x", handed(b"b"), out)) == Divergence(4, "batch", "batch/0")
    assert found(used(4, b"", handed(b"b"), out)) == Divergence(4, "batch", "batch/0")
    other = ("forward", "outputs/model", b"p")
    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), other)).leaf == "outputs/model"


def test_forward_calls_with_only_a_batch_between_them_are_one_where_batches_do_not_count():
    calls = [("forward", "outputs/a", b"1"), ("forward[2]", "outputs/b", b"2"), ("forward[3]", "outputs/c", b"3")]
    back = ("backward", "w/grad", b"g")
    one = used(4, b"i", handed(b"a"), calls[0], handed(b"b", 2), calls[1], back, calls[2])
    other = used(4, b"i", handed(b"a"), calls[0], ("forward", "outputs/b", b"2"), back, ("forward[2]", *calls[2][1:]))
    ahead = used(5, b"j", handed(b"b"))
    assert first_divergence(Trace([one, used(5, b"j")]), Trace([other, ahead])) is None


def test_the_name_of_a_module_is_no_effect_but_what_it_returned_is():
    def found(*actual):
        expected = Trace([step(1, ("forward", "outputs/it/transform", b"t"), ("forward", "outputs/model", b"m"))])
        return first_divergence(expected, Trace([step(1, *actual)]))

    assert found(("forward", "outputs/Transform", b"t"), ("forward", "outputs/model", b"m")) is None
    assert found(("forward", "outputs/Transform", b"x"), ("forward", "outputs/model", b"m")) is not None
    assert found(("forward", "outputs/Transform", b"t"), ("forward", "loss", b"m")).leaf == "outputs/model"
