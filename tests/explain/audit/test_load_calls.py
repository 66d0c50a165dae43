"""What calls of `load_state_dict` ignored or left as it was, in words, with a clean twin for each."""

import pytest
import torch
from torch import nn

from dora_repro.explain.audit.load_calls import describe_load_calls
from dora_repro.recording.load_calls import WatchedLoading


def noted(model, given, **options):
    with WatchedLoading() as watched:
        model.load_state_dict(given, **options)
    return describe_load_calls(watched.notes)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "base_model.model.", "module._orig_mod."])
def test_a_prefix_is_named_and_what_to_do(prefix):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with_prefix = {prefix + name: value for name, value in model.state_dict().items()}
    assert noted(model, with_prefix, strict=False) == (
        f"strict=False ignored 4 of 4 keys of the file: all begin with `{prefix}`; strip the prefix",
    )
    assert noted(model, model.state_dict(), strict=False) == ()


def test_a_prefix_that_the_model_has_is_named():
    model = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert noted(model, model["module"].state_dict(), strict=False) == (
        "strict=False ignored 2 of 2 keys of the file: the model's begin with `module.`; put it before them",
    )


def test_the_name_of_an_adapter_is_named():
    model = nn.ModuleDict({"lora_A": nn.ModuleDict({"default": nn.Linear(2, 2, bias=False)})})
    exported = {"lora_A.weight": torch.zeros(2, 2)}
    (words,) = noted(model, exported, strict=False)
    assert words.endswith("the model's have the adapter's name `.default` in them; put it in")
    plain = nn.ModuleDict({"lora_A": nn.Linear(2, 2, bias=False)})
    (words,) = noted(plain, model.state_dict(), strict=False)
    assert words.endswith("they have the adapter's name `.default` in them; take it out")
    wrapped = nn.ModuleDict({"base_model": nn.ModuleDict({"model": model})})
    (words,) = noted(wrapped, exported, strict=False)
    assert words.endswith("adapter's name `.default` in them and begin with `base_model.model.`; put it in")


def test_keys_of_other_names_and_keys_that_lack():
    model = nn.Linear(2, 2)
    (words,) = noted(model, {"w": torch.zeros(2, 2), "bias": torch.zeros(2)}, strict=False)
    assert words == (
        "strict=False ignored 1 of 2 keys of the file: `w`; the file has no values for 1 key of the model: `weight`"
    )
    assert noted(model, {"bias": torch.zeros(2)}, strict=False) == (
        "strict=False left 1 of 2 keys of Linear as they were (`weight`): the file lacks them",
    )
    assert noted(model, {**model.state_dict(), "more": torch.zeros(1)}, strict=False) == (
        "strict=False ignored 1 of 3 keys of the file: the model has no such keys (`more`)",
    )


def test_a_load_that_raised_and_was_swallowed_is_told():
    model = nn.Linear(2, 2)
    with WatchedLoading() as watched:
        try:
            model.load_state_dict({})
        except RuntimeError:
            pass
    (words,) = describe_load_calls(watched.notes)
    assert words.startswith("Linear.load_state_dict raised RuntimeError: Error(s) in loading")


def test_an_optimizer_that_got_no_state_is_told():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    stepped, fresh = (torch.optim.AdamW(model.parameters()) for _ in range(2))
    model(torch.ones(1, 2)).sum().backward()
    stepped.step()
    with WatchedLoading() as watched:
        stepped.load_state_dict(stepped.state_dict())
        assert describe_load_calls(watched.notes) == ()
        stepped.load_state_dict(fresh.state_dict())
        plain = torch.optim.SGD(model.parameters(), lr=0.1)
        plain.load_state_dict(plain.state_dict())
    (words,) = describe_load_calls(watched.notes)
    assert words == (
        "AdamW.load_state_dict got no state for any of 8 parameters: the state dict was taken before the first step, "
        "or from another optimizer"
    )


def test_what_a_later_call_of_the_same_optimizer_made_up_for_is_not_told():
    model = nn.Linear(2, 2)
    optimizer, other = (torch.optim.AdamW(model.parameters()) for _ in range(2))
    empty = optimizer.state_dict()
    model(torch.ones(1, 2)).sum().backward()
    other.step()
    full = other.state_dict()

    def told(*calls):
        with WatchedLoading() as watched:
            for one, state in calls:
                one.load_state_dict(state)
        return describe_load_calls(watched.notes)

    assert told((optimizer, empty), (optimizer, full)) == ()
    (words,) = told((optimizer, full), (optimizer, empty))
    assert "got no state for any of 2 parameters" in words
    assert len(told((optimizer, empty), (other, full))) == 1
