"""A walk over torch's objects: what `state_dict()` admits and what it does not, by names that a reader knows."""

import copy
import functools
import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as lrs
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils import data

from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk
from tests import runs
from tests.state.worlds import changed, digests, look


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def step(model, optimizer, inputs=None) -> None:
    optimizer.zero_grad()
    model(torch.ones(5, 3) if inputs is None else inputs).pow(2).sum().backward()
    optimizer.step()


def roles(**roots) -> dict[str, str]:
    return {path: leaf.role for path, leaf in walk(roots).items()}


# --- modules -----------------------------------------------------------------------------------------------------


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.bn = nn.BatchNorm1d(2)
        self.register_buffer("kept", torch.zeros(1))
        self.register_buffer("dropped", torch.zeros(1), persistent=False)
        self.register_buffer("none", None)
        self.register_parameter("absent", None)
        self.alone = nn.Parameter(torch.ones(1))
        self.plain = torch.zeros(2)
        self.calls = 0
        self.noise = torch.Generator()
        self.history = []
        self.inside = {"head": nn.Linear(2, 1)}


def test_a_module_is_read_whole_and_named_as_its_parameters_are():
    module = Everything()
    found = roles(model=module)
    assert {name for name, role in found.items() if role == "parameter"} == {
        f"model/{name}" for name, _ in module.named_parameters()
    } | {"model/inside/head/weight", "model/inside/head/bias"}
    assert {name for name, role in found.items() if role == "buffer"} == {
        f"model/{name}" for name, _ in module.named_buffers()
    }
    assert "model/dropped" in found and "model/none" not in found and "model/absent" not in found
    assert found["model/noise"] == "generator"
    assert {"model/calls", "model/history", "model/plain", "model/training", "model/bn/training"} <= found.keys()
    assert found["model/layer.weight/requires_grad"] == "structure"


CHANGES = {
    "model/layer.weight": lambda m: m.layer.weight.data.add_(1),
    "model/layer.weight/grad": lambda m: setattr(m.layer.weight, "grad", torch.ones(2, 2)),
    "model/layer.weight/requires_grad": lambda m: m.layer.weight.requires_grad_(False),
    "model/bn/training": lambda m: m.bn.eval(),
    "model/bn/momentum": lambda m: setattr(m.bn, "momentum", 0.5),
    "model/bn.num_batches_tracked": lambda m: m.bn.num_batches_tracked.add_(1),
    "model/dropped": lambda m: m.dropped.add_(1),
    "model/none": lambda m: setattr(m, "none", torch.zeros(1)),
    "model/plain": lambda m: m.plain.add_(1),
    "model/calls": lambda m: setattr(m, "calls", 1),
    "model/noise": lambda m: torch.rand(1, generator=m.noise),
    "model/history": lambda m: m.history.append(1.0),
    "model/inside/head/weight": lambda m: m.inside["head"].weight.data.neg_(),
    "model/layer/forward_hooks.0/name": lambda m: m.layer.register_forward_hook(len_hook),
}


def len_hook(module, args, output):
    return None


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=CHANGES)
def test_a_change_of_any_kind_shows_where_it_is_and_nowhere_else(path, change):
    module = Everything()
    assert changed({"model": module}, lambda: change(module)) == {path}


def test_tied_weights_are_one_leaf_with_two_names():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    model["head"].weight = model["embedding"].weight
    found = look(model=model)
    assert found["model/head.weight"] == "= model/embedding.weight"
    tied = {"model": model}

    def untie():
        model["head"].weight = nn.Parameter(model["head"].weight.detach().clone())

    assert changed(tied, untie) == {"model/head.weight", "model/head.weight/requires_grad"}


def test_a_submodule_under_two_names_and_a_module_inside_itself():
    model = nn.Module()
    model.one = nn.Linear(2, 2)
    model.two = model.one
    model.me = [model]
    model.add_module("loop", model)
    found = look(model=model)
    assert found["model/two"] == "= model/one" and found["model/loop"] == "= model" and found["model/me/0"] == "= model"
    assert "model/two.weight" not in found


def test_the_widest_module_names_and_its_parts_are_aliases_of_it():
    model = mlp()
    found = look(a_part=model[0], weight=model[0].weight, model=model, parts=[model[2]], wrapped={"inner": model})
    assert found["a_part"] == "= model/0" and found["parts/0"] == "= model/2" and found["wrapped/inner"] == "= model"
    assert found["weight"] == "= model/0.weight"


