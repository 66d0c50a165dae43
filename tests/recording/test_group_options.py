"""Group options are noted after each update, and where they have changed."""

import torch

from dora_repro.recording.group_options import GroupOptions, options_of


def test_they_are_noted_after_an_update_and_where_they_changed_and_else_not():
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    optimizers, options = {"optimizer": optimizer}, GroupOptions()
    options.begin(optimizers)
    assert options.to_note(optimizers) == {}
    options.updated()
    assert options.to_note(optimizers) == options_of(optimizers)
    assert options.to_note(optimizers) == {}
    optimizer.param_groups[0]["lr"] = 0.2
    assert options.to_note(optimizers)["optimizer/group.0/lr"] == 0.2
    assert options.to_note({}) == {}


def test_a_rate_that_is_a_tensor_may_change_in_place():
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam([torch.ones(1, requires_grad=True)], lr=rate)
    optimizers, options = {"optimizer": optimizer}, GroupOptions()
    options.begin(optimizers)
    assert options.to_note(optimizers) == {}
    rate.mul_(2)
    assert options.to_note(optimizers)


def test_what_an_optimizer_has_that_is_met_later_is_no_change():
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    options = GroupOptions()
    options.begin({})
    options.met({"optimizer": optimizer})
    assert options.to_note({"optimizer": optimizer}) == {}
    optimizer.param_groups[0]["lr"] = 0.2
    options.met({"optimizer": optimizer})
    assert options.to_note({"optimizer": optimizer})
