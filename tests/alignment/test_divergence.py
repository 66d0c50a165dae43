"""The first place where two traces differ."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.alignment.divergence import first_divergence, first_memory_divergence, first_of_step, unused_batches
from dora_repro.trace import Divergence, Recorded, Trace
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
    "thrown away in another order": (
        throwing(trace(ONE, [*ONE[:2], "backward v/grad e", *ONE[2:]]), 2, AWAY),
        trace(ONE, [*ONE[:3], "backward v/grad e", ONE[3]]),
        0,
        None,
    ),
    "behind what was thrown away": (throwing(trace(ONE, ONE), 2, AWAY), trace(ONE, OTHER), 0, UPDATE_DIFFERS),
    "resumed, compared from the start": (trace(ONE, ONE), trace(ONE, first=2, finished=True), 0, None),
    "resumed where the other had ended": (
        trace(ONE, finished=True), trace(ONE, first=2), 1, Divergence(2, "epoch_end", "run/finished", "unexpected"),
    ),
    "ended at once": (trace(ONE, ONE), Trace(finished=True), 1, Divergence(2, "epoch_end", "run/finished", "missing")),
    "went on where the other did nothing": (Trace(finished=True), trace(ONE, ONE), 0, over(1, "unexpected")),
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


def test_a_step_that_one_run_lacks_has_no_first_difference():
    assert first_of_step(trace(ONE), Trace(), 1) is None
    assert first_of_step(Trace(), trace(ONE), 1) is None
    assert first_of_step(trace(ONE), trace(OTHER), 1) == Divergence(1, "backward", "w/grad")


def test_other_batches_count_unless_the_other_run_may_still_get_these():
    one, other = trace(["batch batch/0 a", "forward loss l"]), trace(["batch batch/0 x", "forward loss l"])
    for each in (one, other):
        each.steps[0] = replace(each.steps[0], inputs=b"i")
    assert first_of_step(one, other, 1) == first_divergence(one, other) == Divergence(1, "batch", "batch/0")
    assert first_of_step(one, other, 1, unfinished=True) is None


def worked_with(made: Trace, *inputs: bytes) -> Trace:
    """The trace, its modules given these in one step each."""
    made.steps[:] = [replace(step, inputs=given) for step, given in zip(made.steps, inputs, strict=True)]
    return made


THROWN_AWAY = {
    "all of them": ("a b c", "x y z", "l m n", b"ijk", None, 1),
    "from the second step on": ("a b c", "a y z", "l m n", b"ijk", None, 2),
    "the last one: it may be for later": ("a b c", "a b z", "l m n", b"ijk", Divergence(3, "batch", "batch/0"), None),
    "but a loss differs later": ("a b c", "x y z", "l m o", b"ijk", Divergence(1, "batch", "batch/0"), None),
    "but a model was given others later": ("a b c", "x y z", "l m n", b"ijj", Divergence(1, "batch", "batch/0"), None),
    "none, of equal batches": ("a b c", "a b c", "l m n", b"ijk", None, None),
}


@pytest.mark.parametrize(
    ("theirs", "ours", "losses", "inputs", "found", "unused"), THROWN_AWAY.values(), ids=THROWN_AWAY
)
def test_other_batches_are_no_difference_where_no_step_works_with_them(theirs, ours, losses, inputs, found, unused):
    def of(batches: str, values: str, given: bytes) -> Trace:
        steps = (
            [f"batch batch/0 {b}", f"forward loss {v}"] for b, v in zip(batches.split(), values.split(), strict=True)
        )
        return worked_with(trace(*steps), *(bytes([byte]) for byte in given))

    one, other = of(theirs, "l m n", b"ijk"), of(ours, losses, inputs)
    assert first_divergence(one, other) == found
    assert unused_batches(one, other) == unused


def test_thrown_away_batches_are_named_where_one_run_goes_on_and_the_other_does_not():
    def of(*batches: str, finished: bool = False) -> Trace:
        steps = trace(*[[f"batch batch/0 {batch}", "forward loss l"] for batch in batches], finished=finished)
        return worked_with(steps, *[b"i"] * len(batches))

    differs = Divergence(1, "batch", "batch/0")
    assert first_divergence(of(*"abc"), of(*"xy", finished=True)) == differs
    assert first_divergence(of(*"ab", finished=True), of(*"xyz")) == differs
    assert first_divergence(of(*"abc"), of(*"xy")) is None  # not recorded as far
    # The last step of either run cannot tell what its batch was for.
    last = Divergence(2, "batch", "batch/0")
    assert first_divergence(of(*"abc"), of(*"az")) == first_divergence(of(*"ab"), of(*"azc")) == last


def test_what_is_no_batch_is_named_as_it_was_recorded():
    calls = ["batch batch/0 a", "forward a 1", "batch[2] batch/0 b", "forward[2] loss 2"]
    one, other = trace(calls), trace([*calls[:3], "forward[2] loss 9"])
    for each in (one, other):
        each.steps[0] = replace(each.steps[0], inputs=b"i")
    assert first_divergence(one, other) == Divergence(1, "forward[2]", "loss")


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
    if not after and not skip:
        assert first_memory_divergence(expected, actual) == found
