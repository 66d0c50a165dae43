"""Lines of load for what a checkpoint has: they are run on what torch makes of that very file."""

import json
import os
import random
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dora_repro.explain.advice import models
from dora_repro.explain.advice.advice import advise
from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.audit.lookup import SaveStatus
from dora_repro.explain.audit.saved import SaveAudit, audit_save
from dora_repro.state.snapshot import Snapshot, run_roots


class Run:
    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1 * (1 + seed))
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3)
        self.legacy, self.shuffle = np.random.RandomState(seed), random.Random(seed)
        self.augment = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 3 + seed
        self.feed = {"epoch": seed + 5}
        self.velocity = {parameter: parameter.detach() * 2 for parameter in self.model.parameters()}
        for _ in range(1 + seed):
            self.model(torch.rand(2, 3)).sum().backward()
            self.optimizer.step()
            self.scheduler.step()


MODEL = ("model/0.weight", "model/1.bias")
MOMENT = ("optimizer/0.weight/exp_avg",)


def prefixed(state, prefix="module."):
    return {prefix + name: value for name, value in state.items()}


# What is written, the leaves that are lost, and the line of load.
WRITTEN = {
    "nested": (
        lambda run: {"net": {"weights": run.model.state_dict()}},
        MODEL,
        'self.model.load_state_dict(state["net"]["weights"], strict=True)',
    ),
    "the file is the state_dict": (
        lambda run: run.model.state_dict(),
        MODEL,
        "self.model.load_state_dict(state, strict=True)",
    ),
    "a key with a slash": (
        lambda run: {"a/model": run.model.state_dict()},
        MODEL,
        'self.model.load_state_dict(state["a/model"], strict=True)',
    ),
    "a key with a quote": (
        lambda run: {'a"]; 1/0; ["': run.model.state_dict()},
        MODEL,
        r'self.model.load_state_dict(state["a\"]; 1/0; [\""], strict=True)',
    ),
    "prefixed": (lambda run: {"model": prefixed(run.model.state_dict())}, MODEL, None),
    "optimizer": (
        lambda run: {"opt": [run.optimizer.state_dict()]},
        MOMENT,
        'self.optimizer.load_state_dict(state["opt"][0])',
    ),
    "the file is the optimizer's": (
        lambda run: run.optimizer.state_dict(),
        ("optimizer/group.0/lr",),
        "self.optimizer.load_state_dict(state)",
    ),
    "all under a key that optimizers have": (
        lambda run: {"state": {"optimizer": run.optimizer.state_dict(), "scheduler": run.scheduler.state_dict()}},
        MOMENT,
        'self.optimizer.load_state_dict(state["state"]["optimizer"])',
    ),
    "a scheduler under such a key": (
        lambda run: {"state": {"scheduler": run.scheduler.state_dict()}},
        ("scheduler/last_epoch",),
        'self.scheduler.load_state_dict(state["state"]["scheduler"])',
    ),
    "the file is the value": (
        lambda run: run.generator.get_state(),
        ("generator",),
        "self.generator.set_state(state)",
    ),
    "scheduler": (
        lambda run: {"sched": run.scheduler.state_dict()},
        ("scheduler/last_epoch",),
        'self.scheduler.load_state_dict(state["sched"])',
    ),
    "numpy's tuple": (
        lambda run: {"rng": {"legacy": run.legacy.get_state()}},
        ("legacy",),
        'self.legacy.set_state(state["rng"]["legacy"])',
    ),
    "numpy's dict": (
        lambda run: {"legacy": run.legacy.get_state(legacy=False)},
        ("legacy",),
        'self.legacy.set_state(state["legacy"])',
    ),
    "a bit generator's": (
        lambda run: {"rng": [run.augment.bit_generator.state]},
        ("augment",),
        'self.augment.bit_generator.state = state["rng"][0]',
    ),
    "Python's": (
        lambda run: {"shuffle": run.shuffle.getstate()},
        ("shuffle",),
        'self.shuffle.setstate(state["shuffle"])',
    ),
    "the file is Python's": (lambda run: run.shuffle.getstate(), ("shuffle",), "self.shuffle.setstate(state)"),
    "torch's": (
        lambda run: {"feed": {"generator": run.generator.get_state()}},
        ("generator",),
        'self.generator.set_state(state["feed"]["generator"])',
    ),
    "by the names of parameters": (
        lambda run: {"fast": {name: run.velocity[p] for name, p in run.model.named_parameters()}},
        ("velocity/model.0.weight", "velocity/model.1.bias"),
        'self.velocity[self.model.get_submodule("0").weight] = state["fast"]["0.weight"]',
    ),
    "several of one cause": (
        lambda run: {"a": {"steps": run.steps}, "epoch": run.feed["epoch"]},
        ("steps", "feed/epoch"),
        'self.steps = state["a"]["steps"]',
    ),
}  # fmt: skip


