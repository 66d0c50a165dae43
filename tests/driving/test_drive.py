"""A function runs until its next step and waits there: before the forward pass after an update."""

import contextlib
import sys

import pytest
import torch
from torch import nn

from dora_repro.driving.drive import Drive
from dora_repro.errors import MissingExtra
from dora_repro.private_names.of_torch import LoaderIterator, module_call

pytest.importorskip("greenlet", reason="functions are suspended in greenlets")


def told(log, **options):
    """A training of four updates that tells what it does."""
    torch.manual_seed(0)
    model, loss_of = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    around = options.get("around", contextlib.nullcontext)
    for epoch in range(2):
        for batch in range(2):
            log.append(f"batch {epoch}.{batch}")
            for _ in range(options.get("micro", 1)):
                with around():
                    loss = loss_of(model(torch.ones(3, 2)), torch.zeros(3, 1))
                log.append("forward")
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            log.append("update")
        model.eval()
        with torch.no_grad():
            model(torch.ones(1, 2))
        model.train()
        log.append(f"saved {epoch}")


def test_it_waits_when_all_of_a_step_has_been_done_and_the_next_batch_is_there():
    log = []
    drive = Drive(lambda: told(log))
    assert drive.advance() and log == ["batch 0.0"] and drive.updates == 0
    assert drive.advance() and log[1:] == ["forward", "update", "batch 0.1"] and drive.updates == 1
    assert drive.advance() and log[4:] == ["forward", "update", "saved 0", "batch 1.0"]
    assert drive.advance() and drive.updates == 3
    assert not drive.advance() and drive.updates == 4 and log[-1] == "saved 1"
    assert not drive.advance()


def tuned(log, frozen=lambda: contextlib.nullcontext()):
    """A training of a head on a frozen body, which is in eval mode; evaluated after each epoch."""
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).eval().requires_grad_(False), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(head.parameters(), 0.1)
    train, test = torch.utils.data.TensorDataset(torch.ones(4, 2)), torch.utils.data.TensorDataset(torch.zeros(2, 2))
    for epoch in range(2):
        head.train()
        for (batch,) in torch.utils.data.DataLoader(train, 2):
            log.append("batch")
            with frozen():
                features = body(batch)
            log.append("body")
            head(features).sum().backward()
            optimizer.step()
            log.append("update")
        head.eval()
        with frozen():
            for (batch,) in torch.utils.data.DataLoader(test, 2):
                head(body(batch))
        log.append(f"saved {epoch}")


def test_a_frozen_body_in_eval_mode_is_the_steps_and_an_evaluation_is_not():
    log = []
    drive = Drive(lambda: tuned(log))  # the evaluation, too, with gradients
    waited = []
    while drive.advance():
        waited.append(log[-2:])
    assert waited == [["batch"], ["update", "batch"], ["saved 0", "batch"], ["update", "batch"]]
    assert drive.updates == 4


def test_without_gradients_a_frozen_body_is_the_steps_within_an_epoch():
    log = []
    drive = Drive(lambda: tuned(log, torch.no_grad))
    waited = []
    while drive.advance():
        waited.append(log[-1])
    assert waited == ["body", "batch", "body", "batch"]  # a first one of an epoch may be an evaluation


def test_several_batches_of_a_step_are_one_step_or_a_step_each():
    log = []
    whole, each = Drive(lambda: told(log, micro=3)), Drive(lambda: told([], micro=3), at="batch")
    assert _count(whole) == 4 and _count(each) == 12
    assert whole.updates == each.updates == 4


def _count(drive):
    count = 0
    while drive.advance():
        count += 1
    return count


def test_a_model_that_is_no_module_waits_before_backward():
    weight = nn.Parameter(torch.ones(2))

    def train():
        optimizer = torch.optim.SGD([weight], 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (weight * torch.ones(2)).sum().backward()
            optimizer.step()

    assert _count(Drive(train)) == 3


def test_torch_is_as_it_was_while_it_waits_and_the_function_finds_its_modes_again():
    real = module_call(), LoaderIterator.__next__, torch.autograd.backward
    seen = []

    @contextlib.contextmanager
    def mixed():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield
            seen.append(torch.is_autocast_enabled("cpu"))

    drive = Drive(lambda: told([], around=mixed))
    while drive.advance():
        assert (module_call(), LoaderIterator.__next__, torch.autograd.backward) == real
        assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        with torch.no_grad():
            pass
    assert seen == [True] * 4 and not torch.is_autocast_enabled("cpu")


def test_what_the_function_raises_comes_out_and_nothing_stays_patched():
    real = module_call(), LoaderIterator.__next__, torch.autograd.backward

    def train():
        nn.Linear(1, 1)(torch.ones(1, 1))
        raise KeyError("lost")

    drive = Drive(train)
    assert drive.advance()
    with pytest.raises(KeyError, match="lost"):
        drive.advance()
    assert not drive.advance()
    assert (module_call(), LoaderIterator.__next__, torch.autograd.backward) == real


def test_two_functions_take_turns_and_neither_stops_the_other():
    one, other = [], []
    drives = Drive(lambda: told(one)), Drive(lambda: told(other))
    while drives[0].advance() & drives[1].advance():
        assert one == other
    alone = []
    told(alone)
    assert one == other == alone


def test_without_greenlet_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dora-repro\[stepwise\]'"):
        Drive(lambda: None)


def test_a_call_that_is_closed_undoes_what_it_has_to_undo():
    undone = []

    def training(name):
        model = nn.Linear(1, 1)
        try:
            model(torch.ones(1, 1))
            model(torch.ones(1, 1)).sum().backward()
        finally:
            undone.append(name)

    drive = Drive(lambda: training("one"))
    assert drive.advance() and undone == []
    drive.close()
    assert undone == ["one"] and not drive.advance()
    drive.close()


def test_a_call_that_is_closed_in_the_midst_of_another_leaves_that_one_its_turn():
    log = []
    waiting = Drive(lambda: told(log))
    waiting.advance()

    def closing():
        waiting.close()
        told([])

    other = Drive(closing)
    assert other.advance() and waiting.greenlet.dead and not other.greenlet.dead
    assert _count(other) == 3
