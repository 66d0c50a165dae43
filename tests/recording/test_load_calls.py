"""What the watch notes of `load_state_dict`, and that it changes nothing."""

import copy
import json

import pytest
import torch
from torch import nn

from dora_repro.recording.load_calls import WatchedLoading


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def stepped(model, kind=torch.optim.AdamW, **options):
    optimizer = kind(model.parameters(), lr=0.1, **options)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_a_load_that_takes_all_is_noted_with_nothing_missing():
    model, other = net(), net()
    with WatchedLoading() as watched:
        returned = model.load_state_dict(other.state_dict())
    assert str(returned) == "<All keys matched successfully>"
    assert torch.equal(model[0].weight, other[0].weight)
    assert watched.notes == [
        {
            "what": "module", "class": "Sequential", "strict": True, "given": 4, "missing": [], "unexpected": [],
            "missing_count": 0, "unexpected_count": 0, "error": "",
        }
    ]  # fmt: skip


def test_keys_that_were_ignored_are_noted():
    model = net()
    given = {f"module.{name}": value for name, value in net().state_dict().items()}
    before = copy.deepcopy(model.state_dict())
    with WatchedLoading() as watched:
        returned = model.load_state_dict(given, False)
    assert returned.unexpected_keys == list(given) == watched.notes[0]["unexpected"]
    assert watched.notes[0]["missing"] == list(before) and not watched.notes[0]["strict"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert json.loads(json.dumps(watched.notes)) == watched.notes


def test_what_a_load_raises_is_raised_and_noted():
    with WatchedLoading() as watched, pytest.raises(RuntimeError, match="Missing key"):
        net().load_state_dict({}, strict=True)
    with watched, pytest.raises(TypeError):
        net().load_state_dict(3)  # a look at it raises too: no note
    assert len(watched.notes) == 1 and watched.notes[0]["error"].startswith("RuntimeError: Error(s) in loading")


def test_optimizers_are_noted_with_how_much_they_got():
    model = net()
    first, second = stepped(model), torch.optim.AdamW(model.parameters())
    empty = torch.optim.AdamW(model.parameters()).state_dict()
    plain = stepped(net(), torch.optim.SGD)
    with WatchedLoading() as watched:
        assert second.load_state_dict(first.state_dict()) is None
        second.load_state_dict(state_dict=empty)
        plain.load_state_dict(plain.state_dict())
        with pytest.raises(ValueError, match="parameter group"):
            second.load_state_dict({"state": {}, "param_groups": []})
    told = [(note["given"], note["parameters"], note["stateless"], note["groups"]) for note in watched.notes]
    assert told == [(4, 4, False, [1, 1]), (0, 4, False, [1, 1]), (0, 4, True, [1, 1]), (0, 4, False, [0, 1])]
    assert [bool(note["error"]) for note in watched.notes] == [False, False, False, True]
    assert json.loads(json.dumps(watched.notes)) == watched.notes


class Own(nn.Module):
    """Overrides the method, and returns nothing."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def load_state_dict(self, state_dict, strict=True):
        super().load_state_dict({f"inner.{name}": value for name, value in state_dict.items()}, strict)


def test_a_class_with_a_method_of_its_own_is_noted_by_what_it_calls():
    module, source = Own(), nn.Linear(2, 2)
    with WatchedLoading() as watched:
        assert module.load_state_dict(source.state_dict()) is None
    assert torch.equal(module.inner.weight, source.weight)
    assert [(note["class"], note["given"]) for note in watched.notes] == [("Own", 2)]


def test_after_the_context_all_is_as_it_was():
    kinds = (nn.Module, torch.optim.Optimizer)
    before = [kind.__dict__["load_state_dict"] for kind in kinds]
    with pytest.raises(ZeroDivisionError), WatchedLoading() as watched:
        assert [kind.load_state_dict.__doc__ for kind in kinds] == [real.__doc__ for real in before]
        raise ZeroDivisionError
    assert [kind.__dict__["load_state_dict"] for kind in kinds] == before
    model = net()
    model.load_state_dict(model.state_dict())
    assert watched.notes == []