def line_of(run, leaves, load, alone=True):
    saved = Snapshot.capture(run_roots(run))
    audit = audit_save(saved, load if alone else load.parent)
    assert all(audit.in_file(path) for path in leaves)
    keys = CheckpointKeys(audit, saved, load, alone)
    return advise(leaves[0], leaves, saved[leaves[0]].role, saved, keys=keys)


def loaded(lines, run, leaves, state):
    """The leaves that are the first run's, after the lines were run on another."""
    other, expected = Run(1), Snapshot.capture(run_roots(run))
    exec("\n".join(lines), {"torch": torch, "np": np, "random": random, "self": other, "state": state})
    found = Snapshot.capture(run_roots(other))
    return {path for path in leaves if found[path].digest == expected[path].digest}


@pytest.mark.parametrize("name", list(WRITTEN))
def test_a_line_of_load_reads_the_file_as_it_is(tmp_path, name):
    write, leaves, line = WRITTEN[name]
    run, file = Run(0), tmp_path / "step3.pt"
    torch.save(write(run), file)
    advice = line_of(run, leaves, file)
    assert advice.save == ()
    assert line is None or advice.load[0] == line
    assert loaded(advice.load, run, leaves, torch.load(file, weights_only=False)) == set(leaves)
    assert not loaded((), run, leaves, None)


def test_a_prefix_of_the_file_is_taken_off_and_one_of_the_model_put_before(tmp_path):
    run, file = Run(0), tmp_path / "step3.pt"
    torch.save({"model": prefixed(run.model.state_dict())}, file)
    lines = line_of(run, MODEL, file).load
    assert 'n.removeprefix("module.")' in lines[0] and lines[1] == "self.model.load_state_dict(weights, strict=True)"
    wrapped = Run(0)
    wrapped.model = nn.ModuleDict({"module": run.model})
    lines = line_of(wrapped, ("model/module.0.weight",), save(run.model.state_dict(), file)).load
    other = nn.ModuleDict({"module": Run(1).model})
    exec("\n".join(lines), {"self": type("It", (), {"model": other}), "state": torch.load(file)})
    assert torch.equal(other["module"][0].weight, run.model[0].weight)


def save(value, file):
    torch.save(value, file)
    return file


def test_of_a_file_with_a_part_of_the_model_no_key_may_be_left(tmp_path):
    """As in the study's checkpoints, which hold the adapters alone: strict=True could not load them."""
    run, file = Run(0), tmp_path / "step3.pt"
    part = {"1.bias": run.model[1].bias.detach(), "1.weight": run.model[1].weight.detach()}
    advice = line_of(run, ("model/1.bias",), save(part, file))
    assert "strict=False" in advice.load[0] and "no such key may be left" in advice.sentence
    assert loaded(advice.load, run, ("model/1.bias",), torch.load(file)) == {"model/1.bias"}
    with pytest.raises(AssertionError):
        loaded(advice.load, run, (), {**part, "0.wieght": part["1.bias"]})


def test_tensors_under_other_names_are_copied_one_by_one_or_told(tmp_path, monkeypatch):
    run, file = Run(0), tmp_path / "step3.pt"
    torch.save({"first": run.model[0].weight.detach(), "last": run.model[1].bias.detach()}, file)
    advice = line_of(run, MODEL, file)
    assert advice.load[0].endswith('.weight.data.copy_(state["first"])')
    assert loaded(advice.load, run, MODEL, torch.load(file)) == set(MODEL)
    monkeypatch.setattr(models, "MANY", 1)
    advice = line_of(run, MODEL, file)
    assert not advice.load and '`0.weight` of self.model is state["first"]' in advice.sentence


