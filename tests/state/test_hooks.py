"""Hooks of modules, optimizers and parameters: seen, told from those that watch, put back where they are missing."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from dora_repro.recording import Recorder
from dora_repro.state.hooks import add_hook, hooks_of, names_hook, remove_hook
from dora_repro.state.objects import Objects, lost_objects
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk
from tests import runs


class Mean:
    """A running mean of what it is shown; a method of it is the hook."""

    def __init__(self):
        self.value = torch.zeros(())

    def see(self, *seen):
        self.value += 1


def closure(value):
    shadow = {"w": torch.full((2,), float(value))}

    def hook(*seen):
        shadow["w"].add_(1)

    return hook


def roots(register=None, value=1):
    """A model and its optimizer; `register` is given them and a hook."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    found = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}
    if register is not None:
        register(found, closure(value))
    return found


REGISTER = {  # what the hook is registered on -> (how, the path of what it keeps)
    "an optimizer": (
        lambda roots, hook: roots["optimizer"].register_step_post_hook(hook),
        "optimizer/step_post_hooks.0/shadow/w",
    ),
    "an optimizer, before its step": (
        lambda roots, hook: roots["optimizer"].register_step_pre_hook(hook),
        "optimizer/step_pre_hooks.0/shadow/w",
    ),
    "a module": (
        lambda roots, hook: roots["model"].register_forward_hook(hook),
        "model/forward_hooks.0/shadow/w",
    ),
    "a module inside a module": (
        lambda roots, hook: roots["model"][0].register_forward_pre_hook(hook),
        "model/0/forward_pre_hooks.0/shadow/w",
    ),
    "a parameter": (
        lambda roots, hook: roots["model"][0].weight.register_hook(hook),
        "model/0.weight/backward_hooks.0/shadow/w",
    ),
    "a parameter whose gradient is there": (
        lambda roots, hook: roots["model"][0].weight.register_post_accumulate_grad_hook(hook),
        "model/0.weight/post_accumulate_grad_hooks.0/shadow/w",
    ),
}


@pytest.mark.parametrize(("register", "path"), REGISTER.values(), ids=REGISTER)
def test_what_a_hook_closes_over_is_state(register, path):
    assert path in walk(roots(register)).leaves
    moving = walk(roots(register), moving_only=True)
    assert path in moving.leaves, "it may change in every step"
    assert path not in walk(roots()).leaves


@pytest.mark.parametrize(("register", "path"), REGISTER.values(), ids=REGISTER)
def test_what_a_hook_closes_over_is_put_back(register, path):
    saved = Snapshot.capture(roots(register, value=5))
    live = roots(register, value=1)
    assert saved.restore(live, [path]) == {}
    assert walk(live).leaves[path].value.tolist() == [5, 5]


@pytest.mark.parametrize(("register", "path"), REGISTER.values(), ids=REGISTER)
def test_a_hook_that_is_missing_is_registered_and_one_too_many_taken_away(register, path):
    there, fresh = roots(register, value=5), roots()
    saved, loaded = Snapshot.capture(there), Snapshot.capture(fresh)
    lost = lost_objects(saved, saved, saved.kinds, loaded, ())
    hook = path.removesuffix("/shadow/w")
    assert hook in lost
    assert saved.restore(fresh, [f"{hook}*"], Objects.taken(there, lost)) == {}
    assert walk(fresh).leaves[path].value.tolist() == [5, 5]
    assert loaded.restore(there, [f"{hook}*"]) == {}
    assert path not in walk(there).leaves and not list(hooks_of(there["optimizer"]))


def test_an_object_that_the_run_holds_too_has_its_name_there():
    found, mean = roots(), Mean()
    found["optimizer"].register_step_post_hook(mean.see)
    leaves = walk({**found, "tracked": mean}).leaves
    assert "tracked/value" in leaves and leaves["optimizer/step_post_hooks.0/self"].value == "= tracked"
    assert "optimizer/step_post_hooks.0/self/value" in walk(found).leaves, "unless the hook alone has it"


def test_what_watches_a_run_is_no_hook_of_it():
    run = runs.Plain()
    before = set(walk(run_roots(run)).leaves)
    with Recorder(run, 0) as recorder:
        assert not [path for path in walk(run_roots(run)).leaves.keys() - before if "hooks" in path]
        run.model.register_forward_hook(closure(1))
        assert [path for path in walk(run_roots(run)).leaves.keys() - before if "hooks" in path]
        recorder.step()


def test_hooks_are_named_by_their_event_and_their_place():
    found, first, second = roots(), closure(1), closure(2)
    optimizer = found["optimizer"]
    add_hook(optimizer, "step_post_hooks.0", first)
    add_hook(optimizer, "step_post_hooks.1", second)
    assert [name for name, _, _ in hooks_of(optimizer)] == ["step_post_hooks.0", "step_post_hooks.1"]
    assert names_hook(optimizer, "step_pre_hooks.7") and not names_hook(optimizer, "forward_hooks.0")
    assert not names_hook(optimizer, "step_post_hooks.x") and not names_hook([], "step_post_hooks.0")
    remove_hook(optimizer, "step_post_hooks.0")
    assert [hooks[key] for _, hooks, key in hooks_of(optimizer)] == [second]
    with pytest.raises(KeyError):
        remove_hook(optimizer, "step_post_hooks.1")


def pruned(amount=0.5, by=prune.l1_unstructured):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if amount:
        by(model[0], "weight", amount)
    return {"model": model, "optimizer": optimizer}


def test_a_weight_that_is_no_longer_pruned_is_pruned_again():
    there, fresh = pruned(), pruned(amount=0)
    saved = Snapshot.capture(there)
    objects = Objects.taken(there, lost_objects(saved, saved, saved.kinds, Snapshot.capture(fresh), ()))
    saved.restore(fresh, objects=objects)
    inputs = torch.randn(3, 4)
    assert torch.equal(fresh["model"](inputs), there["model"](inputs))
    there["model"](inputs).sum().backward()
    assert fresh["optimizer"].param_groups[0]["params"][0] is fresh["model"][0].weight_orig


def test_by_which_method_a_mask_was_made_is_no_state():
    mask = pruned()["model"][0].weight_mask
    by_mask = pruned(by=lambda module, name, amount: prune.custom_from_mask(module, name, mask))
    one, other = Snapshot.capture(pruned()), Snapshot.capture(by_mask)
    assert {path: leaf.digest for path, leaf in one.items()} == {path: leaf.digest for path, leaf in other.items()}
    assert one.forms == other.forms
    assert one.keys() != Snapshot.capture(pruned(amount=0)).keys()
