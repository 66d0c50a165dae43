"""Lines of code that save and load a model: its weights, gradients, modes, what trains, and what is one object."""

import re

import torch

from dora_repro.explain.advice.expressions import dotted, quoted, without_functions
from dora_repro.explain.advice.lost_state import (
    Advice,
    LostState,
    dotted_expression,
    expression,
    of_each,
    optimizer_of,
    outermost_module,
    saved_value,
    state_key,
)
from dora_repro.explain.advice.optimizers import added_groups, shared_parts
from dora_repro.explain.advice.values import tensor_lines, value_lines

MANY = 8  # lines, of which each copies one tensor
_REFERENCES = "a state_dict holds references. Where it should be an object of its own, take a copy:"
_STRICT = "strict=True raises where a key is missing or has another name."
_WINDOW = "Or save only where an accumulation window has ended, when there are no gradients to keep."


def _owner(path: str) -> str:
    """What holds a tensor, by the path of the tensor, of its gradient or of whether it trains."""
    return path.removesuffix("/grad").removesuffix("/requires_grad").rpartition("/")[0]


def weights(lost: LostState, role: str) -> Advice:
    """Advise on parameters and buffers."""
    return of_each(lambda some: _weights(some, role), lost, _owner)


def _weights(lost: LostState, role: str) -> Advice:
    owner = lost.first.rpartition("/")[0]
    if role == "buffer" and not lost.keys:  # a state_dict may lack it
        code, key = expression(lost, owner), f"state[{quoted(f'{without_functions(owner, lost.kinds)} buffers')}]"
        return Advice(
            (f"{key} = {{name: b.clone() for name, b in {code}.named_buffers()}}",),
            (f"for name, b in {code}.named_buffers(): b.copy_({key}[name])",),
            f"{code}.state_dict() has them too, except buffers registered with persistent=False.",
        )
    of_module = f"{owner}/training" in lost.saved or any(map(dotted, lost.paths))
    if not owner or owner in lost.kinds or (role == "parameter" and not of_module):
        return tensor_lines(lost)
    return _module(lost, owner)


def _module(lost: LostState, owner: str) -> Advice:
    code = expression(lost, owner)
    if lost.keys is None:
        key = f"state[{quoted(without_functions(owner, lost.kinds))}]"
        return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key}, strict=True)",), _STRICT)
    stored = lost.keys.module(lost.first, owner)
    if not stored.named_alike and len(lost.paths) > MANY:
        name, key = lost.first.removeprefix(f"{owner}/"), state_key(lost, lost.first)
        return Advice(
            sentence=f"The file has other names: `{name}` of {code} is {key}. Load it with the counterpart "
            "of the function that wrote it, or rename its keys."
        )
    if not stored.named_alike:
        return tensor_lines(lost)
    if stored.complete:
        return Advice((), (*stored.before, f"{code}.load_state_dict({stored.code}, strict=True)"), _STRICT)
    loaded = f"left_out = {code}.load_state_dict({stored.code}, strict=False).unexpected_keys"
    return Advice(
        (),
        (*stored.before, loaded, "assert not left_out, left_out"),
        "strict=False leaves tensors that the file lacks as they are, and ignores keys that the model lacks: "
        "no such key may be left over.",
    )


def alias(lost: LostState) -> Advice:
    """Advise on names of what was one object, and no longer is."""
    targets = {path: str(saved_value(lost, path) or "").removeprefix("= ") for path in lost.paths}
    if not all(targets.values()):
        return Advice(sentence=f"Make {', '.join(lost.paths)} the same object again after loading, as it was.")
    first = targets[lost.first]
    if (advice := shared_parts(lost, first)) is not None:
        return advice
    if f"{(owner := optimizer_of(lost))}/group.0/params" in lost.saved:
        one, other = expression(lost, owner), expression(lost, first.rpartition("/")[0].rpartition("/")[0])
        return Advice(
            sentence=f"{one} and {other} step the very same tensors until the save: {_REFERENCES} "
            "load_state_dict(copy.deepcopy(…))."
        )
    sentence = f"`{lost.first}` is the very object `{first}`: tie them after loading, before an optimizer is made."
    ties = tuple(f"{dotted_expression(lost, path)} = {dotted_expression(lost, to)}" for path, to in targets.items())
    in_container = lost.first.rpartition("/")[0] in lost.kinds  # in a dict, and not in a model
    return Advice((), ties, sentence, (f"Or {_REFERENCES} copy.deepcopy(….state_dict()).",) if in_container else ())


