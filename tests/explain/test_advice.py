"""The lines of an advice are run on a small run, and then what was lost is as it was."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.explain.advice import advise
from dora_repro.state.snapshot import Snapshot, run_roots


class Holder:
    def __init__(self, **held):
        self.__dict__.update(held)


class Run:
    """A small run of many parts; `seed` makes two that differ in all of them."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        self.scale = nn.Parameter(torch.rand(2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2 * (1 + seed))
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0 * (1 + seed))
        self.ema = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self.average = torch.optim.swa_utils.AveragedModel(self.model)
        self.generator = torch.Generator().manual_seed(seed)
        self.augment = np.random.default_rng(seed)
        self.legacy = np.random.RandomState(seed)
        self.shuffle = random.Random(seed)
        self.feed = Holder(sampler=Holder(epoch=seed), position=seed, counts=[seed, 2], streams=[torch.Generator()])
        self.feed.streams[0].manual_seed(seed)
        self.buffer = torch.rand(3)
        self.best = {"loss": 0.5 + seed}
        self.steps = seed
        for _ in range(1 + seed):
            self.model(torch.randn(5, 4)).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()


def taken(run):
    return Snapshot.capture(run_roots(run))


def healed(name, leaves, advice, first, other):
    """Run the lines of save on one run and those of load on another: which leaves are then equal?"""
    before = taken(first)
    state = {}
    for lines, run in ((advice.save, first), (advice.load, other)):
        for line in lines:
            exec(line, {"torch": torch, "np": np, "random": random, "copy": copy, "self": run, "state": state})
        if lines is advice.save:
            assert all(before[path].digest == leaf.digest for path, leaf in taken(first).items()), "saving changed it"
    after = taken(other)
    return {path for path in leaves if path in after and after[path].digest == before[path].digest}


CASES = [
    ("optimizer/*/exp_avg", ("optimizer/0.weight/exp_avg", "optimizer/2.bias/exp_avg")),
    ("optimizer/group.0/lr", ("optimizer/group.0/lr",)),
    ("scheduler/last_epoch", ("scheduler/last_epoch",)),
    ("scaler/scale", ("scaler/scale",)),
    ("model/*.weight", ("model/0.weight", "model/2.weight")),
    ("model/1.running_mean", ("model/1.running_mean",)),
    ("average/*.weight", ("average/module.0.weight",)),
    ("ema/*.weight", ("ema/0.weight", "ema/2.weight")),
    ("ema/0.bias", ("ema/0.bias",)),
    ("scale", ("scale",)),
    ("buffer", ("buffer",)),
    ("rng/torch.cpu", ("rng/torch.cpu",)),
    ("rng/numpy", ("rng/numpy",)),
    ("rng/python", ("rng/python",)),
    ("generator", ("generator",)),
    ("augment", ("augment",)),
    ("legacy", ("legacy",)),
    ("shuffle", ("shuffle",)),
    ("feed/streams/0", ("feed/streams/0",)),
    ("feed/sampler/epoch", ("feed/sampler/epoch",)),
    ("feed/position", ("feed/position",)),
    ("feed/counts", ("feed/counts",)),
    ("best/loss", ("best/loss",)),
    ("steps", ("steps",)),
    ("model/0.weight/grad", ("model/0.weight/grad", "model/2.bias/grad")),
    ("scale/grad", ("scale/grad",)),
]


# Without kinds, a name that could be an attribute is taken for one.
TRIED = [(*case, kinds) for case in CASES for kinds in (True, False) if kinds or case[0] != "best/loss"]


@pytest.mark.parametrize(
    "name, leaves, kinds", TRIED, ids=[f"{case[0]}{'' if case[2] else ', bare'}" for case in TRIED]
)
def test_the_lines_bring_back_what_was_lost(name, leaves, kinds):
    other, first = Run(1), Run(0)
    if name == "scale/grad":
        first.scale.grad, other.scale.grad = torch.ones(2), torch.zeros(2)
    saved = taken(first)
    leaf = saved[leaves[0]]
    if name.startswith("rng/"):
        random.random(), np.random.random(), torch.rand(1)
    advice = advise(name, leaves, leaf.role, False, leaf.value, saved.kinds if kinds else None)
    assert advice.save and advice.load
    if not name.startswith("rng/"):  # of which both runs have the same
        assert taken(other)[leaves[0]].digest != leaf.digest
    assert healed(name, leaves, advice, first, other) == set(leaves)


@pytest.mark.parametrize("name, leaves", CASES, ids=[name for name, _ in CASES])
def test_what_is_in_the_file_needs_lines_of_load_alone(name, leaves):
    leaf_role = "generator" if "rng" in name else "memory"
    advice, loads = (advise(name, leaves, leaf_role, in_file) for in_file in (False, True))
    assert loads.load == advice.load and loads.save == ()
    assert loads.sentence.startswith("The values are in the checkpoint already")


