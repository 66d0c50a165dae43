"""The lines of an advice are run on a small run, and then what was lost is as it was."""

import collections
import copy
import dataclasses
import decimal
import functools
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.explain.advice.advice import advise
from dora_repro.state.flags import capture_flags, restore_flag
from dora_repro.state.snapshot import Snapshot, run_roots
from dora_repro.state.walk import walk


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


@pytest.fixture
def healed(tmp_path):
    return functools.partial(_healed, tmp_path / "state.pt")


LIBRARIES = {
    "collections": collections,
    "copy": copy,
    "dataclasses": dataclasses,
    "np": np,
    "random": random,
    "torch": torch,
}


def _healed(file, leaves, advice, first, other):
    """Run the lines of save on one run, and those of load on another with what torch.load makes of the file by
    default: which leaves are then equal?"""
    before = taken(first)
    state = {}
    for lines, run in ((advice.save, first), (advice.load, other)):
        if lines is advice.load:
            torch.save(state, file)
            state = torch.load(file, weights_only=True)
        for line in lines:
            exec(line, {**LIBRARIES, "self": run, "state": state})
        if run is first:
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


# Without kinds, a name that could be an attribute is taken for one, and what lies in a dict for a module's.
BARE = [case for case in CASES if not case[0].startswith(("best/", "ema/"))]
TRIED = [*((*case, True) for case in CASES), *((*case, False) for case in BARE)]


@pytest.mark.parametrize(
    "name, leaves, kinds", TRIED, ids=[f"{case[0]}{'' if case[2] else ', bare'}" for case in TRIED]
)
def test_the_lines_bring_back_what_was_lost(healed, name, leaves, kinds):
    other, first = Run(1), Run(0)
    if name == "scale/grad":
        first.scale.grad, other.scale.grad = torch.ones(2), torch.zeros(2)
    saved = taken(first)
    leaf = saved[leaves[0]]
    if name.startswith("rng/"):
        random.random(), np.random.random(), torch.rand(1)
    advice = advise(name, leaves, leaf.role, saved, kinds=None if kinds else {})
    assert advice.save and advice.load
    if not name.startswith("rng/"):  # of which both runs have the same
        assert taken(other)[leaves[0]].digest != leaf.digest
    assert healed(leaves, advice, first, other) == set(leaves)


@pytest.mark.parametrize("name", ["rng/python", "rng/numpy", "rng/torch.cpu"])
def test_a_global_generator_that_was_moved_between_is_put_back(name):
    run = Run()
    before = taken(run)[name]
    advice, state = advise(name, (name,), "generator"), {}
    names = {"torch": torch, "np": np, "random": random, "self": run, "state": state}
    exec("\n".join(advice.save), names)
    random.random(), np.random.random(), torch.rand(1)
    assert taken(run)[name].digest != before.digest
    exec("\n".join(advice.load), names)
    assert taken(run)[name].digest == before.digest
    assert "last, after everything that draws" in advice.sentence


def test_the_lines_for_a_device_name_it():
    advice = advise("rng/torch.cuda:1", ("rng/torch.cuda:1",), "generator")
    assert advice.save == ('state["rng/torch.cuda:1"] = torch.cuda.get_rng_state(1)',)
    assert advice.load == ('torch.cuda.set_rng_state(state["rng/torch.cuda:1"], 1)',)
    assert "mps.set_rng_state" in advise("rng/torch.mps", ("rng/torch.mps",), "generator").load[0]


def test_the_common_lines_are_those_that_people_write():
    advice = advise("optimizer/*/exp_avg", ("optimizer/0.weight/exp_avg",), "moment")
    assert advice.save == ('state["optimizer"] = self.optimizer.state_dict()',)
    assert advice.load == ('self.optimizer.load_state_dict(state["optimizer"])',)
    advice = advise("model/*.weight", ("model/0.weight",), "parameter")
    assert advice.load == ('self.model.load_state_dict(state["model"], strict=True)',)
    assert advise("feed/sampler/epoch", ("feed/sampler/epoch",), "memory").load == (
        'self.feed.sampler.epoch = state["feed/sampler/epoch"]',
    )


def test_modes_and_freezing_are_put_back(healed):
    run, other = Run(), Run()
    run.model[0].eval()
    run.model[2].weight.requires_grad_(False)
    for path in ("model/0/training", "model/2.weight/requires_grad"):
        advice = advise(path, (path,), "structure", taken(run))
        assert taken(other)[path].digest != taken(run)[path].digest
        assert healed((path,), advice, run, other) == {path}