def gradients(lost: LostState) -> Advice:
    """Advise on gradients that were there between two steps."""
    return of_each(_gradients, lost, _owner)


def _gradients(lost: LostState) -> Advice:
    owner = lost.first.removesuffix("/grad").rpartition("/")[0]
    if not owner or owner in lost.kinds or not any(dotted(path.removesuffix("/grad")) for path in lost.paths):
        pairs = [(state_key(lost, path), f"{expression(lost, path.removesuffix('/grad'))}.grad") for path in lost.paths]
        save, load = zip(*((f"{key} = {code}", f"{code} = {key}") for key, code in pairs), strict=True)
        return Advice(save, load, _WINDOW)
    code, key = expression(lost, owner), f"state[{quoted(f'{without_functions(owner, lost.kinds)} gradients')}]"
    return Advice(
        (f"{key} = {{name: p.grad for name, p in {code}.named_parameters() if p.grad is not None}}",),
        (f"for name, p in {code}.named_parameters(): p.grad = {key}.get(name)",),
        _WINDOW,
    )


def structure(lost: LostState) -> Advice:
    """Advise on modes, on what trains, on what an optimizer steps, and on other settings."""
    return of_each(_structure, lost, lambda path: path.rpartition("/")[2])


def _structure(lost: LostState) -> Advice:
    """Advise on leaves of one kind."""
    last = lost.first.rpartition("/")[2]
    if last == "training":
        return of_each(_modes, lost, lambda path: outermost_module(lost, path.rpartition("/")[0]))
    if last == "requires_grad":
        return of_each(_what_trains, lost, _owner)
    if re.search(r"/group\.\d+/params$", lost.first):
        if (added := added_groups(lost)) is not None:
            return added
        where = expression(lost, optimizer_of(lost))
        return Advice(
            sentence=f"Make {where} over the same parameters in the same order before its state is loaded: a "
            "state_dict identifies them by position alone."
        )
    value = saved_value(lost, lost.first)
    if isinstance(value, (torch.Tensor, list, tuple)) or type(value) in (int, float):
        advice = value_lines(lost)
        why = "A plain attribute of a module is not in its state_dict(): save it, or register it as a buffer."
        return Advice(advice.save, advice.load, f"{why} {advice.sentence}".strip())
    return Advice(sentence=f"Build the run with the same settings: {', '.join(lost.paths[:3])} differ.")


def _modes(lost: LostState) -> Advice:
    """Advise on the modes of modules that lie in one."""
    whole = outermost_module(lost, lost.first.rpartition("/")[0])
    code, key = dotted_expression(lost, whole), f"state[{quoted(f'{without_functions(whole, lost.kinds)} training')}]"
    return Advice(
        (f"{key} = {{name: m.training for name, m in {code}.named_modules()}}",),
        (f"for name, m in {code}.named_modules(): m.training = {key}[name]",),
        f"Or call {code}.train() before the loop continues, and after every evaluation.",
    )


def _what_trains(lost: LostState) -> Advice:
    """Advise on which parameters of a module, or of a container, ask for gradients."""
    tensor, owner = lost.first.rpartition("/")[0], _owner(lost.first)
    freeze = "Freeze the same parameters before the optimizer is made, in a new run and in a resumed one."
    if not owner or owner in lost.kinds or not dotted(tensor):
        pairs = [(state_key(lost, path), expression(lost, path)) for path in lost.paths]
        save = tuple(f"{key} = {code}" for key, code in pairs)
        return Advice(save, tuple(f"{code} = {key}" for key, code in pairs), freeze)
    code, key = expression(lost, owner), f"state[{quoted(f'{without_functions(owner, lost.kinds)} requires_grad')}]"
    return Advice(
        (f"{key} = {{name: p.requires_grad for name, p in {code}.named_parameters()}}",),
        (f"for name, p in {code}.named_parameters(): p.requires_grad_({key}[name])",),
        freeze,
    )
