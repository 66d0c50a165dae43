"""Causes in words: what became of what was lost, and the lines that bring it back."""

import collections
import enum
import random

import pytest
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

import dora_repro
from dora_repro import check
from dora_repro.explain.causes import _counted
from dora_repro.faults import plain
from tests import runs

# --- causes of whole checks


class Held(runs.Plain):
    """A mask that is drawn at the first step and a running mean in a closure; neither is saved."""

    def __init__(self):
        super().__init__()
        self.mask, self.smooth = None, self.smoothing()

    def smoothing(self):
        mean = 1.0

        def smooth(value):
            nonlocal mean
            mean = 0.5 * mean + 0.5 * value
            return mean

        return smooth

    def step(self):
        if self.mask is None:
            self.mask = torch.rand(3)
        self.targets = self.targets * self.smooth(0.5) * self.mask
        return super().step()

    def load(self, path):
        super().load(path)
        self.targets = self.targets * 0.5


def test_what_was_made_later_is_assigned_and_what_a_closure_holds_is_told_to_be_moved():
    causes = {cause.name: cause for cause in check(Held, 6, 3, in_process=True).causes}
    assert causes["mask"].how == "lost: None in its place; not in the checkpoint"
    assert causes["mask"].load == ('self.mask = state["mask"]',) and causes["mask"].advice == ()
    closed = causes["smooth/mean"]
    assert (closed.save, closed.load) == ((), ()) and "in the closure of `smooth`" in closed.advice[0]


class Weighted(plain.ConstantRate):
    """Draws hard samples more often; the weights are lost, and load() makes an iterator before they could be back."""

    def make_loader(self):
        self.weights = torch.ones(plain.SAMPLES, dtype=torch.double)
        sampler = WeightedRandomSampler(self.weights, plain.SAMPLES, generator=self.generator)
        return DataLoader(plain.samples(), batch_size=plain.BATCH, sampler=sampler)

    def end_epoch(self):
        self.weights[:8] *= 2


class Relabelled(plain.ConstantRate):
    """Changes its own labels while it trains."""

    def make_loader(self):
        self.data = plain.samples()
        return DataLoader(self.data, batch_size=plain.BATCH, shuffle=True, generator=self.generator)

    def end_epoch(self):
        self.data.tensors[1].mul_(0.5)


@pytest.mark.parametrize(("factory", "leaf"), [(Weighted, "weights"), (Relabelled, "data/tensors/1")])
def test_what_batches_are_made_of_is_named_beside_them(factory, leaf):
    """Neither can be put back in time: what was drawn stays drawn, and a dataset is stored by digest alone."""
    report = check(factory, 9, 5, in_process=True)
    (cause,) = report.causes
    assert cause.name == "data/batches" and cause.how.endswith(f"their sources differ right after loading: {leaf}")
    assert any(line.startswith(f"Restore {leaf} before an iterator of the loader is made") for line in cause.advice)


class Seen:
    """Counts steps, and scales the inputs by that; a method of it is a hook of the optimizer."""

    def __init__(self):
        self.count = 0

    def see(self, *called):
        self.count += 1


class HookOfAnOptimizer(plain.Training):
    """What only a hook holds scales the inputs."""

    def make_optimizer(self):
        optimizer = super().make_optimizer()
        self.register(optimizer)
        return optimizer

    def register(self, optimizer):
        optimizer.register_step_post_hook(Seen().see)

    def loss(self, inputs, targets):
        hook = next(iter(self.optimizer._optimizer_step_post_hooks.values()))
        return super().loss(inputs * (1 + 0.1 * self.seen(hook)), targets)

    @staticmethod
    def seen(hook):
        return hook.__self__.count


class ClosureOfAHook(HookOfAnOptimizer):
    def register(self, optimizer):
        kept = {"count": 0}

        def see(*called):
            kept["count"] += 1

        optimizer.register_step_post_hook(see)

    @staticmethod
    def seen(hook):
        return hook.__closure__[0].cell_contents["count"]


class HookThatTheRunHolds(HookOfAnOptimizer):
    def register(self, optimizer):
        self.counted = Seen()
        optimizer.register_step_post_hook(self.counted.see)