def test_what_was_one_object_is_tied_again(healed):
    run, other = Run(), Run()
    run.model[2].weight = run.model[1].weight
    run.loader, other.loader = (Holder(generator=one.generator) for one in (run, other))
    other.loader.generator = torch.Generator()
    for path in ("model/2.weight", "loader/generator"):
        leaf = taken(run)[path]
        assert leaf.role == "alias" != taken(other)[path].role
        advice = advise(path, (path,), "alias", taken(run))
        assert healed((path,), advice, run, other) == {path}
        assert not advise(path, (path,), "alias").load  # nobody said with what


@pytest.mark.parametrize("held", [[1, 2], {"a": 1}, {3, 4}], ids=["list", "dict", "set"])
def test_what_others_hold_too_is_filled_anew_and_not_replaced(healed, held):
    """As an order that a sampler has: another list in its place would be nothing to the sampler."""
    run, other = Run(), Run()
    run.order, other.order = held, type(held)()
    other.sampler = Holder(order=other.order)
    leaves = tuple(path for path in taken(run) if path.startswith("order"))
    advice = advise("order", leaves, "memory", taken(run))
    assert healed(leaves, advice, run, other) == set(leaves)
    assert other.sampler.order is other.order
    lost = advise("order", leaves, "memory", taken(run), how="lost; not in the checkpoint")
    other.order = None
    assert healed(leaves, lost, run, other) == set(leaves)


def test_each_of_several_is_tied_to_its_own_and_a_copy_is_advised(healed):
    run, other = Run(), Run()
    run.best = dict(run.model.named_parameters())
    other.best = {name: value.detach().clone() for name, value in run.best.items()}
    leaves = ("best/0.weight", "best/2.bias")
    assert {taken(run)[path].role for path in leaves} == {"alias"}
    advice = advise("best", leaves, "alias", taken(run))
    assert healed(leaves, advice, run, other) == set(leaves)
    assert "copy.deepcopy" in advice.further[0]


def test_what_is_kept_by_parameter_is_kept_by_its_name(healed):
    run, other = Run(), Run(1)
    run.velocity = {parameter: torch.rand(parameter.shape) for parameter in run.model.parameters()}
    other.velocity = {}
    leaves = tuple(path for path in taken(run) if path.startswith("velocity/"))
    assert leaves[0] == "velocity/model.0.weight"
    assert healed(leaves, advise("velocity/*", leaves, "memory", taken(run)), run, other) == set(leaves)
    run.cache = {run.model: torch.ones(2), run.scale: torch.ones(3)}
    advice = advise("cache/scale", ("cache/scale",), "memory", taken(run))
    assert not advice.load and advice.sentence.startswith("Save self.cache by name: its keys are objects")


def test_moments_that_two_optimizers_share_are_called_so():
    run = Run()
    run.twin = torch.optim.AdamW(run.model.parameters())
    run.twin.load_state_dict(run.optimizer.state_dict())
    leaves = ("twin/0.weight/exp_avg", "twin/2.bias/exp_avg")
    assert {taken(run)[path].role for path in leaves} == {"alias"}
    advice = advise("twin/*/exp_avg", leaves, "alias", taken(run))
    assert not advice.load and "self.twin and self.optimizer step the very same tensors" in advice.sentence


