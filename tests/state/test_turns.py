"""By which of several variables an object is named: not by one that a loop has left, nor before its owner."""

import sys

import torch

from dora_repro.state.frames import Running
from dora_repro.state.turns import turns
from dora_repro.state.walk import walk


class Client:
    def __init__(self):
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)


def paths(frame):
    live = walk({"f": Running(frame)})
    return {path for path, leaf in live.items() if leaf.role != "alias"}, dict(live.items())


def by_name(looping):
    """The paths of a function that holds optimizers in a dict, before and after a loop over them."""
    a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    optimizers = {"a": torch.optim.SGD(a.parameters(), 0.1), "b": torch.optim.SGD(b.parameters(), 0.1)}
    if looping:
        for one in optimizers.values():
            one.zero_grad()
    return paths(sys._getframe())


def test_what_a_loop_has_left_is_named_by_the_container():
    before, _ = by_name(False)
    after, leaves = by_name(True)
    assert after == before
    assert "f/optimizers/b/group.0/lr" in after
    assert leaves["f/one"].value == "= f/optimizers/b"


def in_a_list(looping):
    clients = [Client(), Client()]
    if looping:
        for client in clients:
            client.optimizer.zero_grad()
    return paths(sys._getframe())


def test_objects_of_the_user_s_and_what_they_hold_are_named_by_the_container_too():
    before, _ = in_a_list(False)
    after, leaves = in_a_list(True)
    assert after == before
    assert {"f/clients/1/model/weight", "f/clients/1/optimizer/group.0/lr"} <= after
    assert leaves["f/client"].value == "= f/clients/1"


def in_a_module(looping):
    blocks = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    if looping:
        for block in blocks:
            block.zero_grad()
    return paths(sys._getframe())


def test_modules_that_another_has_are_named_by_that_one():
    assert in_a_module(True)[0] == in_a_module(False)[0]


def test_a_variable_that_is_set_elsewhere_too_or_alone_has_an_object_keeps_its_name():
    best = last = None
    for best in [Client()]:
        best.model.zero_grad()
    for last in (Client() for _ in range(2)):
        last.model.zero_grad()
    found, _ = paths(sys._getframe())
    assert {"f/best/model/weight", "f/last/model/weight"} <= found


def test_tensors_that_a_loop_has_left_have_the_variable_s_name():
    batches = [torch.ones(2), torch.zeros(2)]
    for batch in batches:
        batch.add_(1)
    assert dict(turns(sys._getframe().f_code, {"batches": batches, "batch": batch})) == {"batches": 0, "batch": 0}


def test_what_an_optimizer_owns_is_put_off_most():
    def training():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)
        for group in optimizer.param_groups:
            group["lr"] = 0.2
        found = {"group": group, "optimizer": optimizer, "made": torch.ones(1, requires_grad=True) * 2}
        return dict(turns(sys._getframe().f_code, found))

    assert training() == {"optimizer": 0, "group": 2, "made": 1}
