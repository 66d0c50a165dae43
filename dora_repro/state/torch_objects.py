"""How a walk reads the classes of torch: modules, optimizers, schedulers, scalers, loaders and samplers.

Each reader says which attributes are state and which are plumbing (queues, caches, wrapped methods), which is left out
on purpose. Optimizer state is named by parameter, never by position.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.nn import Module
from torch.nn.utils.prune import BasePruningMethod
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import (
    COMPILER,
    COMPILER_PACKAGES,
    LIVE_ITERATOR,
    MODULE_CACHES,
    OPTIMIZER_MACHINERY,
    PRUNED_NAME,
    SCALER_COUNT,
    SCALER_SCALE,
    SCHEDULER_COUNTERS,
    SCHEDULER_MACHINERY,
    LoaderIterator,
    batches_yielded,
    buffers_of,
    modules_of,
    parameters_of,
)
from dora_repro.state.assign import Setter
from dora_repro.state.attributes import GENERATORS, attributes_of, comes_from
from dora_repro.state.keys import key_text
from dora_repro.state.leaves import Leaves
from dora_repro.state.walker import OPTIMIZER_PARTS, Reader, Walker

Group: TypeAlias = dict[str, Any]
"""One of an optimizer's groups: `params`, and options by name."""

LOADER_ITERATOR = "loader iterator"  # as it is listed among what cannot be captured

# Attributes of every Module that hold the machinery, or are read below by other means.
_MODULE_PLUMBING = frozenset(vars(Module())) | MODULE_CACHES
_OPTIMIZER_PLUMBING = OPTIMIZER_MACHINERY | {"state", "param_groups", "defaults", "step"}
_SCHEDULER_PLUMBING = SCHEDULER_MACHINERY | {"verbose", "optimizer"}
_LOADER_STATE = (
    "generator", "sampler", "batch_sampler", "batch_size", "drop_last", "num_workers", "persistent_workers",
    "prefetch_factor", "collate_fn", "worker_init_fn", "dataset",
)  # fmt: skip
_EMPTY_LOADER: DataLoader[int] = DataLoader([0])  # type: ignore[arg-type]  # any sequence will do


# --- modules -----------------------------------------------------------------------------------------------------


def read_module(walker: Walker, module: Module, path: str, hold: Setter, role: str) -> None:
    """A root module with everything below it, named as `named_parameters` names it."""
    walker.result.modules[path] = module
    _module(walker, module, path, "", path, "structure" if role == "memory" else role)


def _module(walker: Walker, module: Module, root: str, prefix: str, at: str, role: str) -> None:
    """`prefix` is the dotted name below the root with a dot at its end, `at` the module's own path."""
    for name, parameter in parameters_of(module).items():
        if parameter is not None:
            path = f"{root}/{prefix}{key_text(name)}"
            walker.result.parameter_names.setdefault(id(parameter), path)
            walker.tensor(parameter, path, walker.setter(_hold_parameter, module, name), "parameter")
    buffers = buffers_of(module)
    for name, buffer in buffers.items():
        if buffer is not None:
            put = walker.setter(buffers.__setitem__, name)
            walker.visit(buffer, f"{root}/{prefix}{key_text(name)}", put, "buffer")
    if not walker.moving_only:
        walker.leaf(f"{at}/training", module.training, "structure", partial(setattr, module, "training"))
        if not comes_from(type(module), (COMPILER,)):  # a compiled module: what it compiled is below it
            walker.attributes(module, at, role, _MODULE_PLUMBING)
    walker.hooks(module, at)
    modules = modules_of(module)
    for name, inner in modules.items():
        if inner is None:
            continue
        below = f"{prefix}{key_text(name)}"
        at = f"{root}/{below}"
        put = walker.setter(modules.__setitem__, name)
        if not walker.alias(inner, at, put):
            walker.result.objects[at] = inner
            _module(walker, inner, root, f"{below}.", at, role)


def read_pruning(walker: Walker, value: BasePruningMethod, path: str, hold: Setter, role: str) -> None:
    """What multiplies a weight by its mask: the mask is the module's, and how it was made is history."""
    name: str = value.__dict__.get(PRUNED_NAME, "")
    walker.leaf(f"{path}/{PRUNED_NAME}", name, "structure", walker.setter(setattr, value, PRUNED_NAME))


