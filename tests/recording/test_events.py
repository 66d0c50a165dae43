"""The events of one step: their order, their numbers, and what they are called when the step is over."""

from dora_repro.recording.events import Event, Events


def made(*phases: str) -> Events:
    """An event for each phase, with a leaf that tells which one it was."""
    events = Events()
    for place, phase in enumerate(phases):
        events.of(phase).digests[f"leaf.{place}"] = b"%d" % place
    return events


def names(events: Events) -> list[str]:
    return [f"{effect.phase} {effect.leaf}" for effect in events.effects()]


def test_forward_calls_in_a_row_are_one_event_and_others_are_numbered():
    events = made("forward", "forward", "batch", "forward", "backward", "backward")
    assert names(events) == [
        "forward leaf.0", "forward leaf.1", "batch leaf.2", "forward[2] leaf.3",
        "backward leaf.4", "backward[2] leaf.5",
    ]  # fmt: skip


def test_what_follows_the_last_update_is_the_end_of_the_epoch_but_for_the_schedule():
    events = made("update", "forward", "update", "schedule", "forward", "batch", "forward")
    assert [name.split()[0] for name in names(events)] == [
        "update", "forward", "update[2]", "schedule", "epoch_end", "epoch_end[2]", "epoch_end[3]",
    ]  # fmt: skip
    assert [name.split()[0] for name in names(made("forward", "batch"))] == ["forward", "batch"]  # no update: no end


def test_an_update_that_nobody_saw_comes_after_the_last_backward_or_update():
    events = made("batch", "forward", "backward", "forward")
    events.after_last("update", "backward").digests["w"] = b"w"
    assert names(events)[2:] == ["backward leaf.2", "update w", "epoch_end leaf.3"]
    empty = made("forward")
    empty.after_last("update", "backward").digests["w"] = b"w"
    assert names(empty) == ["forward leaf.0", "update w"]


def test_what_changes_after_its_update_comes_at_the_end_or_before_the_end_of_the_epoch():
    phases = ("update", "schedule", "schedule", "forward")
    for early, place in ((True, 3), (False, 4)):
        events = made(*phases)
        events.at_step_end(early).digests["w"] = b"w"
        assert names(events).index("step_end w") == place


def test_batches_in_hand_go_with_what_was_done_to_them():
    phases = ("batch", "forward", "update", "batch", "forward", "batch")
    for count, left in ((0, 6), (1, 5), (2, 3), (3, 0), (9, 0)):
        events = made(*phases)
        events.drop_last_batches(count)
        assert len(list(events)) == left


def test_a_leaf_that_an_event_has_is_numbered():
    event = Event("forward", {"loss": b"1", "loss[2]": b"2"})
    assert event.free_name("loss") == "loss[3]" and event.free_name("outputs/model") == "outputs/model"


def test_the_last_phase_is_known():
    assert made().last_phase == "" and made("batch", "forward").last_phase == "forward"
