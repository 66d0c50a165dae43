"""All state at one moment as digests, and what is not as it was."""

import copy

import torch

from dora_repro.journal.state import StateDigests, difference


class Trained:
    """A training of two steps, with what a resume has to bring back."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1)
        self.data = torch.utils.data.TensorDataset(torch.ones(5, 3))
        self.best = 9.0
        self.name = "one"

    def step(self):
        self.model(torch.rand(4, 3)).sum().backward()
        self.optimizer.step()
        self.schedule.step()
        self.average[0].weight.lerp_(self.model[0].weight.detach(), 0.5)
        self.best -= 1

    @property
    def digests(self):
        return StateDigests.take(vars(self), 2)


def trained():
    """State before the first step, the training after two, and the state then."""
    run = Trained()
    first = run.digests
    run.step()
    run.step()
    return first, run, run.digests


def test_equal_state_is_as_it_was():
    first, run, saved = trained()
    found = difference(saved, run.digests, first)
    assert found.same
    assert found.compared > 10
    assert not found.other


def test_what_a_training_works_with_is_told_by_kind():
    first, run, saved = trained()
    with torch.no_grad():
        run.model[0].weight.zero_()
        run.model[1].running_mean.zero_()
        run.average[0].weight.zero_()
    run.optimizer.state[run.model[0].bias]["exp_avg"].zero_()
    run.schedule.last_epoch = 0
    run.best = 3.0
    torch.rand(1)
    found = difference(saved, run.digests, first)
    assert [*found.lost] == ["parameter", "buffer", "moment", "schedule", "generator"]
    assert found.lost["buffer"] == ("model/1.running_mean",)
    assert found.lost["generator"] == ("rng/torch.cpu",)
    assert set(found.lost["parameter"]) == {"model/0.weight", "average/0.weight"}
    assert found.other == ("best",)


def test_what_is_missing_is_lost():
    first, run, saved = trained()
    run.optimizer.state.clear()
    found = difference(saved, run.digests, first)
    assert [*found.lost] == ["moment"]
    assert len(found.lost["moment"]) == 12


def test_a_generator_that_nothing_drew_from_does_not_count():
    import random

    first, run, saved = trained()
    random.random()
    assert difference(saved, run.digests, first).same
    assert "rng/python" in difference(saved, run.digests, None).lost["generator"]  # it may have been


def test_a_setting_that_no_step_changed_does_not_count():
    first, run, saved = trained()
    run.name = "two"
    assert not difference(saved, run.digests, first).other


def test_what_has_another_name_is_found_by_its_digest():
    first, run, saved = trained()
    here = StateDigests.take({"trainer": run}, 2)
    assert difference(saved, here, first).same


def loops_over(run):
    """A function's variables: a training's own, and before them those that loops have left, each the shorter name."""
    (*_, state), (group,) = run.optimizer.state.values(), run.optimizer.param_groups
    (*_, moment), (*_, buffer) = state.values(), run.model.buffers()
    *_, parameter = run.model.parameters()
    return in_a_function(run, b=buffer, v=moment, p=parameter, s=state, g=group)


def in_a_function(run, **variables):
    """State before which further variables come."""
    return StateDigests.take({"main": {**variables, **vars(run)}}, 2)


def test_what_a_loop_has_left_in_a_variable_is_still_its_owners():
    first, run, _ = trained()
    saved, here = in_a_function(run), loops_over(run)
    for path in ("optimizer/model.1.bias/exp_avg", "model/1.num_batches_tracked", "optimizer/group.0/lr"):
        assert here.leaves[f"main/{path}"] == saved.leaves[f"main/{path}"]
    for one, other in ((saved, here), (here, saved), (here, here)):
        found = difference(one, other, first)
        assert found.same
        assert found.compared == difference(saved, saved, first).compared


def test_what_a_loop_has_left_in_a_variable_is_missed_where_it_is_lost():
    first, run, _ = trained()
    saved = loops_over(run)
    run.optimizer.state[run.model[1].bias]["exp_avg"].zero_()
    run.model[1].num_batches_tracked.zero_()
    for now in (in_a_function(run), loops_over(run)):
        assert difference(saved, now, first).lost == {
            "buffer": ("main/model/1.num_batches_tracked",),
            "moment": ("main/optimizer/model.1.bias/exp_avg",),
        }


def test_the_state_and_the_groups_of_an_optimizer_in_variables_are_still_its_own():
    first, run, saved = trained()
    here = in_a_function(run, a=run.optimizer.state, b=run.optimizer.param_groups)
    assert difference(saved, here, first).same
    run.optimizer.state.clear()
    assert len(difference(here, run.digests, first).lost["moment"]) == 12


def test_generators_are_not_compared_with_those_of_an_end():
    first, run, _ = trained()
    ended = StateDigests.take(vars(run), 2, moment="end")
    torch.rand(1)
    found = difference(ended, run.digests, first)
    assert found.same
    assert found.unknown == ("rng/torch.cpu",)


def test_of_a_save_what_may_have_moved_before_the_next_update_is_not_compared():
    first, run, _ = trained()
    saved = StateDigests.take(vars(run), 2, moment="save")
    run.schedule.step()  # what a loop does after it has saved
    found = difference(saved, run.digests, first)
    assert found.same
    assert "schedule/last_epoch" in found.unknown
    run.optimizer.state.clear()
    assert [*difference(saved, run.digests, first).lost] == ["moment"]


def test_data_is_not_looked_at():
    _, _, saved = trained()
    assert not any(path.startswith("data/tensors") for path in saved.leaves)


def test_it_is_written_and_read(tmp_path):
    _, _, saved = trained()
    saved.write(tmp_path / "state")
    assert StateDigests.read(tmp_path / "state") == saved


def test_one_that_was_cut_off_is_none(tmp_path):
    _, _, saved = trained()
    saved.write(tmp_path / "state")
    data = (tmp_path / "state").read_bytes()
    for size in range(0, len(data) - 1, 97):
        (tmp_path / "state").write_bytes(data[:size])
        assert StateDigests.read(tmp_path / "state") is None
    assert StateDigests.read(tmp_path / "none") is None
