"""A run that is recorded is the run that it would have been: weights, generators and switches, bit for bit."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dora_repro.comparison.leaves import compare
from dora_repro.recording import Recorder
from dora_repro.state.snapshot import Snapshot, run_roots
from tests.generated import Generated


def captured(run: Generated) -> Snapshot:
    return Snapshot.capture(run_roots(run), keep_frozen=True)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_a_recorded_run_is_the_bare_run(seed):
    bare = Generated(seed)
    losses = [bare.step() for _ in range(3)]
    expected = captured(bare)
    run = Generated(seed)
    with Recorder(run, 0) as recorder:
        for _ in range(3):
            recorder.step()
    assert [step.loss for step in recorder.trace.steps] == losses
    found = compare(expected, captured(run))
    assert found.differences == () and len(found.compared) > 50
