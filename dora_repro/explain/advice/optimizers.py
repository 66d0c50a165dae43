"""Lines of code that save and load optimizers: their state, state that loading casts, and an optimizer lost whole."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from dora_repro.explain.advice.expressions import quoted
from dora_repro.explain.advice.lost_state import (
    Advice,
    LostState,
    expression,
    of_each,
    optimizer_of,
    owner_key,
    saved_value,
)
from dora_repro.explain.advice.units import class_at
from dora_repro.explain.advice.values import state_dict_lines
from dora_repro.state.walker import OPTIMIZER_PARTS

_STATE = "Load the optimizer's state once the model is built, with the same parameters in the same order."
_CAST = "load_state_dict casts state to the dtype of its parameter: the line after it puts what was saved in its place."
_SHARED = {"param_groups": "groups", "state": "a state"}
_WHOLE = (
    "`{}` is made while training and not by loading: make it in load(), over the same parameters, and load its state."
)


def moments(lost: LostState) -> Advice:
    """Advise on moments and options: by the optimizer's state_dict; where that was tried and did not do, by what the
    file has for each parameter."""
    return of_each(_moments, lost, lambda path: optimizer_of(replace(lost, paths=(path,))))


def _moments(lost: LostState) -> Advice:
    path = optimizer_of(lost)
    advice = state_dict_lines(lost, path, _STATE)
    if not lost.plain or f"{path}/group.0/params" not in lost.saved:
        return advice
    code, key = expression(lost, path), owner_key(lost, path)
    every = f'enumerate(p for g in {code}.param_groups for p in g["params"])'
    return Advice(
        advice.save, (*advice.load, f'for i, p in {every}: {code}.state[p].update({key}["state"].get(i, {{}}))'), _CAST
    )


def shared_parts(lost: LostState, target: str) -> Advice | None:
    """Advise on groups or a state that two optimizers share, or an optimizer and its wrapper; None for all else.

    Args:
        lost: what was shared.
        target: path of what it was.
    """
    (one, _, name), other = lost.first.rpartition("/"), target.rpartition("/")[0]
    if name not in OPTIMIZER_PARTS or not target.endswith(f"/{name}"):
        return None
    first, second = (one, other) if _is_as_saved(lost, other) else (other, one)
    return Advice(
        (),
        (f"{expression(lost, first)}.{name} = {expression(lost, second)}.{name}",),
        f"load_state_dict gives the optimizer that it is called on {_SHARED[name]} of its own. `{one}` and `{other}` "
        "shared them: tie them afterwards, to what was loaded.",
    )


def _is_as_saved(lost: LostState, optimizer: str) -> bool:
    """Whether an optimizer has right after loading what it had at the save, as far as that is known."""
    if lost.loaded is None:
        return True
    inside = [path for path in lost.saved if path.startswith(f"{optimizer}/group.")]
    return all(path in lost.loaded and lost.loaded[path].digest == lost.saved[path].digest for path in inside)


def whole_optimizer(lost: LostState) -> Advice | None:
    """Advise on an optimizer of torch that the resumed run does not have at all, over all parameters of one model: a
    pickled one would step copies of them. None for all else."""
    at = lost.first
    kind = class_at(lost, at)
    module = _model_of(lost, at)
    name = "" if kind is None else kind.__name__
    if module is None or not name or getattr(torch.optim, name, None) is not kind:
        return None
    code, key = expression(lost, at), owner_key(lost, at)
    made = f"{code} = torch.optim.{name}({expression(lost, module)}.parameters())"
    return Advice((f"{key} = {code}.state_dict()",), (made, f"{code}.load_state_dict({key})"), _WHOLE.format(at))


def added_groups(lost: LostState) -> Advice | None:
    """Advise on groups that an optimizer was given while training, and that loading does not make, of parameters of one
    module; None for all else."""
    at = optimizer_of(lost)
    number, loaded = 0, lost.loaded or {}
    while f"{at}/group.{number}/params" in loaded:
        number += 1
    names: list[str] = []
    while isinstance(more := saved_value(lost, f"{at}/group.{number}/params"), list):
        names, number = [*names, *map(str, more)], number + 1
    module = _module_with(lost, names)
    if not names or module is None:
        return None
    code, model, key = expression(lost, at), expression(lost, module), f"state[{quoted(f'{at} groups')}]"
    found = f"name for name, p in {model}.named_parameters()"
    return Advice(
        (f'{key} = [[{found} if any(p is q for q in g["params"])] for g in {code}.param_groups]',),
        (
            f"for names in {key}[len({code}.param_groups):]: "
            f'{code}.add_param_group({{"params": [{model}.get_parameter(name) for name in names]}})',
        ),
        f"{code} was given a group of parameters while training: a resumed run has to add it before the optimizer's "
        "state is loaded.",
    )


def _module_with(lost: LostState, names: Iterable[str]) -> str | None:
    """The path of the outermost module that has parameters of all these names; None where there is none."""
    modules = [path.removesuffix("/training") for path in lost.saved if path.endswith("/training")]
    return next((module for module in modules if all(f"{module}/{name}" in lost.saved for name in names)), None)


def _model_of(lost: LostState, optimizer: str) -> str | None:
    """The path of the module whose parameters, all and no others, an optimizer of one group has; None for others."""
    names = saved_value(lost, f"{optimizer}/group.0/params")
    if not isinstance(names, list) or f"{optimizer}/group.1/params" in lost.saved:
        return None
    for path in lost.saved:
        module, _, last = path.rpartition("/")
        inside = f"{module}/"
        if last == "training":
            own = [p for p, leaf in lost.saved.items() if p.startswith(inside) and leaf.role == "parameter"]
            if own == [f"{inside}{name}" for name in names]:
                return module
    return None