def test_modules_in_lists_and_deep_inside_objects_give_names_to_optimizers():
    models = [mlp(), mlp()]
    optimizer = torch.optim.SGD([p for m in models for p in m.parameters()], lr=0.1, momentum=0.9)
    for model in models:
        step(model, optimizer)
    found = look(run={"trainer": {"models": models}}, optimizer=optimizer)
    assert "optimizer/trainer.models.0.0.weight/momentum_buffer" in found
    assert sum(path.endswith("momentum_buffer") for path in found) == 8


def test_names_with_dots_and_slashes_stay_whole():
    model = nn.Module()
    model.add_module("a/b", nn.Linear(1, 1, bias=False))
    assert {"model/a~1b.weight", "model/a~1b/training"} <= look(model=model).keys()


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")  # torch, of making one
def test_lazy_modules_are_read_before_and_after_they_are_made():
    model = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    before = walk({"model": model})
    assert before["model/0.weight"].value == "uninitialized UninitializedParameter"
    assert before["model/1.running_mean"].value == "uninitialized UninitializedBuffer"
    model(torch.ones(3, 4))
    after = walk({"model": model})
    assert after["model/0.weight"].value.shape == (2, 4)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")  # still in use
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
    ids=lambda wrap: f"{wrap.__module__.rpartition('.')[2]}.{wrap.__name__}",
)
def test_reparametrised_layers_are_read_without_computing_them(wrap):
    torch.manual_seed(0)
    layer = wrap(nn.Linear(3, 4))
    names = {f"model/{name}" for name, _ in (*layer.named_parameters(), *layer.named_buffers())}
    before = digests({"model": layer})
    assert names <= before.keys()
    assert digests({"model": layer}) == before, "a power iteration would move its vectors"
    layer(torch.ones(2, 3))
    if "spectral" in wrap.__name__:
        assert digests({"model": layer}) != before