def _hold_parameter(module: Module, name: str, value: Value) -> None:
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        before = parameters_of(module)[name]
        value = torch.nn.Parameter(value, value.is_floating_point() and before is not None and before.requires_grad)
    setattr(module, name, value)


# --- optimizers --------------------------------------------------------------------------------------------------


def read_optimizer(walker: Walker, optimizer: Optimizer, path: str, hold: Setter, role: str) -> None:
    """Its groups and state by name of parameter, and whatever else it holds."""
    # Seen through a wrapper or a scheduler, the groups and the state may be the live ones or an old copy.
    own_groups, own_state = (_is_own(walker, optimizer, path, name) for name in OPTIMIZER_PARTS)
    walker.result.optimizers[path] = optimizer
    walker.attributes(optimizer, path, skip=_OPTIMIZER_PLUMBING)
    walker.hooks(optimizer, path)
    if own_groups or own_state:
        known = walker.result.parameter_names
        work = partial(_optimizer_by_name, walker, optimizer, path, own_groups, own_state)
        if all(id(parameter) in known for group in optimizer.param_groups for parameter in group["params"]):
            work()
        else:
            walker.later(work)


def _is_own(walker: Walker, optimizer: Optimizer, path: str, name: str) -> bool:
    """Whether an optimizer's groups, or its state, were met nowhere before."""
    at, value, hold = f"{path}/{name}", getattr(optimizer, name), walker.setter(setattr, optimizer, name)
    walker.result.others[at] = value
    if walker.path_of(value) != at and walker.alias(value, at, hold):
        return False
    walker.result.holds[at] = hold
    return True


def make_own(optimizer: Optimizer, name: str) -> None:
    """Give an optimizer groups, or a state, of its own in place of those that it shares with another.

    The groups are copies; the state is empty, and the moments that are wanted in it are put there one by one.

    Args:
        optimizer: any.
        name: one of `OPTIMIZER_PARTS`.
    """
    if name == "param_groups":
        optimizer.param_groups = [{**group, "params": [*group["params"]]} for group in optimizer.param_groups]
    else:
        optimizer.state = defaultdict(dict)


def _optimizer_by_name(walker: Walker, optimizer: Optimizer, path: str, own_groups: bool, own_state: bool) -> None:
    names = name_parameters(walker, optimizer, path)
    for index, group in enumerate(optimizer.param_groups if own_groups else ()):
        at = f"{path}/group.{index}"
        if walker.alias(group, at, walker.setter(optimizer.param_groups.__setitem__, index)):
            continue
        walker.result.objects[at] = group
        stepped = [names[id(parameter)] for parameter in group["params"]]
        step = partial(_put_params, weakref.ref(walker.result), optimizer, group)  # which holds this leaf
        walker.leaf(f"{at}/params", stepped, "structure", step)
        for option, value in group.items():
            if option != "params":
                put = walker.setter(group.__setitem__, option)
                walker.visit(value, f"{at}/{key_text(option)}", put, "option")
    if not own_state:
        return
    unknown = 0
    for key, state in optimizer.state.items():
        name = names.get(id(key))
        if name is None:
            name = f"unknown parameter.{unknown}" if isinstance(key, torch.Tensor) else key_text(key)
            unknown += 1
        walker.visit(state, f"{path}/{name}", walker.setter(optimizer.state.__setitem__, key), "moment")
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter not in optimizer.state:
                at = f"{path}/{names[id(parameter)]}"
                walker.result.objects.setdefault(at, AbsentState(optimizer, parameter))


class AbsentState:
    """In place of the state of a parameter for which its optimizer has none: filled in when a leaf is put back."""

    def __init__(self, optimizer: Optimizer, parameter: torch.Tensor):
        self._optimizer, self._parameter = optimizer, parameter

    def put(self, name: str, value: Value) -> None:
        """Add one entry; a tensor goes to the parameter's device, but for a step count that lives on the host."""
        groups = self._optimizer.param_groups
        group = next(group for group in groups if any(p is self._parameter for p in group["params"]))
        on_host = name == "step" and not (group.get("capturable") or group.get("fused"))
        if isinstance(value, torch.Tensor) and not on_host:
            value = value.to(self._parameter.device)
        self._optimizer.state.setdefault(self._parameter, {})[name] = value