class Nested:
    """Everything hangs on an object of the run, in a list, or in a dict; `seed` makes two that differ."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        block = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        block.register_buffer("scale", torch.rand(3), persistent=False)
        net = nn.ModuleDict({"body": block, "head": nn.Linear(3, 2)})
        optimizers = {
            "main": torch.optim.LBFGS(net.parameters(), 0.1 * (1 + seed), max_iter=3, history_size=2),
            "heads": None,
        }
        optimizers["heads"] = torch.optim.SGD(net["head"].parameters(), lr=0.1, momentum=0.9 - seed / 10)
        self.trainer = Holder(net=net, optimizers=optimizers, array=np.full(3, seed), scalar=np.float64(seed))
        self.plain = Holder(w=nn.Parameter(torch.rand(2)))
        self.linear = nn.Linear(2, 2)
        self.rng = np.random.default_rng(seed)
        self.nets = [nn.Linear(2, 2)]
        self.alone = torch.optim.SGD([nn.Parameter(torch.rand(2))], lr=0.1)
        for parameter in (self.plain.w, self.linear.weight, self.nets[0].weight):
            parameter.grad = torch.rand(parameter.shape)
        inputs = torch.rand(4, 3)
        for optimizer in optimizers.values():
            for _ in range(2):
                optimizer.step(lambda: self.loss(net, inputs))

    def loss(self, net, inputs):
        net.zero_grad()
        loss = net["head"](net["body"](inputs)).square().mean()
        loss.backward()
        return loss


NESTED = [
    ("trainer/net/body.0.weight", "trainer/net/head.bias"),
    ("trainer/net/body.scale",),
    ("trainer/net/body.0.weight/grad", "trainer/net/head.bias/grad"),
    ("trainer/optimizers/main/net.body.0.weight/prev_flat_grad",),
    ("trainer/optimizers/main/net.body.0.weight/old_dirs/0",),
    ("trainer/optimizers/main/group.0/lr",),
    ("trainer/optimizers/heads/net.head.weight/momentum_buffer",),
    ("trainer/optimizers/heads/group.0/momentum",),
    ("trainer/array",),
    ("trainer/scalar",),
    ("plain/w",),
    ("plain/w/grad",),
    ("linear/weight", "linear/bias"),
    ("linear/weight/grad",),
    ("run.rng",),
    ("nets/0/weight",),
    ("nets/0/weight/grad",),
    ("alone/group.0.params.0/parameter",),
    ("linear/weight", "linear/bias", "nets/0/weight", "plain/w"),  # of several modules, and of none
    ("trainer/optimizers/heads/group.0/momentum", "trainer/optimizers/main/group.0/lr"),
    ("linear/weight/grad", "nets/0/weight/grad", "plain/w/grad", "trainer/net/head.bias/grad"),
]


def test_a_deque_is_saved_as_a_list_and_made_again_with_its_bound(healed):
    deque = collections.deque
    first, other = (Holder(recent=deque([torch.ones(2) * n, n], maxlen=3), last=deque([n])) for n in (1, 2))
    saved = taken(first)
    other.recent = deque(other.recent)
    for name in ("recent", "last"):
        leaves = tuple(path for path in saved if path.partition("/")[0] == name)
        assert healed(leaves, advise(name, leaves, "memory", saved), first, other) == set(leaves)
    assert (other.recent.maxlen, other.last.maxlen) == (3, None)


@pytest.mark.parametrize("leaves", NESTED, ids=lambda leaves: leaves[0])
def test_objects_are_addressed_wherever_they_hang(healed, leaves):
    first, other = Nested(0), Nested(1)
    saved = taken(first)
    assert taken(other)[leaves[0]].digest != saved[leaves[0]].digest
    advice = advise(leaves[0], leaves, saved[leaves[0]].role, saved)
    assert healed(leaves, advice, first, other) == set(leaves)


@pytest.mark.parametrize(
    "leaves",
    [
        ("trainer/net/training", "trainer/net/body/training"),
        ("trainer/net/body.1/training",),
        ("trainer/net/body.0/training", "trainer/net/body.1/training"),
        ("trainer/net/head.bias/requires_grad", "trainer/net/body.0.bias/requires_grad"),
        ("linear/training",),
        ("linear/bias/requires_grad",),
        ("linear/training", "trainer/net/body/training", "nets/0/training"),
        ("linear/bias/requires_grad", "nets/0/bias/requires_grad", "trainer/net/head.bias/requires_grad"),
    ],
    ids=lambda leaves: leaves[0],
)
def test_modes_are_put_back_wherever_the_module_hangs(healed, leaves):
    first, other = Nested(), Nested()
    live = walk(run_roots(first))
    for path in leaves:
        live[path].put(False)
    saved = taken(first)
    assert all(taken(other)[path].digest != saved[path].digest for path in leaves)
    advice = advise(leaves[0], leaves, "structure", saved)
    assert healed(leaves, advice, first, other) == set(leaves)


def test_a_module_inside_is_tied_again_by_its_place(healed):
    first, other = Nested(), Nested()
    first.trainer.net["body"][1] = first.trainer.net["body"][0]
    saved, path = taken(first), "trainer/net/body.1"
    assert saved[path].role == "alias"
    advice = advise(path, (path,), "alias", saved)
    assert healed((path,), advice, first, other) == {path}


def test_the_words_of_the_audits_add_what_lines_do_not_mend():
    leaf = ("optimizer/0.weight/exp_avg",)
    plain = advise(leaf[0], leaf, "moment")
    for how, said in (
        ("recast: f32[3] became bf16[3]", "the dtype it was trained in"),
        ("reshaped: f32[3, 1] became f32[1, 3]", "the shapes that it was trained with"),
        ("misplaced: it holds what `optimizer/1.weight/exp_avg` had", "in the same order"),
        ("in the checkpoint with other values than the run had", "Save after all that changes it"),
        ("in the checkpoint in another dtype (bf16)", "in its own dtype"),
        ("re-initialised: all zeros", "after the adapter was made"),
    ):
        advice = advise(leaf[0], leaf, "moment", how=how)
        assert said in " ".join(advice.further)
        assert (advice.save, advice.load, advice.sentence) == (plain.save, plain.load, plain.sentence)
    assert advise(leaf[0], leaf, "moment", how="lost; not in the checkpoint") == plain


def test_a_generator_whose_state_torch_does_not_read_by_default_is_told():
    run = Run()
    run.wide = np.random.Generator(np.random.Philox(1))
    saved = taken(run)
    assert "weights_only=False" in advise("wide", ("wide",), "generator", saved).sentence
    assert "weights_only" not in advise("augment", ("augment",), "generator", saved).sentence


FLAGS = sorted(path for path in Snapshot.capture({}) if path.startswith("flags/"))


@pytest.fixture
def flags_put_back():
    before = capture_flags()
    yield
    torch.set_default_device(None)  # a default device set to what it was is a mode of torch's all the same
    for name, value in before.items():
        if capture_flags()[name] != value:
            restore_flag(name, value)


@pytest.mark.parametrize("path", FLAGS)
def test_a_flag_is_read_and_set(path, flags_put_back):
    advice = advise(path, (path,), "flag")
    before, state = Snapshot.capture({})[path].digest, {}
    for line in (*advice.save, *advice.load):
        try:
            exec(line, {"torch": torch, "decimal": decimal, "state": state})
        except RuntimeError as error:  # torch will not read an old switch that a new one has overruled
            assert "fp32_precision" in str(error) or "TF32" in str(error) or "tf32" in str(error)
    assert Snapshot.capture({})[path].digest == before
    assert advice.sentence


def test_threads_are_set_as_they_were():
    advice, state, before = advise("flags/torch.num_threads", ("flags/torch.num_threads",), "flag"), {}, None
    before = torch.get_num_threads()
    exec(advice.save[0], {"torch": torch, "state": state})
    torch.set_num_threads(before + 1)
    exec(advice.load[0], {"torch": torch, "state": state})
    assert torch.get_num_threads() == before


def test_causes_that_are_no_state_have_advice_too():
    run = Holder(feed={"train": torch.utils.data.DataLoader([1, 2])})
    assert "the number of batches used" in advise("data/iterators", (), "", taken(run)).sentence
    draws = advise("rng/draws", ("rng/draws",), "")
    assert not draws.save and "last" in draws.sentence and "draw nothing" in draws.sentence
    assert "raises" in advise("run/exception", ("run/exception",), "").sentence
    params = advise("optimizer/group.0/params", ("optimizer/group.0/params",), "structure")
    assert "self.optimizer over the same parameters in the same order" in params.sentence
    assert "same settings" in advise("model/2/p", ("model/2/p",), "structure").sentence


@dataclasses.dataclass(frozen=True)
class Progress:
    step: int = 0
    best: float = math.inf
    doubled: int = dataclasses.field(init=False, default=0)


def test_a_frozen_dataclass_is_made_anew(healed):
    run, other = Run(), Run()
    run.progress, other.progress = Progress(3, 0.5), Progress()
    object.__setattr__(run.progress, "doubled", 6)
    for leaves in (("progress/step",), ("progress/best", "progress/step"), ("progress/doubled",)):
        advice = advise("progress", leaves, "memory", taken(run))
        assert healed(leaves, advice, run, other) == set(leaves)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([(1, 2.5), (3, 4.5)], dtype=[("x", "i4"), ("y", "f8")]),
        np.array([["2026-01-01", "2026-01-02"]], dtype="datetime64[D]"),
        np.array(["a", "bcd"]),
        np.arange(4, dtype=">f4").reshape(2, 2),
    ],
    ids=["records", "dates", "text", "another byte order"],
)
def test_an_array_of_a_dtype_that_torch_lacks_is_saved_as_bytes(healed, rows):
    run, other = Run(), Run()
    run.rows, other.rows = rows, np.zeros_like(rows)
    assert healed(("rows",), advise("rows", ("rows",), "memory", taken(run)), run, other) == {"rows"}
    other.rows = np.zeros(3)
    assert healed(("rows",), advise("rows", ("rows",), "memory", taken(run), loaded=taken(other)), run, other)


def test_an_array_that_loading_has_cast_is_replaced(healed):
    run, other = Run(), Run()
    run.rows, other.rows = np.linspace(0, 1, 5), np.zeros(5, dtype="f4")
    advice = advise("rows", ("rows",), "memory", taken(run), loaded=taken(other))
    assert healed(("rows",), advice, run, other) == {"rows"}
