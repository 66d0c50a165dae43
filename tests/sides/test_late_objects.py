"""Objects that a run makes in its first step: seen when they are there, read and given state at that moment."""

from dataclasses import replace

import pytest
import torch

from dora_repro.faults.clean.files import MadeInFirstStep
from dora_repro.recording import Recorder
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.job import Job, Transplant
from dora_repro.sides.late_objects import NEVER_MADE, LateObjects, inside, may_be_late
from dora_repro.sides.side import perform
from dora_repro.state.snapshot import Snapshot

LATE = ("optimizer", "scheduler")


def test_what_lies_in_a_late_object_is_told_by_its_path():
    leaves = ("optimizer/group.0/lr", "optimizers", "scheduler/last_epoch", "ema.weight")
    assert inside(leaves, ("optimizer", "ema")) == {"optimizer/group.0/lr", "ema.weight"}


def test_what_an_optimizer_that_is_there_lacks_is_no_late_object():
    parameter = torch.nn.Parameter(torch.zeros(2))
    loaded = Snapshot.capture({"opt": torch.optim.SGD([parameter])})
    assert may_be_late(("opt/group.0.params.0/projector", "scheduler"), loaded) == ("scheduler",)
    assert may_be_late(("opt", "scheduler"), Snapshot.capture({})) == ("opt", "scheduler")


def test_they_are_met_once_before_the_first_work_that_has_them():
    run, met = MadeInFirstStep(), []
    late = LateObjects(run, (*LATE, "model", "absent"))
    assert late.made() == ()
    with Recorder(run) as recorder:
        late.when_made(recorder, lambda made: met.append((made, len(run.optimizer.state))))
        assert recorder.step()
        assert recorder.step()
    assert met == [(LATE, 0)]


def test_what_is_never_made_is_not_looked_for_in_a_later_step():
    run, met = MadeInFirstStep(), []
    with Recorder(run) as recorder:
        LateObjects(run, ("absent",)).when_made(recorder, met.append)
        assert recorder.step() and recorder.effects.before_work is None
    assert met == []


@pytest.fixture
def reference(tmp_path):
    job = Job(tmp_path / "reference", 4, (2,))
    perform(MadeInFirstStep, job)
    return Evidence(job.folder)


class Forgetful(MadeInFirstStep):
    def give(self, state):
        pass


def resumed(factory, reference, folder, **options):
    perform(factory, Job(folder, 4, load=reference.checkpoint(2), start=2, **options))
    return Evidence(folder)


def test_the_state_of_that_moment_is_stored(reference, tmp_path):
    evidence = resumed(Forgetful, reference, tmp_path / "resumed", late=LATE)
    assert evidence.result["late"] == [*LATE]
    state = evidence.when_made
    assert state["scheduler/last_epoch"].value == 0 and not any("exp_avg" in path for path in state)
    assert resumed(Forgetful, reference, tmp_path / "other").when_made is None


def test_state_is_put_into_them_at_that_moment(reference, tmp_path):
    saved = reference.folder / "save-2" / "before.pt"
    leaves = tuple(path for path in reference.at_save(2) if path.startswith(LATE) and "params" not in path)
    given = Transplant(saved, leaves, late=LATE)
    evidence = resumed(Forgetful, reference, tmp_path / "resumed", transplant=given)
    assert evidence.result["not_transplanted"] == {}
    for path, leaf in reference.end.items():
        if isinstance(leaf.value, torch.Tensor) and leaf.role == "parameter":
            assert torch.equal(leaf.value, evidence.end[path].value), path
    never = replace(given, leaves=("absent/n",), late=("absent",))
    again = resumed(Forgetful, reference, tmp_path / "again", transplant=never)
    assert again.result["not_transplanted"] == {"absent/n": NEVER_MADE}