def name_parameters(walker: Walker, optimizer: Optimizer, path: str) -> dict[int, str]:
    """id -> name of each of an optimizer's parameters: in its model where that is unique, else in the run."""
    full: dict[int, str] = {}
    short: dict[int, str] = {}
    for index, group in enumerate(optimizer.param_groups):
        for position, parameter in enumerate(group["params"]):
            key = id(parameter)
            in_module = walker.result.parameter_names.get(key)
            name = in_module or walker.path_of(parameter)
            if name is None:  # stepped by this optimizer, and found nowhere else
                name = f"group.{index}.params.{position}"
                put = walker.setter(_replace_parameter, optimizer, group, position)
                walker.tensor(parameter, f"{path}/{name}/parameter", put, "parameter")
            full[key] = name.replace("/", ".")
            short[key] = _in_model(in_module) if in_module else full[key]
    return short if len(set(short.values())) == len(short) else full


def _in_model(path: str) -> str:
    return path.partition("/")[2].replace("/", ".")


def _put_params(leaves: "weakref.ref[Leaves]", optimizer: Optimizer, group: Group, names: Iterable[str]) -> None:
    """Make a group step the parameters of these names: the state of each position goes with it where there are as many
    as before, else that of each parameter."""
    live = leaves()
    if live is None:
        raise ValueError("what was read of the run is gone")
    wanted, before = parameters_named(live, names), [*group["params"]]
    # All are taken out before any is put in: one may take the place of another.
    states = [optimizer.state.pop(old) if old in optimizer.state else None for old in before]
    group["params"][:] = wanted
    owners = wanted if len(wanted) == len(before) else before
    for parameter, state in zip(owners, states, strict=True):
        if state is not None and any(parameter is one for one in wanted):
            optimizer.state[parameter] = state


def parameters_named(live: Leaves, names: Iterable[str]) -> list[torch.Tensor]:
    """The parameters that an optimizer's group has by these names: of modules, or tensors of the run itself.

    Raises:
        ValueError: one of them is not there.
    """
    by_name = {
        path.replace("/", "."): leaf.value
        for path, leaf in live.items()
        if isinstance(leaf.value, torch.Tensor) and leaf.role == "parameter"
    }
    for module in live.modules.values():
        for parameter in module.parameters():
            full = live.parameter_names.get(id(parameter))
            if full is not None:
                by_name.setdefault(_in_model(full), parameter)
                by_name[full.replace("/", ".")] = parameter
    try:
        return [by_name[name] for name in names]
    except KeyError:
        raise ValueError("the run has no parameters of these names for it") from None


def _replace_parameter(optimizer: Optimizer, group: Group, position: int, parameter: torch.Tensor) -> None:
    old = group["params"][position]
    group["params"][position] = parameter
    if old in optimizer.state and old is not parameter:
        optimizer.state[parameter] = optimizer.state.pop(old)


# --- schedulers and scalers ----------------------------------------------------------------------------------------


def read_scheduler(
    walker: Walker, scheduler: LRScheduler | ReduceLROnPlateau, path: str, hold: Setter, role: str
) -> None:
    """Its counters, base rates and functions, and which optimizer it drives."""
    attributes = scheduler.__dict__
    if "optimizer" in attributes:
        put = walker.setter(setattr, scheduler, "optimizer")
        walker.visit(attributes["optimizer"], f"{path}/optimizer", put)
    # CosineAnnealingLR computes with a counter that elsewhere only serves a warning.
    code = getattr(getattr(type(scheduler), "get_lr", None), "__code__", None)
    used = frozenset(code.co_names if code is not None else ()) & SCHEDULER_COUNTERS
    walker.attributes(scheduler, path, skip=_SCHEDULER_PLUMBING - used)