MODULES = {
    "lstm": lambda: nn.LSTM(2, 3, 2, bidirectional=True),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2),
    "lists": lambda: nn.ModuleList([nn.ParameterList([nn.Parameter(torch.ones(1)), torch.zeros(1)])]),
    "dicts": lambda: nn.ParameterDict({"a": nn.Parameter(torch.ones(1)), "b": torch.zeros(2)}),
    "traced": lambda: torch.fx.symbolic_trace(mlp()),
    "averaged": lambda: AveragedModel(mlp(), multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    "quantized-aware": lambda: nn.Sequential(nn.Embedding(3, 2, padding_idx=0), nn.EmbeddingBag(3, 2)),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_modules_of_torch_are_read_with_all_their_tensors(make):
    module = make()
    found = walk({"model": module})
    names = [f"model/{name}" for name, _ in (*module.named_parameters(), *module.named_buffers())]
    assert names and all(name in found for name in names)
    assert digests({"model": copy.deepcopy(module)}) == digests({"model": module})
    tensors = {path: leaf.value for path, leaf in found.items() if isinstance(leaf.value, torch.Tensor)}
    name = names[0]
    assert changed({"model": module}, lambda: tensors[name].data.add_(1)) == {name}


def test_a_compiled_module_is_read_without_the_compiler():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, of making them
        compiled, function = torch.compile(mlp()), torch.compile(len_hook)
    found = walk({"model": compiled, "function": function})
    rest = {path for path in found if not path.startswith("model/_orig_mod")}
    assert rest == {"model/training", "function/name", "function/compiled/name"}
    assert "model/_orig_mod.0.weight" in found and not found.uncaptured


def test_a_module_that_is_copied_from_another_is_no_alias():
    model = mlp()
    found = look(
        model=model, ema=copy.deepcopy(model), shadow={n: p.detach().clone() for n, p in model.named_parameters()}
    )
    assert not any(isinstance(value, str) and value.startswith("= ") for value in found.values())


# --- optimizers --------------------------------------------------------------------------------------------------


def test_optimizer_state_is_named_by_parameter_with_all_options_of_all_groups():
    model = mlp()
    groups = [{"params": [model[2].weight, model[0].bias]}, {"params": [model[0].weight], "lr": 0.5, "name": "slow"}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    step(model, optimizer)
    found = look(model=model, optimizer=optimizer)
    assert found["optimizer/group.0/params"] == ["2.weight", "0.bias"]
    assert found["optimizer/group.1/params"] == ["0.weight"]
    assert found["optimizer/group.1/lr"] == 0.5 and found["optimizer/group.1/name"] == "slow"
    assert found["optimizer/group.0/betas"] == found["optimizer/group.1/betas"] == (0.9, 0.999)
    states = {path for path in found if path.endswith("/exp_avg")}
    assert states == {f"optimizer/{name}/exp_avg" for name in ("2.weight", "0.bias", "0.weight")}
    assert found["optimizer/0.weight/exp_avg"] is optimizer.state[model[0].weight]["exp_avg"]


def test_groups_that_share_their_default_options_are_the_same_after_loading():
    """Two groups hold one tuple of betas; loaded from a file they hold two. The identity of a tuple means nothing."""

    def made():
        model = mlp()
        groups = [{"params": [*model[0].parameters()]}, {"params": [*model[2].parameters()]}]
        return model, torch.optim.AdamW(groups)

    torch.manual_seed(0)
    model, optimizer = made()
    step(model, optimizer)
    other_model, other = made()
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    one, two = digests({"optimizer": optimizer, "model": model}), digests({"optimizer": other, "model": other_model})
    assert {path for path in one if one[path] != two.get(path)} == {path for path in one if path.endswith("/grad")}


def test_several_optimizers_on_several_modules_with_equal_names():
    generator, critic = mlp(), mlp()
    one, two = torch.optim.Adam(generator.parameters()), torch.optim.Adam(critic.parameters())
    both = torch.optim.SGD([*generator.parameters(), *critic.parameters()], lr=1, momentum=0.9)
    for model, optimizer in ((generator, one), (critic, two), (generator, both), (critic, both)):
        step(model, optimizer)
    found = look(generator=generator, critic=critic, one=one, two=two, both=both)
    assert {"one/0.weight/exp_avg", "two/0.weight/exp_avg"} <= found.keys()
    assert {"both/generator.0.weight/momentum_buffer", "both/critic.0.weight/momentum_buffer"} <= found.keys()


def test_parameters_outside_of_any_module():
    weights = [torch.zeros(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    optimizer = torch.optim.Adam(weights)
    sum(weight.sum() for weight in weights).backward()
    optimizer.step()
    alone = roles(optimizer=optimizer)
    assert alone["optimizer/group.0.params.1/parameter"] == "parameter"
    assert alone["optimizer/group.0.params.1/parameter/grad"] == "gradient"
    assert "optimizer/group.0.params.1/exp_avg" in alone
    held = look(optimizer=optimizer, run={"weights": weights})
    assert {"run/weights/0", "run/weights/0/grad", "run/weights/0/requires_grad"} <= held.keys()
    assert held["optimizer/group.0/params"] == ["run.weights.0", "run.weights.1"]
    assert "optimizer/run.weights.1/exp_avg" in held


def test_an_optimizer_that_steps_other_tensors_than_the_model_uses_shows():
    model, stale = mlp(), mlp()
    found = look(model=model, optimizer=torch.optim.SGD(stale.parameters(), lr=1))
    assert found["optimizer/group.0/params"] == [f"group.0.params.{index}" for index in range(4)]
    assert "optimizer/group.0.params.0/parameter" in found


def test_an_optimizer_without_state_yet_has_no_moments():
    model = mlp()
    found = look(model=model, optimizer=torch.optim.AdamW(model.parameters()))
    assert not any("exp_avg" in path for path in found)


class Wrapper(torch.optim.Optimizer):
    """As accelerators wrap an optimizer: everything is handed through."""

    def __init__(self, inner):
        self.optimizer = inner
        self.steps = 0

    param_groups = property(lambda self: self.optimizer.param_groups)
    state = property(lambda self: self.optimizer.state)
    defaults = property(lambda self: self.optimizer.defaults)


class Lookahead:
    """Holds the live groups, or those of before the optimizer was loaded."""

    def __init__(self, inner):
        self.inner, self.param_groups, self.k = inner, inner.param_groups, 5


def test_a_wrapper_that_hands_everything_through_is_an_alias():
    model = mlp()
    inner = torch.optim.AdamW(model.parameters())
    step(model, inner)
    found = look(model=model, optimizer=Wrapper(inner))
    assert found["optimizer/optimizer/param_groups"] == "= optimizer/param_groups"
    assert found["optimizer/optimizer/state"] == "= optimizer/state" and found["optimizer/steps"] == 0
    assert sum(path.endswith("exp_avg") for path in found) == 4


def test_whether_a_wrapper_holds_the_live_groups_shows():
    model = mlp()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    roots = {"model": model, "optimizer": inner, "wrapper": Lookahead(inner)}
    assert look(**roots)["wrapper/param_groups"] == "= optimizer/param_groups"
    paths = changed(roots, lambda: inner.load_state_dict(inner.state_dict()))
    assert "wrapper/param_groups" in paths and "wrapper/param_groups/0/lr" in paths
    assert not any(path.startswith("optimizer/") for path in paths)


def test_a_copied_list_of_the_live_groups_is_told_from_copied_groups():
    model = mlp()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    held = {"groups": list(inner.param_groups)}
    found = look(model=model, optimizer=inner, held=held)
    assert found["held/groups/0"] == "= optimizer/group.0"


def test_other_optimizers_keep_what_they_hold():
    for make in (
        lambda p: torch.optim.LBFGS(p, max_iter=2),
        lambda p: torch.optim.Rprop(p),
        lambda p: torch.optim.ASGD(p),
        lambda p: torch.optim.Adafactor(p),
        lambda p: torch.optim.NAdam(p),
        lambda p: torch.optim.RAdam(p),
        lambda p: torch.optim.Adamax(p),
    ):
        model = mlp()
        optimizer = make(list(model.parameters()))

        def closure(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(torch.ones(5, 3)).pow(2).sum()
            loss.backward()
            return loss

        assert changed({"model": model, "optimizer": optimizer}, lambda: optimizer.step(closure))  # noqa: B023  # called at once
        paths = changed({"model": model, "optimizer": optimizer}, lambda: optimizer.step(closure))  # noqa: B023  # called at once
        assert any(path.startswith("optimizer/0.weight/") for path in paths), type(optimizer)


# --- schedulers and scalers --------------------------------------------------------------------------------------


def warmup(step, floor=0.1):
    return max(floor, step / 10)


SCHEDULERS = {
    "lambda": lambda o: lrs.LambdaLR(o, warmup),
    "closure": lambda o: lrs.LambdaLR(o, (lambda scale: lambda step: scale / (1 + step))(0.5)),
    "multiplicative": lambda o: lrs.MultiplicativeLR(o, functools.partial(warmup, floor=0.2)),
    "step": lambda o: lrs.StepLR(o, 2),
    "multistep": lambda o: lrs.MultiStepLR(o, [2, 4]),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, 10),
    "restarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 3),
    "onecycle": lambda o: lrs.OneCycleLR(o, 0.1, total_steps=20),
    "cyclic": lambda o: lrs.CyclicLR(o, 0.01, 0.1),
    "sequential": lambda o: lrs.SequentialLR(o, [lrs.ConstantLR(o), lrs.ExponentialLR(o, 0.9)], [2]),
    "chained": lambda o: lrs.ChainedScheduler([lrs.LinearLR(o), lrs.ExponentialLR(o, 0.9)]),
    "plateau": lambda o: lrs.ReduceLROnPlateau(o, patience=1),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_what_a_scheduler_holds_is_found_and_comes_back_by_its_own_state_dict(make):
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    roots = {"model": model, "optimizer": optimizer, "scheduler": scheduler}

    def advance():
        optimizer.step()
        scheduler.step(*([1.0] if isinstance(scheduler, lrs.ReduceLROnPlateau) else []))

    assert any(path.startswith("scheduler/") for path in changed(roots, advance))
    assert look(**roots)["scheduler/optimizer"] == "= optimizer" or "chained" in str(make)
    other = torch.optim.SGD(mlp().parameters(), lr=0.1, momentum=0.9)
    again = make(other)
    other.load_state_dict(optimizer.state_dict())
    again.load_state_dict(copy.deepcopy(scheduler.state_dict()))

    def of(held, scheduler):
        return {p: d for p, d in digests({"o": held, "scheduler": scheduler}).items() if p.startswith("scheduler/")}

    assert of(optimizer, scheduler) == of(other, again)


def test_cosine_annealing_computes_with_a_counter_that_others_only_warn_with():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    found = look(cosine=lrs.CosineAnnealingLR(optimizer, 5), step=lrs.StepLR(optimizer, 5))
    assert "cosine/_step_count" in found and "step/_step_count" not in found


def test_a_gradient_scaler_has_the_same_leaves_before_and_after_first_use():
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1)
    before = look(scaler=scaler)
    assert before["scaler/scale"] == 64.0 and before["scaler/growth_tracker"] == 0
    model, optimizer = (m := mlp()), torch.optim.SGD(m.parameters(), lr=0.1)
    scaler.scale(model(torch.ones(2, 3)).sum()).backward()
    assert look(scaler=scaler) == before
    scaler.step(optimizer), scaler.update()
    assert {p for p, v in look(scaler=scaler).items() if v != before[p]} == {"scaler/scale"}
    assert look(scaler=torch.amp.GradScaler("cpu", enabled=False)) == {"scaler/enabled": False}


# --- data --------------------------------------------------------------------------------------------------------


class Noisy(data.Dataset):
    def __init__(self):
        self.samples = [torch.zeros(1)] * 3
        self.rng = torch.Generator()
        self.epoch = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.samples[index] + torch.rand(1, generator=self.rng)


class Stream(data.IterableDataset):
    def __init__(self):
        self.position = 0

    def __iter__(self):
        while self.position < 5:
            self.position += 1
            yield self.position


def test_a_loader_is_read_down_to_its_generator_sampler_and_dataset():
    generator = torch.Generator().manual_seed(1)
    loader = data.DataLoader(data.Subset(Noisy(), [2, 0]), batch_size=2, shuffle=True, generator=generator)
    found = walk({"loader": loader})
    assert found["loader/generator"].role == "generator"
    assert found["loader/sampler/generator"].value == "= loader/generator"
    assert found["loader/dataset/indices"].value == [2, 0] and found["loader/dataset/indices"].role == "data"
    assert found["loader/dataset/dataset/rng"].role == "generator"
    assert changed({"loader": loader}, lambda: list(loader)) == {"loader/generator", "loader/dataset/dataset/rng"}


def test_samplers_keep_their_epoch_and_their_order():
    samplers = {
        "distributed": data.DistributedSampler(range(6), 2, 0, seed=3),
        "weighted": data.WeightedRandomSampler([0.5, 0.5], 2, generator=torch.Generator()),
        "subset": data.SubsetRandomSampler([3, 1, 2]),
    }
    found = look(**samplers)
    assert found["distributed/epoch"] == 0 and found["subset/indices"] == [3, 1, 2]
    assert changed(samplers, lambda: samplers["distributed"].set_epoch(2)) == {"distributed/epoch"}
    assert changed(samplers, lambda: list(samplers["weighted"])) == {"weighted/generator"}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_iterator_of_a_loader_is_listed_with_its_position(workers):
    loader = data.DataLoader(Noisy(), num_workers=workers)
    iterator = iter(loader)
    next(iterator)
    assert walk({"it": iterator}).uncaptured == {"it": "loader iterator after 1 batches"}
    assert "it" not in walk({"it": iterator})
    assert len(list(iterator)) == 2


def test_what_moves_in_a_dataset_is_watched_and_its_samples_are_not():
    dataset = Noisy()
    found = walk({"set": dataset, "stream": (stream := Stream())}, moving_only=True)
    assert found.keys() == {"set/rng", "set/epoch", "stream/position"}
    next(iter(stream))
    assert look(stream=stream)["stream/position"] == 1


# --- only what moves ---------------------------------------------------------------------------------------------

RUNS = [runs.Plain, runs.Loader, runs.Ema, runs.BatchNormSgd, runs.PrivateGenerators, runs.Tied, runs.Counters]


@pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)
def test_the_short_walk_has_all_that_moves_but_parameters_and_gradients(make):
    run = make()
    run.step()

    def moved(moving_only):
        found = walk(vars(run), moving_only=moving_only)
        return {path: leaf.digest for path, leaf in found.items() if leaf.role not in ("parameter", "gradient")}

    whole, short = moved(False), moved(True)
    assert short.items() <= whole.items()
    run.step()
    after = moved(False)
    changes = {path for path in after if after[path] != whole.get(path)}
    assert changes and changes <= short.keys() | {path for path in after if path.startswith("ema/")}
    later = moved(True)
    assert {path for path in later if later[path] != short.get(path)} == {p for p in changes if p in later}


def test_the_short_walk_makes_no_setters():
    run = runs.Loader()
    run.step()
    assert all(leaf.put is None and leaf.hold is None for leaf in walk(vars(run), moving_only=True).values())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.LBFGS])
def test_the_machinery_of_every_optimizer_is_known_as_such(kind):
    from dora_repro.state.torch_objects import _OPTIMIZER_PLUMBING

    optimizer = kind([torch.nn.Parameter(torch.zeros(2))])
    machinery = {name for name in vars(optimizer) if "hook" in name or name.startswith(("_zero", "_warned"))}
    assert machinery and machinery <= _OPTIMIZER_PLUMBING


def test_a_walk_keeps_nothing_alive_that_the_run_lets_go():
    import gc
    import weakref

    model = torch.nn.Linear(2, 1)
    roots = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": iter(torch.utils.data.DataLoader(range(4))),
    }
    alive = weakref.ref(roots["batches"])
    gc.collect()
    gc.disable()
    try:
        walk(roots)
        Snapshot.capture(roots)
        del roots["batches"]
        assert alive() is None
    finally:
        gc.enable()
