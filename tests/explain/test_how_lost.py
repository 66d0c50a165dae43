"""What became of what was lost, in words, and said once of many leaves."""

import torch

from dora_repro import check
from dora_repro.explain.how_lost import in_one
from dora_repro.faults import plain


def test_leaves_that_have_the_values_of_several_others_are_counted_once():
    several = [f"other values: those that `{name}/weight` had" for name in "abc"]
    assert in_one(several) == "other values: those of another leaf"
    assert in_one([*several, "lost"]) == "other values: those of another leaf (3), lost (1)"
    assert in_one([several[0]] * 2) == several[0]
    stored = [f"in the checkpoint with the values of `{name}`" for name in "ab"]
    assert in_one(stored) == "in the checkpoint with the values of another leaf"
    assert in_one([f"retied: it is now the same as `{name}`" for name in "ab"]).endswith("the same as another leaf")


def test_where_these_others_lie_in_one_object_it_is_named():
    several = [f"other values: those that `train/other/{name}` had, in another shape" for name in "ab"]
    assert in_one(several) == "other values: those of `train/other`, in another shape"
    tied = [f"retied: it is now the same as `other/{name}/step`" for name in "ab"]
    assert in_one(tied) == "retied: it is now the same as a leaf of `other`"


def test_of_several_shapes_one_is_named():
    shapes = ["reshaped: f32[8, 2] became f32[8]", "reshaped: f32[8] became f32[8, 4]"]
    assert in_one([*shapes, shapes[0]]) == "reshaped: f32[8, 2] became f32[8], the others likewise"
    assert "(1)" in in_one(["reshaped: f32[8] became f32[8, 1], the same numbers", shapes[0]])


def test_state_of_another_optimizer_is_told_as_that_where_the_shapes_are_others_too():
    class Two:
        def __init__(self):
            torch.manual_seed(0)
            self.one, self.two = torch.nn.Linear(3, 2), torch.nn.Linear(2, 4)
            self.first, self.second = (torch.optim.AdamW(m.parameters(), 0.1) for m in (self.one, self.two))

        def step(self):
            loss = self.two(self.one(torch.ones(5, 3))).square().mean()
            for optimizer in (self.first, self.second):
                optimizer.zero_grad()
            loss.backward()
            self.second.step()
            self.first.step()

        def save(self, path):
            models = [self.one.state_dict(), self.two.state_dict()]
            torch.save({"models": models, "first": self.second.state_dict(), "second": self.second.state_dict()}, path)

        def load(self, path):
            state = torch.load(path)
            for model, its in zip((self.one, self.two), state["models"], strict=True):
                model.load_state_dict(its)
            self.second.load_state_dict(state["second"])
            self.first.load_state_dict(state["first"])

    report = check(Two, 6, 3, in_process=True)
    assert (report.divergence.step, report.divergence.phase, report.divergence.leaf) == (4, "update", "run/exception")
    told = "other values: those of `second`, in another shape; not in the checkpoint"
    assert {cause.how for cause in report.causes if cause.name.startswith("first")} == {told}, report
    assert not any("changes no shapes" in sentence for cause in report.causes for sentence in cause.advice)


class Marked(plain.Training):
    """Notes while loading that it was resumed, and trains another way because of that."""

    def __init__(self):
        super().__init__()
        self.config = {"resume_from": None}

    def loss(self, inputs, targets):
        return super().loss(inputs, targets) * (0.5 if self.config["resume_from"] else 1.0)

    def load(self, path):
        super().load(path)
        self.config["resume_from"] = path


def test_a_mark_of_a_resume_that_a_step_reads_is_called_that_and_no_loss():
    (cause,) = check(Marked, 5, 3, in_process=True).causes
    assert cause.name == "config/resume_from" and cause.how.startswith("a mark of the resume, set while loading")
    assert "Better: let no step depend on whether the run was resumed." in cause.advice
