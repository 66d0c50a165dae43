"""Where no state explains a difference: who drew, and which operator differs, each with the user's line."""

import os

import torch

from dora_repro import Verdict, check
from tests import runs


def explained(factory, steps=6, save_at=3, **options):
    report = check(factory, steps, save_at, in_process=True, **options)
    assert report.explanation is not None, report
    return report


def names(report):
    return {cause.name for cause in report.causes}


class Drawing(runs.Plain):
    """After resuming, one number more is drawn inside each step: no state is lost."""

    def step(self):
        if "DRAWS_MORE" in os.environ:  # of the process: no state that is captured
            torch.rand(1)
        return super().step()

    def load(self, path):
        super().load(path)
        os.environ["DRAWS_MORE"] = "1"


def test_a_draw_within_a_step_is_no_lost_state_and_the_line_that_drew_is_named():
    report = check(Drawing, 6, 3)
    found = report.explanation
    assert report.verdict is Verdict.DIFFERENT
    assert found.causes == () and found.unexplained == "no captured state explains it"
    assert any("drawn in the resumed run only (test_compared.py" in line for line in found.draws)
    assert "torch.rand(1)" in found.operator
    assert any("put back" in line for line in found.look_at)


class Scaled(runs.Plain):
    """A number outside of all that is captured is another after loading."""

    def step(self):
        clean = self.inputs
        self.inputs = clean * float(os.environ.get("SCALED_BY", "1"))
        try:
            return super().step()
        finally:
            self.inputs = clean

    def load(self, path):
        super().load(path)
        os.environ["SCALED_BY"] = "1.5"


def test_an_environment_that_is_another_is_no_state_and_the_operator_that_used_it_is_named():
    found = check(Scaled, 6, 3).explanation
    assert found.causes == () and found.unexplained
    assert "aten.mul.Tensor" in found.operator and "clean * float(os.environ" in found.operator


def test_where_nothing_at_all_is_seen_the_usual_suspects_are_listed():
    class Elsewhere(runs.Plain):
        """What it steps is no operator of torch."""

        shift = [0.0]  # noqa: RUF012  # hidden from the walk by components()

        def components(self):
            return {"model": self.model, "optimizer": self.optimizer, "count": self.count}

        def step(self):
            self.inputs.numpy()[0, 0] = self.shift[0]
            return super().step()

        def load(self, path):
            super().load(path)
            self.shift[0] = 3.0

    shift = Elsewhere.shift

    class Reset(Elsewhere):
        def __init__(self):
            super().__init__()
            shift[0] = 0.0

    found = explained(Reset).explanation
    assert found.causes == () and found.unexplained
    assert found.operator == "" or "different inputs" in found.operator


def test_a_split_after_the_generator_was_restored_is_named_with_its_line():
    class Split(runs.Plain):
        def load(self, path):
            super().load(path)
            torch.utils.data.random_split(range(7), [3, 4])

    report = explained(Split)
    assert names(report) == {"rng/torch.cpu"}
    assert any("random_split: 6 draws (test_compared.py" in line for line in report.explanation.draws)


def test_a_generator_that_is_seeded_again_is_named_with_its_line():
    class Reseeded(runs.Plain):
        def load(self, path):
            super().load(path)
            torch.manual_seed(3)

    report = explained(Reseeded)
    assert names(report) == {"rng/torch.cpu"}
    assert any("torch.manual_seed(3)" in line for line in report.explanation.draws)


def test_the_operator_behind_a_run_that_is_not_deterministic_is_named():
    class Noisy(runs.Plain):
        def step(self):
            clean = self.inputs
            self.inputs = clean + int.from_bytes(os.urandom(2), "big") / 1000
            try:
                return super().step()
            finally:
                self.inputs = clean

    report = explained(Noisy)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.explanation.unexplained == "the run itself is not deterministic"
    assert "aten.add.Tensor" in report.explanation.operator and "os.urandom" in report.explanation.operator


class Evaluated(runs.Plain):
    """Its file is made where an epoch ends, before the next iterator; load() evaluates, and that draws."""

    extra = 1

    def __init__(self):
        super().__init__()
        self.noise = torch.zeros(2)
        self.saved = torch.get_rng_state()
        self.begin()

    def evaluate(self):
        torch.rand(3)

    def begin(self):
        self.noise = torch.rand(2)

    def step(self):
        self.targets = self.targets + self.noise.sum()
        loss = super().step()
        self.evaluate()
        self.saved = torch.get_rng_state()
        self.begin()
        return loss

    def save(self, path):
        super().save(path)
        state = torch.load(path, weights_only=False) | {"goals": self.targets}
        torch.save(state | {"rng": state["rng"] | {"torch": self.saved}}, path)

    def load(self, path):
        super().load(path)
        state = torch.load(path, weights_only=False)
        self.targets = state["goals"]
        torch.set_rng_state(state["rng"]["torch"])
        for _ in range(self.extra):
            self.evaluate()
        self.begin()


class NotEvaluated(Evaluated):
    extra = 0


def test_the_draw_that_made_the_distance_is_named_and_not_the_last_one():
    report = explained(Evaluated)
    cause = next(cause for cause in report.causes if cause.name == "rng/torch.cpu")
    assert "an earlier state is in the checkpoint as `rng/torch` (2 draws behind)" in cause.how
    (sentence,) = [line for line in report.explanation.draws if "while loading" in line]
    assert "torch.rand(3)" in sentence and "in the resumed run only" in sentence
    assert check(NotEvaluated, 6, 3, in_process=True).verdict is Verdict.EXACT
