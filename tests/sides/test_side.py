"""What a side does and leaves behind, phase by phase, in this interpreter."""

import json
from dataclasses import replace

import pytest
import torch

from dora_repro.recording.replay import Streams
from dora_repro.sides.evidence import Evidence
from dora_repro.sides.job import Job, Transplant
from dora_repro.sides.side import perform
from dora_repro.state import rng
from tests import runs


@pytest.fixture(autouse=True)
def undisturbed():
    with rng.undisturbed():
        yield


def did(factory, job: Job, emit=lambda event: None) -> Evidence:
    perform(factory, job, emit)
    return Evidence(job.folder)


@pytest.fixture
def reference(tmp_path) -> Evidence:
    return did(runs.Plain, Job(tmp_path / "reference", 3, saves=(2,)))


def resumed_job(reference: Evidence, **changes) -> Job:
    job = Job(reference.folder.parent / "resumed", 3, load=reference.checkpoint(2), start=2)
    return replace(job, **changes)


# --- what is said and left


def test_a_reference_builds_steps_and_saves(tmp_path):
    events = []
    evidence = did(runs.Plain, Job(tmp_path / "side", 3, saves=(2,)), events.append)
    assert [(event["event"], event["step"]) for event in events] == [
        ("built", 0), ("step", 1), ("step", 2), ("saved", 2), ("step", 3),
    ]  # fmt: skip
    result = evidence.result
    assert (result["where"], result["step"], result["finished"], result["failure"]) == ("done", 3, False, None)
    assert (result["saves"], result["rewritten"]) == ({"2": []}, [])
    assert set(result["seconds"]) == {"build", "capture", "steps", "save", "end", "all"}
    files = {path.relative_to(tmp_path / "side").as_posix() for path in (tmp_path / "side").rglob("*.*")}
    assert files == {
        "trace.jsonl", "end.pt", "kept.pt", "result.json",
        "save-2/before.pt", "save-2/live/step2.pt", "save-2/first/step2.pt",
    }  # fmt: skip


def test_a_resumed_side_loads_and_goes_on_as_the_reference_did(reference):
    events = []
    evidence = did(runs.Plain, resumed_job(reference), events.append)
    assert [(event["event"], event["step"]) for event in events] == [("loaded", 2), ("step", 3)]
    assert [step.number for step in evidence.trace.steps] == [3]
    assert evidence.trace.steps[0].effects == reference.trace.step(3).effects
    assert evidence.loaded["count"].value == 2 and evidence.result["loading"]


def test_a_side_that_lost_its_optimizer_goes_another_way(reference):
    def forgetful():
        run = runs.Plain()
        run.load = lambda path: run.model.load_state_dict(runs.load(path)["model"])
        return run

    evidence = did(forgetful, resumed_job(reference))
    assert evidence.trace.steps[0].effects != reference.trace.step(3).effects


def test_a_save_at_the_very_beginning_is_done_before_any_step(tmp_path):
    events = []
    did(runs.Plain, Job(tmp_path / "side", 1, saves=(0, 1)), events.append)
    assert [event["event"] for event in events] == ["built", "saved", "step", "saved"]


class Short(runs.Plain):
    def step(self):
        if self.count == 2:
            raise StopIteration
        return super().step()


def test_a_run_that_says_it_is_over_is_finished(tmp_path):
    result = did(Short, Job(tmp_path / "side", 5, saves=(1, 4))).result
    assert (result["where"], result["step"], result["finished"]) == ("done", 2, True)
    assert list(result["saves"]) == ["1"]


# --- where a run raises


class Raising(runs.Plain):
    """Raises in one place."""

    def __init__(self, place):
        self.place = place
        self.fail("build")
        super().__init__()

    def fail(self, place):
        if place == self.place:
            raise KeyError(place)

    def step(self):
        self.fail("step" if self.count == 1 else "")
        return super().step()

    def save(self, path):
        self.fail("save")
        super().save(path)

    def load(self, path):
        self.fail("load")
        super().load(path)

    def outputs(self):
        self.fail("outputs")
        return self.model(self.inputs)


@pytest.mark.parametrize(
    ("place", "step"), {"build": 0, "step": 1, "save": 2, "outputs": 3}.items(), ids=str
)  # fmt: skip
def test_an_exception_is_evidence_and_says_where_the_side_was(tmp_path, place, step):
    evidence = did(lambda: Raising(place), Job(tmp_path / "side", 3, saves=(2,)))
    result = evidence.result
    assert (result["where"], result["step"]) == (place, step)
    assert result["failure"]["error"] == f"KeyError: '{place}'"
    assert "in fail\n" in result["failure"]["traceback"]
    assert len(evidence.trace.steps) == step  # what was recorded until then is there


def test_an_exception_while_loading_is_one_of_loading(reference):
    evidence = did(lambda: Raising("load"), resumed_job(reference))
    assert (evidence.result["where"], evidence.result["step"]) == ("load", 0)
    assert evidence.loaded_or_none is None and evidence.end_or_none is None


def test_a_run_that_raises_nowhere_has_no_failure(tmp_path):
    evidence = did(lambda: Raising("nowhere"), Job(tmp_path / "side", 3, saves=(2,)))
    assert evidence.failure is None and evidence.outputs is not None