@pytest.mark.parametrize("folder", [False, True])
def test_the_line_names_the_file_that_has_it(tmp_path, folder):
    run, load = Run(0), tmp_path / "step3"
    if folder:
        load.mkdir()
        save_file(run.model.state_dict(), load / "model.safetensors")
        torch.save(run.optimizer.state_dict(), load / "optimizer.bin")
        (load / "trainer.json").write_text(json.dumps({"steps": run.steps}))
        expected = {MODEL: "/model.safetensors", MOMENT: "/optimizer.bin", ("steps",): "/trainer.json"}
    else:
        torch.save(run.model.state_dict(), load)
        torch.save({"generator": run.generator.get_state()}, f"{load}.rng")
        expected = {MODEL: None, ("generator",): ".rng"}
    for leaves, beside in expected.items():
        (line,) = line_of(run, leaves, load, alone=False).load
        named = re.search(r'# state: what f"\{path\}(\S*)" holds', line)
        assert (named and named[1]) == beside
    if folder:
        assert line_of(run, ("steps",), load, alone=False).load[0].startswith('self.steps = state["steps"]')


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("step8.pt/last.pt/epoch", "last.pt/epoch"),  # a folder
        ("step8.pt/epoch", "epoch"),  # the file, with others beside it
        ("step8.pt.more/epoch", "{path}.more/epoch"),
        ("log.json/epoch", "log.json/epoch"),
    ],
)
def test_a_key_is_shown_without_the_name_that_the_kit_gave_to_the_checkpoint(key, words, tmp_path):
    load = tmp_path / "step8.pt"
    assert CheckpointKeys(SaveAudit(), {}, load, False).shown(key) == words
    assert CheckpointKeys(SaveAudit(), {}, load, True).shown(key) == key


def test_the_file_of_a_line_is_named_as_the_users_code_names_it(tmp_path):
    load = tmp_path / "step8.pt"
    load.mkdir()
    torch.save({"epoch": 3}, load / "last.pt")
    audit = SaveAudit({"epoch": SaveStatus("saved", ("step8.pt/last.pt/epoch",))})
    assert CheckpointKeys(audit, {}, load, False).source("epoch") == 'what f"{path}/last.pt" holds'
    assert CheckpointKeys(audit, {}, load, False, in_folder=True).source("epoch") == "what last.pt holds"


def test_a_file_of_ones_own_goes_beside_a_single_file_and_into_a_folder(tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    torch.save({"epoch": 3}, folder / "epoch3.pt")
    (tmp_path / "out").mkdir()
    torch.save({"epoch": 3}, tmp_path / "out" / "epoch3.pt")
    found = {
        at: CheckpointKeys(audit_save({}, at), {}, at, False, in_folder=True).beside
        for at in (
            folder / "epoch3.pt",
            tmp_path / "out",
        )
    }
    assert list(found.values()) == ['f"{path}.more"', 'f"{path}.more"']
    torch.save({"step": 3}, folder / "other.pt")
    os.utime(tmp_path / "out" / "epoch3.pt", (1, 1))  # the older one, however coarse the clock is
    assert CheckpointKeys(audit_save({}, tmp_path), {}, tmp_path, False, in_folder=True).beside == 'f"{path}/more.pt"'


def test_of_a_file_beside_others_that_lacks_a_parameter_it_is_told_whether_it_takes_keys(tmp_path):
    run, load = Run(0), tmp_path / "step3"
    saved = Snapshot.capture(run_roots(run))

    def takes_keys():
        return CheckpointKeys(audit_save(saved, load.parent), saved, load, alone=False).takes_keys

    torch.save({"optimizer": run.optimizer.state_dict()}, load)
    assert takes_keys()
    torch.save(run.model.state_dict(), load)
    assert not takes_keys()