@pytest.mark.parametrize(
    ("factory", "leaf", "words"),
    [
        (HookOfAnOptimizer, "optimizer/step_post_hooks.0/self/count", "`count`: kept by the hook"),
        (ClosureOfAHook, "optimizer/step_post_hooks.0/kept/count", "`kept`: in the closure of"),
        (HookThatTheRunHolds, "counted/count", ""),
    ],
)
def test_what_a_hook_keeps_is_named_and_told_to_be_moved_where_no_line_reaches_it(factory, leaf, words):
    report = check(factory, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == (leaf,)
    assert any(words in sentence for sentence in cause.advice) or not words
    assert bool(cause.load) is not bool(words), "a line where the run itself holds the object"


def halved(gradient):
    return gradient / 2


class HookOnTheWay(plain.ConstantRate):
    """Registers a hook in its second step."""

    def after_update(self):
        if self.steps == 1:
            self.model[0].weight.register_hook(halved)


def test_a_hook_that_is_lost_is_named_with_its_function_and_told_to_be_registered():
    report = check(HookOnTheWay, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.name == "model/0.weight/backward_hooks.0" and not cause.load
    assert cause.advice[0].startswith("The hook `model/0.weight/backward_hooks.0` (halved) is registered")


class TextForKeys(plain.Training):
    """Scales by a table of steps, whose keys come back as text: what the file has cannot mend that."""

    def __init__(self):
        super().__init__()
        self.table = {step: 1 + step / 10 for step in range(6)}

    def loss(self, inputs, targets):
        return super().loss(inputs, targets) * self.table.get(self.steps, 1.0)

    def state(self):
        return {**super().state(), "table": {str(step): scale for step, scale in self.table.items()}}

    def load_model(self, state):
        super().load_model(state)
        self.table = state["table"]


def test_where_what_the_file_has_does_not_do_it_is_saved_anew():
    report = check(TextForKeys, steps=6, save_at=3, in_process=True)
    (cause,) = report.causes
    assert cause.name == "table" and cause.save and cause.load
    assert report.explanation.lines_tried.restores


class Color(enum.Enum):
    RED = 1


class WeightedByColor(plain.Training):
    """A weight by the member of an enum grows with each step, in a dict that begins empty."""

    def __init__(self):
        super().__init__()
        self.weights = {}

    def loss(self, inputs, targets):
        self.weights[Color.RED] = self.weights.get(Color.RED, 0) + 1
        return super().loss(inputs, targets) * self.weights[Color.RED]


def test_the_lines_for_a_member_of_an_enum_as_key_can_be_pasted():
    report = check(WeightedByColor, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == ("weights/Color.RED",)
    assert report.explanation.lines_tried.restores


def filled(value, held=[]):  # noqa: B006  # what the test is about
    held.append(value)
    return len(held)


class FilledDefault(plain.Training):
    def __init__(self):
        filled.__defaults__[0].clear()
        super().__init__()

    def loss(self, inputs, targets):
        return super().loss(inputs, targets) * filled(1)


def test_a_default_argument_is_told_to_be_moved():
    report = check(FilledDefault, steps=4, save_at=2, in_process=True)
    (cause,) = report.causes
    assert cause.leaves == ("globals.filled/held=",)
    assert "`held`: a default argument of `globals.filled`" in cause.advice[0] and not cause.load


def test_leaves_that_have_the_values_of_several_others_are_counted_once():
    several = [f"other values: those that `{name}/weight` had" for name in "abc"]
    assert _counted(several) == "other values: those of another leaf"
    assert _counted([*several, "lost"]) == "other values: those of another leaf (3), lost (1)"
    assert _counted([several[0]] * 2) == several[0]
    stored = [f"in the checkpoint with the values of `{name}`" for name in "ab"]
    assert _counted(stored) == "in the checkpoint with the values of another leaf"
    assert _counted([f"retied: it is now the same as `{name}`" for name in "ab"]).endswith("the same as another leaf")


def test_where_these_others_lie_in_one_object_it_is_named():
    several = [f"other values: those that `train/other/{name}` had, in another shape" for name in "ab"]
    assert _counted(several) == "other values: those of `train/other`, in another shape"
    tied = [f"retied: it is now the same as `other/{name}/step`" for name in "ab"]
    assert _counted(tied) == "retied: it is now the same as a leaf of `other`"


def test_of_several_shapes_one_is_named():
    shapes = ["reshaped: f32[8, 2] became f32[8]", "reshaped: f32[8] became f32[8, 4]"]
    assert _counted([*shapes, shapes[0]]) == "reshaped: f32[8, 2] became f32[8], the others likewise"
    assert "(1)" in _counted(["reshaped: f32[8] became f32[8, 1], the same numbers", shapes[0]])


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


def walks(out, resume=None, total=12):
    """A walk whose place is saved, and goes on before the first step; its memory and its draws are not."""
    torch.manual_seed(0)
    entry = collections.namedtuple("entry", "spot")
    model, draws = torch.nn.Linear(2, 1), random.Random(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory, place, first = [entry(torch.zeros(2))], torch.zeros(2), 0
    if resume:
        read = torch.load(resume)
        model.load_state_dict(read["model"])
        place, first = read["place"], read["first"]
    for step in range(first, total):
        place = place * 0.9 + torch.tensor([draws.random(), 1.0])
        memory.append(entry(place))
        if len(memory) < 4:
            continue
        batch = torch.stack([each.spot for each in memory[-4:]])
        loss = (model(batch) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.save({"model": model.state_dict(), "place": place, "first": step + 1}, f"{out}/{step:02d}.pt")


def test_what_is_lost_as_a_whole_comes_first_and_what_is_given_another_value_later_last_without_lines():
    pytest.importorskip("greenlet", reason="functions are suspended in greenlets")
    report = check(dora_repro.stepwise(walks, "{out}", resumed={"resume": "{newest}"}), 7, 4)
    first, *others = report.causes
    assert first.name == "walks/memory/*" and "objects (entry) are lost" in first.how
    assert first.load == ('memory[:] = [entry(*each) for each in read["memory"]]',)
    later = {cause.name: cause for cause in others if not cause.load}
    assert [cause.name for cause in others][-len(later) :] == [*later]
    assert "given another value after loading" in later["walks/place"].advice[0]
    assert "given a value only after loading" in later["walks/batch"].advice[0]
    assert report.explanation.lines_tried.restores
