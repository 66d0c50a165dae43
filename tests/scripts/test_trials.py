"""What a trial of a script is given to put in, and what is made of how its launch ended."""

import json

import pytest

from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS, Outcome, Trial, TrialResult
from dora_repro.scripts import assignment
from dora_repro.scripts.anchors import Anchor, Begun
from dora_repro.scripts.commands import Launchable
from dora_repro.scripts.launching import Launch
from dora_repro.scripts.trials import AtRound, ScriptTrials
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job
from dora_repro.sides.result import nothing_done, write_result
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Effect, Step, Trace, TraceWriter

SAVED_AT = 2


def step(number, value):
    return Step(number, 0.5, (), (Effect("update", "w", value * 16),), {})  # a digest is 16 bytes


@pytest.fixture
def place(tmp_path):
    """Trials of a run saved after step 2 of 4, whose last launch did steps with these values."""

    class Place:
        launched: list
        code, values, stopped, missing = 0, (b"c", b"d"), False, {}

        def trials(self, made_at=SAVED_AT, batches=None):
            self.launched = []
            folder = tmp_path / "reference"
            (folder / "save-2").mkdir(parents=True)
            steps = [step(number, value) for number, value in enumerate((b"a", b"b", b"c", b"d"), 1)]
            Trace(steps, {}, True).write(folder / "trace.jsonl")
            write_result(folder, nothing_done())
            leaves = {path: SavedLeaf(path, "generator", b"", None, False) for path in ("rng/torch.cpu", "rng/python")}
            saved = folder / "save-2" / "before.pt"
            Snapshot(leaves).write(saved)
            Anchor(Begun(("8",), made_at, {})).write(saved.with_name(f"{saved.name}{assignment.ANCHOR}"))
            job = Job(folder, 4, start=SAVED_AT)
            write_result(tmp_path, nothing_done())
            sides = Sides(Evidence(folder), job, Evidence(tmp_path), job)
            first = Anchor(Begun(("8",), 0, {}, fetched=5), batches=2)
            return ScriptTrials(sides, saved, first, self._launch, lambda: batches)

        def _launch(self, trial):
            self.launched.append(trial)
            folder = tmp_path / f"trial-{len(self.launched)}"
            folder.mkdir()
            lines = TraceWriter(folder / assignment.STEPS, {})
            for number, value in enumerate(self.values, 1):
                lines.step(step(number, value))
            lines.close(False, ())
            if self.stopped:
                (folder / assignment.STOPPED).write_text("{}")
            (folder / assignment.MISSING).write_text(json.dumps(self.missing))
            return Launch("trial", Launchable(("train",), {}), folder, self.code, 1.0, folder / "log")

    return Place()


def given(place, trials, *names):
    trials(Trial(frozenset(names)))
    return place.launched[-1].given


def test_a_generator_is_put_in_where_the_loader_draws_if_that_was_after_the_save(place):
    put = given(place, place.trials(), "rng/torch.cpu", "main/best")
    assert (put.leaves, put.generators) == (("main/best", "rng/torch.cpu"), ("torch.cpu",))
    assert (put.batches, put.own) == (None, 3)


def test_an_order_drawn_before_the_save_needs_the_generators_of_then(place):
    trials = place.trials(made_at=SAVED_AT - 1)
    assert given(place, trials, "rng/torch.cpu").generators == ()
    put = given(place, trials, DRAWS)
    assert set(put.generators) == {"torch.cpu", "python"}
    assert set(put.leaves) == {"rng/torch.cpu", "rng/python"}


def test_batches_are_asked_for_when_they_are_needed(place, tmp_path):
    assert given(place, place.trials(batches=tmp_path / "b.pkl"), DATA).batches == tmp_path / "b.pkl"


def test_what_cannot_be_put_in_is_not_launched(place):
    trials = place.trials()
    for names in ({DATA}, {ITERATORS}):
        assert trials(Trial(frozenset(names))).outcome is Outcome.UNRESOLVED
    assert place.launched == []


def test_equal_steps_are_the_same_and_a_difference_is_placed(place):
    trials = place.trials()
    assert trials(Trial(frozenset({"a"}))).restores
    place.values, place.stopped, place.code = (b"c", b"x"), True, -9
    result = trials(Trial(frozenset({"b"})))
    assert (result.outcome, result.divergence.step, result.steps) == (Outcome.DIFFERENT, 4, 2)


def test_a_launch_that_raised_resolves_nothing(place):
    place.code = 1
    result = place.trials()(Trial(frozenset({"a"})))
    assert (result.outcome, result.error) == (Outcome.UNRESOLVED, "the command ended with exit code 1")


def test_what_could_not_be_put_in_is_named(place):
    place.missing = {"main/ema": "is no state"}
    assert place.trials()(Trial(frozenset({"main/ema"}))).failed == {"main/ema": "is no state"}


def test_at_a_round_leaves_are_put_in_there_and_nothing_at_the_loader(place, tmp_path):
    trials = place.trials()
    assert trials.feeds
    meet = assignment.Meet(None, assignment.Round("/a/train.py", "main", 7), ("/out/a.pt",))
    nothing = TrialResult(Outcome.DIFFERENT)
    at = trials.at(AtRound(meet.round, tmp_path / "round.pt", tmp_path / "own.pt", meet, nothing, tmp_path / "o.pkl"))
    assert not at.feeds and at(Trial(frozenset())) is nothing and place.launched == []
    put = given(place, at, "rng/torch.cpu", "main/best")
    assert (put.state, put.objects) == (tmp_path / "round.pt", tmp_path / "o.pkl")
    assert (put.leaves, put.generators) == (("main/best", "rng/torch.cpu"), ())
    assert place.launched[-1].meet == meet
    given(place, trials, "main/best")
    assert place.launched[-1].meet is None