@pytest.mark.parametrize("name", ["rng/python", "rng/numpy", "rng/torch.cpu"])
def test_a_global_generator_that_was_moved_between_is_put_back(name):
    run = Run()
    before = taken(run)[name]
    advice, state = advise(name, (name,), "generator", False), {}
    names = {"torch": torch, "np": np, "random": random, "self": run, "state": state}
    exec("\n".join(advice.save), names)
    random.random(), np.random.random(), torch.rand(1)
    assert taken(run)[name].digest != before.digest
    exec("\n".join(advice.load), names)
    assert taken(run)[name].digest == before.digest
    assert "last, after everything that draws" in advice.sentence


def test_the_lines_for_a_device_name_it():
    advice = advise("rng/torch.cuda:1", ("rng/torch.cuda:1",), "generator", False)
    assert advice.save == ('state["rng/torch.cuda:1"] = torch.cuda.get_rng_state(1)',)
    assert advice.load == ('torch.cuda.set_rng_state(state["rng/torch.cuda:1"], 1)',)
    assert "mps.set_rng_state" in advise("rng/torch.mps", ("rng/torch.mps",), "generator", False).load[0]


def test_the_common_lines_are_those_that_people_write():
    advice = advise("optimizer/*/exp_avg", ("optimizer/0.weight/exp_avg",), "moment", False)
    assert advice.save == ('state["optimizer"] = self.optimizer.state_dict()',)
    assert advice.load == ('self.optimizer.load_state_dict(state["optimizer"])',)
    advice = advise("model/*.weight", ("model/0.weight",), "parameter", False)
    assert advice.load == ('self.model.load_state_dict(state["model"], strict=True)',)
    assert advise("feed/sampler/epoch", ("feed/sampler/epoch",), "memory", False).load == (
        'self.feed.sampler.epoch = state["feed/sampler/epoch"]',
    )


def test_modes_and_freezing_are_put_back():
    run, other = Run(), Run()
    run.model[0].eval()
    run.model[2].weight.requires_grad_(False)
    for path in ("model/0/training", "model/2.weight/requires_grad"):
        advice = advise(path, (path,), "structure", False, taken(run)[path].value)
        assert taken(other)[path].digest != taken(run)[path].digest
        assert healed(path, (path,), advice, run, other) == {path}


def test_what_was_one_object_is_tied_again():
    run, other = Run(), Run()
    run.model[2].weight = run.model[1].weight
    run.loader, other.loader = (Holder(generator=one.generator) for one in (run, other))
    other.loader.generator = torch.Generator()
    for path in ("model/2.weight", "loader/generator"):
        leaf = taken(run)[path]
        assert leaf.role == "alias" != taken(other)[path].role
        advice = advise(path, (path,), "alias", False, leaf.value)
        assert healed(path, (path,), advice, run, other) == {path}
        assert not advise(path, (path,), "alias", False).load  # nobody said with what


FLAGS = sorted(path for path in Snapshot.capture({}) if path.startswith("flags/"))


@pytest.mark.parametrize("path", FLAGS)
def test_a_flag_is_read_and_set(path):
    advice = advise(path, (path,), "flag", False)
    before, state = Snapshot.capture({})[path].digest, {}
    for line in (*advice.save, *advice.load):
        try:
            exec(line, {"torch": torch, "state": state})
        except RuntimeError as error:  # torch will not read an old switch that a new one has overruled
            assert "fp32_precision" in str(error) or "TF32" in str(error) or "tf32" in str(error)
    assert Snapshot.capture({})[path].digest == before
    assert advice.sentence


def test_threads_are_set_as_they_were():
    advice, state, before = advise("flags/torch.num_threads", ("flags/torch.num_threads",), "flag", False), {}, None
    before = torch.get_num_threads()
    exec(advice.save[0], {"torch": torch, "state": state})
    torch.set_num_threads(before + 1)
    exec(advice.load[0], {"torch": torch, "state": state})
    assert torch.get_num_threads() == before


def test_causes_that_are_no_state_have_advice_too():
    data = advise("data/batches", (), "", False)
    assert "StatefulDataLoader" in data.save[0] and data.load and "sampler" in data.sentence
    draws = advise("rng/draws", ("rng/draws",), "", False)
    assert not draws.save and "last" in draws.sentence and "draw nothing" in draws.sentence
    assert "raises" in advise("run/exception", ("run/exception",), "", False).sentence
    params = advise("optimizer/group.0/params", ("optimizer/group.0/params",), "structure", False)
    assert "self.optimizer over the same parameters in the same order" in params.sentence
    assert "same settings" in advise("model/2/p", ("model/2/p",), "structure", False).sentence