def test_the_phase_that_a_raising_step_had_reached_is_noted(tmp_path):
    class Stuck(runs.Plain):
        def step(self):
            self.model(self.inputs)
            raise RuntimeError("after the forward pass")

    assert did(Stuck, Job(tmp_path / "side", 3)).result["phase"] == "forward"


# --- what saving does


class ChangedBySave(runs.Plain):
    saves = 0

    def save(self, path):
        super().save(path)
        self.saves += 1
        with torch.no_grad():
            self.model[0].bias.add_(1)


def test_what_saving_changes_in_the_run_is_noted(tmp_path):
    evidence = did(ChangedBySave, Job(tmp_path / "side", 2, saves=(1, 2)))
    changed = {difference.path: difference for difference in evidence.changed_by_save(1)}
    assert {"model/0.bias", "saves"} <= set(changed)
    assert changed["model/0.bias"].max_abs == pytest.approx(1) and changed["model/0.bias"].role == "parameter"
    assert evidence.changed_by_save(7) == ()


class NotesItsFile(runs.Plain):
    def save(self, path):
        super().save(path)
        self.last = str(path)


def test_where_a_run_saved_is_no_change_of_the_run(tmp_path):
    evidence = did(NotesItsFile, Job(tmp_path / "side", 2, saves=(1, 2)))
    assert [difference.path for difference in evidence.changed_by_save(2)] == []


class Rewriting(runs.Plain):
    path = None

    def save(self, path):
        super().save(path)
        self.path = path

    def step(self):
        loss = super().step()
        if self.path is not None:
            torch.save(self.state(), self.path)
        return loss


def test_files_that_change_after_save_has_returned_are_noted(tmp_path):
    assert did(Rewriting, Job(tmp_path / "written", 3, saves=(2,))).result["rewritten"] == [2]
    assert did(Rewriting, Job(tmp_path / "last", 3, saves=(3,))).result["rewritten"] == []


# --- what a job asks for besides


def test_one_effect_and_the_parameters_are_stored_where_they_are_asked_for(tmp_path):
    wanted = Job(tmp_path / "wanted", 2, keep=(2, "forward", "loss"), values=("model/0.*",))
    evidence = did(runs.Plain, wanted)
    assert evidence.kept is not None
    assert {step: set(values) for step, values in evidence.values.items()} == {
        step: {"model/0.weight", "model/0.bias"} for step in (0, 1, 2)
    }
    bare = did(runs.Plain, Job(tmp_path / "bare", 2))
    assert bare.kept is None and bare.values is None


def test_streams_are_stored_after_the_step_that_was_named(tmp_path):
    evidence = did(runs.Loader, Job(tmp_path / "side", 3, streams=1))
    streams = Streams.read(evidence.streams)
    assert list(streams.batches) == list(streams.generators) == [2, 3]
    assert not did(runs.Loader, Job(tmp_path / "bare", 3)).streams.exists()


def test_another_runs_generators_make_a_run_draw_as_that_one_did(tmp_path):
    """Its twin without them draws otherwise."""
    saved = did(runs.Plain, Job(tmp_path / "reference", 3, saves=(1,), streams=1))
    job = Job(tmp_path / "alone", 3, load=saved.checkpoint(1), start=1)
    before = tmp_path / "reference" / "save-1" / "before.pt"
    given = Transplant(before, streams=saved.streams, draws=True)
    alone = did(_reseeded, job)
    fed = did(_reseeded, replace(job, folder=tmp_path / "fed", transplant=given))
    assert alone.trace.steps[0].effects != saved.trace.step(2).effects
    assert [step.effects for step in fed.trace.steps] == [step.effects for step in saved.trace.steps[1:]]


def _reseeded():
    """A run whose generators stand elsewhere after loading than where they stood when it was saved."""
    run = runs.Plain()
    load = run.load

    def load_and_reseed(path):
        load(path)
        torch.manual_seed(99)

    run.load = load_and_reseed
    return run


def test_a_transplant_of_batches_without_a_place_to_take_them_from_is_refused(reference):
    given = Transplant(reference.folder / "save-2" / "before.pt", batches=True)
    failure = did(runs.Plain, resumed_job(reference, transplant=given)).failure
    assert failure["error"] == "ValueError: a transplant of batches or draws needs the streams of the other run"


def test_leaves_are_put_in_after_loading_and_those_that_cannot_be_are_noted(reference):
    given = Transplant(reference.folder / "save-2" / "before.pt", ("count",))
    evidence = did(runs.Plain, resumed_job(reference, transplant=given))
    assert evidence.result["not_transplanted"] == {}
    assert evidence.end["count"].value == 3


def test_a_job_may_seed_the_generators_and_set_the_threads(tmp_path):
    class Unseeded(runs.Plain):
        def __init__(self):
            self.model = torch.nn.Linear(2, 2)

        def step(self):
            raise StopIteration

    threads = torch.get_num_threads()
    try:
        one, other = (
            did(Unseeded, Job(tmp_path / name, 1, seeded=True, threads=1)).end["model/weight"].digest for name in "ab"
        )
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert one == other != did(Unseeded, Job(tmp_path / "c", 1)).end["model/weight"].digest


def test_a_folder_that_is_there_already_is_not_written_into(reference):
    with pytest.raises(FileExistsError):
        perform(runs.Plain, Job(reference.folder, 3))


def test_the_result_is_plain_json(reference):
    assert json.loads((reference.folder / "result.json").read_text(encoding="utf-8")) == reference.result