def read_scaler(walker: Walker, scaler: torch.amp.GradScaler, path: str, hold: Setter, role: str) -> None:
    """Its scale and counters; before first use they live in other attributes, and the state is the same."""
    walker.leaf(f"{path}/enabled", scaler.is_enabled(), "structure")
    for name, value in scaler.state_dict().items():
        if name == SCALER_COUNT[1]:
            put = walker.setter(_put_scaler, scaler, *SCALER_COUNT)
            walker.visit(value, f"{path}/growth_tracker", put)
        elif name == "scale":
            put = walker.setter(_put_scaler, scaler, *SCALER_SCALE)
            walker.visit(value, f"{path}/scale", put)
        else:
            walker.visit(value, f"{path}/{name}", walker.setter(setattr, scaler, f"_{name}"))


def _put_scaler(scaler: torch.amp.GradScaler, before: str, after: str, value: float) -> None:
    live = getattr(scaler, after)
    if live is None:
        setattr(scaler, before, value)
    else:
        live.fill_(value)


# --- data ----------------------------------------------------------------------------------------------------------


def read_loader(walker: Walker, loader: DataLoader[Any], path: str, hold: Setter, role: str) -> None:
    """Its generator, samplers, dataset and settings; iterators and workers are plumbing."""
    attributes = loader.__dict__
    for name in _LOADER_STATE:
        if attributes.get(name) is not None:
            put = walker.setter(object.__setattr__, loader, name)
            walker.visit(attributes[name], f"{path}/{name}", put, "data" if name == "dataset" else "memory")
    walker.attributes(loader, path, skip=frozenset(_LOADER_STATE) | vars(_EMPTY_LOADER).keys() | {LIVE_ITERATOR})


def read_loader_iterator(walker: Walker, iterator: LoaderIterator, path: str, hold: Setter, role: str) -> None:
    """Workers, queues, a half-used order of samples: seen, not put back. What it gives next is an effect."""
    walker.result.uncaptured[path] = f"{LOADER_ITERATOR} after {batches_yielded(iterator)} batches"


def read_sampler(walker: Walker, sampler: Sampler[Any], path: str, hold: Setter, role: str) -> None:
    """Its epoch, generator and order; the samples it points to are the dataset's."""
    for name in ("data_source", "dataset"):
        attributes = attributes_of(sampler) or {}
        if name in attributes:
            put = walker.setter(setattr, sampler, name)
            walker.visit(attributes[name], f"{path}/{name}", put, "data")
    walker.attributes(sampler, path, role, skip={"data_source", "dataset"})


def read_dataset(walker: Walker, dataset: Dataset[Any], path: str, hold: Setter, role: str) -> None:
    """What it holds is data: numbers and generators of its own may move, samples do not."""
    if not walker.moving_only:
        walker.attributes(dataset, path, "data")
        return
    walker.attributes(dataset, path, "memory", skip=_Still(dataset))


class _Still:
    """The names of a dataset's attributes that hold samples: all but numbers, generators and datasets inside it."""

    def __init__(self, dataset: Dataset[Any]):
        self._attributes = attributes_of(dataset) or {}

    def __contains__(self, name: object) -> bool:
        return not (isinstance(name, str) and issubclass(type(self._attributes.get(name)), _MOVING_IN_DATA))


_MOVING_IN_DATA = (int, float, Dataset, IterableDataset, *GENERATORS)

READERS: tuple[tuple[type, Reader], ...] = (
    (Module, read_module),
    (BasePruningMethod, read_pruning),
    (Optimizer, read_optimizer),
    (LRScheduler, read_scheduler),
    (ReduceLROnPlateau, read_scheduler),
    (torch.amp.GradScaler, read_scaler),
    (DataLoader, read_loader),
    (LoaderIterator, read_loader_iterator),
    (Sampler, read_sampler),
    (Dataset, read_dataset),
)
PLUMBING: tuple[type, ...] = (torch.utils.hooks.RemovableHandle, torch.cuda.Stream, torch.cuda.Event)
PLUMBING_MODULES = ("torch.utils.tensorboard", *COMPILER_PACKAGES)
