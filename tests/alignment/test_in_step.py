"""The first differing effect of one step."""

from dora_repro.alignment.divergence import first_divergence
from dora_repro.alignment.in_step import first_in_step
from dora_repro.trace import Divergence, Effect, Trace
from tests.traces import step


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
    assert first_in_step(4, update("a", "b"), update("b", "a", "d")) == Divergence(4, "update", "a", "missing")


def test_the_order_of_gradients_is_an_effect():
    one, other = (Effect("backward", f"{name}/grad", b"1") for name in "ab")
    assert first_in_step(4, [one, other], [other, one]) == Divergence(4, "backward", "a/grad", "missing")


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
    # What else goes by its name is no update.
    named = ("epoch_end", "w", b"e")
    assert found([update, named, ("step_end", "w", b"u")], [update, named]) is None
    # One that was never updated has no other value.
    assert found([clipped], []) == Divergence(1, "step_end", "w", "missing")
    assert found([], [clipped]) == Divergence(1, "step_end", "w", "unexpected")


def test_the_name_of_a_module_is_no_effect_but_what_it_returned_is():
    def found(*actual):
        expected = Trace([step(1, ("forward", "outputs/it/transform", b"t"), ("forward", "outputs/model", b"m"))])
        return first_divergence(expected, Trace([step(1, *actual)]))

    assert found(("forward", "outputs/Transform", b"t"), ("forward", "outputs/model", b"m")) is None
    assert found(("forward", "outputs/Transform", b"x"), ("forward", "outputs/model", b"m")) is not None
    assert found(("forward", "outputs/Transform", b"t"), ("forward", "loss", b"m")).leaf == "outputs/model"
    assert first_in_step(1, [Effect("forward", "loss", b"m")], [Effect("forward", "outputs/a", b"m")]) is not None
    two = [Effect("forward", "outputs/a", b"m"), Effect("forward[2]", "outputs/b", b"m")]
    assert first_in_step(1, two[:1], two[1:]) == Divergence(1, "forward", "outputs/a", "missing")
