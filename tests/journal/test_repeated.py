"""Updates that are done again, held against those of the earlier start."""

from dataclasses import replace

from dora_repro.journal.repeated import Repeated, level_of
from dora_repro.trace import Effect, Step, Trace


def step(number, batch=b"b", gradient=b"g", weight=b"w"):
    effects = [Effect("batch", "batch/0", batch * 16), Effect("update", "model/weight", weight * 16)]
    if gradient is not None:
        effects.insert(1, Effect("backward", "model/weight/grad", gradient * 16))
    return Step(number, 0.5, (0.1,), tuple(effects), {})


REFERENCE = Trace([step(11), step(12), step(13)])


def test_equal_updates_are_equal_up_to_the_last_that_is_known():
    repeated = Repeated(REFERENCE)
    assert repeated.last == 13
    assert [repeated.differs(step(number)) for number in (11, 12, 13, 14)] == [None] * 4


def test_the_first_difference_is_placed():
    repeated = Repeated(REFERENCE)
    assert repeated.differs(step(11)) is None
    found = repeated.differs(step(12, batch=b"c", weight=b"v"))
    assert (found.step, found.phase, found.leaf) == (12, "batch", "batch/0")


def test_gradients_are_compared_where_both_noted_them():
    assert Repeated(REFERENCE).differs(step(11, gradient=b"h")).phase == "backward"
    assert Repeated(REFERENCE, gradients=False).differs(step(11, gradient=None)) is None
    light = Trace([replace(step(11, gradient=None))])
    assert Repeated(light, gradients=False).differs(step(11)) is None


def test_the_level_of_a_damaged_start_is_unknown(tmp_path):
    assert level_of(tmp_path) == ""
    (tmp_path / "log.jsonl").write_text('{"kind":"start","level":"full"}\n')
    assert level_of(tmp_path) == "full"
