"""Of any run: what is captured is put back whole, from a file too, and to capture changes nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dora_repro.comparison.leaves import compare
from dora_repro.state.snapshot import Snapshot, run_roots
from tests.generated import Generated

SEEDS = st.integers(0, 10_000)


def stepped(seed: int, steps: int) -> Generated:
    run = Generated(seed)
    for _ in range(steps):
        run.step()
    return run


def captured(run: Generated) -> Snapshot:
    return Snapshot.capture(run_roots(run), keep_frozen=True)


@settings(max_examples=20)
@given(SEEDS, st.integers(0, 3), st.integers(0, 3))
def test_to_capture_and_to_restore_and_to_capture_is_to_capture(tmp_path_factory, seed, steps, others):
    expected = captured(stepped(seed, steps))
    file = tmp_path_factory.mktemp("snapshot") / "s.pt"
    expected.write(file)
    live = stepped(seed, others)
    assert Snapshot.read(file).restore(run_roots(live)) == {}
    again = captured(live)
    assert compare(expected, again).differences == ()
    assert again.forms == expected.forms and again.uncaptured == expected.uncaptured


@settings(max_examples=10)
@given(SEEDS)
def test_a_run_that_was_captured_goes_on_as_one_that_was_not(seed):
    run = stepped(seed, 1)
    captured(run)
    run.step()
    captured(run)
    run.step()
    assert compare(captured(run), captured(stepped(seed, 3))).differences == ()


@settings(max_examples=10)
@given(SEEDS)
def test_a_run_that_was_restored_goes_on_as_the_one_that_was_captured(seed):
    one, other = stepped(seed, 2), stepped(seed, 1)
    before = captured(one)
    losses = [one.step(), one.step()]
    assert before.restore(run_roots(other)) == {}
    assert [other.step(), other.step()] == losses
