"""Lines of code that keep a model: its weights, gradients, modes, which of it trains, and what of it is one object."""

import re

import torch

from dora_repro.explain.advice.expressions import common, dotted, quoted
from dora_repro.explain.advice.lost_state import Advice, Lost
from dora_repro.explain.advice.values import in_place, memory

MANY = 8  # lines, of which each copies one tensor
_REFERENCES = "a state_dict holds references. If it is to be one of its own, take a copy:"
_STRICT = "strict=True raises where a key is lacking or has another name."
_WINDOW = "Or save only where an accumulation window has ended, when there are no gradients to keep."


def weights(lost: Lost, role: str) -> Advice:
    """Parameters and buffers."""
    owner = lost.first.rpartition("/")[0]
    if role == "buffer" and not lost.reread:  # it may be one that no state_dict has
        code, key = lost.code(owner), f"state[{quoted(f'{owner} buffers')}]"
        return Advice(
            (f"{key} = {{name: b.clone() for name, b in {code}.named_buffers()}}",),
            (f"for name, b in {code}.named_buffers(): b.copy_({key}[name])",),
            f"{code}.state_dict() has them too, but for buffers registered with persistent=False.",
        )
    # What hangs on an object that is no module has no dots in its name; copying in place is right for both.
    if not owner or owner in lost.kinds or (role == "parameter" and not any(map(dotted, lost.paths))):
        return in_place(lost)
    return _module(lost, owner)


def _module(lost: Lost, owner: str) -> Advice:
    code = lost.code(owner)
    if lost.reread is None:
        key = f"state[{quoted(owner)}]"
        return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key}, strict=True)",), _STRICT)
    held = lost.reread.module(lost.first, owner)
    if not held.named_alike and len(lost.paths) > MANY:
        name, key = lost.first.removeprefix(f"{owner}/"), lost.key(lost.first)
        return Advice(
            sentence=f"The file has other names: `{name}` of {code} is {key}. Load it with what belongs to the "
            "function that wrote it, or rename its keys."
        )
    if not held.named_alike:
        return in_place(lost)
    if held.complete:
        return Advice((), (*held.before, f"{code}.load_state_dict({held.code}, strict=True)"), _STRICT)
    loaded = f"left_out = {code}.load_state_dict({held.code}, strict=False).unexpected_keys"
    return Advice(
        (),
        (*held.before, loaded, "assert not left_out, left_out"),
        "strict=False leaves as it is what the file has not, and passes over keys that the model has not: "
        "no such key may be left.",
    )


def alias(lost: Lost) -> Advice:
    """Names of what was one object, and is not any more."""
    targets = {path: str(lost.value_of(path) or "").removeprefix("= ") for path in lost.paths}
    if not all(targets.values()):
        return Advice(sentence=f"Make {', '.join(lost.paths)} the same object again after loading, as it was.")
    first = targets[lost.first]
    if f"{(owner := lost.optimizer())}/group.0/params" in lost.saved:
        return Advice(
            sentence=f"{lost.code(owner)} and {lost.code(first.rpartition('/')[0].rpartition('/')[0])} step the "
            f"very same tensors until the save: {_REFERENCES} load_state_dict(copy.deepcopy(…))."
        )
    sentence = f"`{lost.first}` is the very object `{first}`: tie them after loading, before an optimizer is made."
    ties = tuple(f"{lost.inside(path)} = {lost.inside(to)}" for path, to in targets.items())
    kept_apart = lost.first.rpartition("/")[0] in lost.kinds  # in a dict, and not in a model
    return Advice((), ties, sentence, (f"Or {_REFERENCES} copy.deepcopy(….state_dict()).",) if kept_apart else ())


def gradients(lost: Lost) -> Advice:
    """Those that were there between two steps."""
    owner = lost.first.removesuffix("/grad").rpartition("/")[0]
    if not owner or owner in lost.kinds or not any(dotted(path.removesuffix("/grad")) for path in lost.paths):
        pairs = [(lost.key(path), f"{lost.code(path.removesuffix('/grad'))}.grad") for path in lost.paths]
        save, load = zip(*((f"{key} = {code}", f"{code} = {key}") for key, code in pairs), strict=True)
        return Advice(save, load, _WINDOW)
    code, key = lost.code(owner), f"state[{quoted(f'{owner} gradients')}]"
    return Advice(
        (f"{key} = {{name: p.grad for name, p in {code}.named_parameters() if p.grad is not None}}",),
        (f"for name, p in {code}.named_parameters(): p.grad = {key}.get(name)",),
        _WINDOW,
    )


def structure(lost: Lost) -> Advice:
    """Modes, what trains, what an optimizer steps, and other settings."""
    above, _, last = lost.first.rpartition("/")
    if last == "training":
        whole = lost.outermost_module(common(path.rpartition("/")[0] for path in lost.paths) or above)
        code, key = lost.inside(whole), f"state[{quoted(f'{whole} training')}]"
        return Advice(
            (f"{key} = {{name: m.training for name, m in {code}.named_modules()}}",),
            (f"for name, m in {code}.named_modules(): m.training = {key}[name]",),
            f"Or call {code}.train() before the loop goes on, and after every evaluation.",
        )
    if last == "requires_grad":
        owner = above.rpartition("/")[0]
        freeze = "Freeze the same parameters before the optimizer is made, in a new run and in a resumed one."
        if not owner or owner in lost.kinds or not dotted(above):
            pairs = [(lost.key(path), lost.code(path)) for path in lost.paths]
            save = tuple(f"{key} = {code}" for key, code in pairs)
            return Advice(save, tuple(f"{code} = {key}" for key, code in pairs), freeze)
        code, key = lost.code(owner), f"state[{quoted(f'{owner} requires_grad')}]"
        return Advice(
            (f"{key} = {{name: p.requires_grad for name, p in {code}.named_parameters()}}",),
            (f"for name, p in {code}.named_parameters(): p.requires_grad_({key}[name])",),
            freeze,
        )
    if re.search(r"/group\.\d+/params$", lost.first):
        where = lost.code(lost.optimizer())
        return Advice(
            sentence=f"Make {where} over the same parameters in the same order before its state is loaded: a "
            "state_dict tells them by position alone."
        )
    if isinstance(lost.value, (torch.Tensor, list, tuple)) or type(lost.value) in (int, float):
        kept = memory(lost)
        why = "A plain attribute of a module is not in its state_dict(): save it, or register it as a buffer."
        return Advice(kept.save, kept.load, f"{why} {kept.sentence}".strip())
    return Advice(sentence=f"Build the run with the same settings: {', '.join(lost.paths[:3])} differ.")
