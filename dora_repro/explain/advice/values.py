"""Lines of code that keep what a run holds besides its model: objects with a state_dict, tensors, lists, values."""

import numpy as np
import torch

from dora_repro.explain.advice.expressions import common, quoted
from dora_repro.explain.advice.lost_state import Advice, Lost

_OF_SCHEDULER = frozenset(
    {"last_epoch", "base_lrs", "_last_lr", "_step_count", "T_max", "T_cur", "num_bad_epochs", "cooldown_counter"}
    | {"total_steps", "lr_lambdas", "milestones", "step_size"}
)
_OF_SCALER = frozenset({"growth_tracker", "growth_interval", "growth_factor", "backoff_factor"})


def whole(lost: Lost, path: str, sentence: str = "") -> Advice:
    """All of an object that has a state_dict."""
    code = lost.code(path)
    key = lost.key_of_all(path)
    return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key})",), sentence)


def in_place(lost: Lost) -> Advice:
    """Tensors that hang on the run itself: their values are copied, so that an optimizer goes on stepping them."""
    pairs = [(lost.key(path), lost.code(path)) for path in lost.paths]
    return Advice(
        tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
        tuple(f"{code}.data.copy_({key})" for key, code in pairs),
        "Copy into the tensor that is there: an optimizer holds that very tensor.",
    )


def memory(lost: Lost) -> Advice:
    """What a run keeps for itself; what belongs to a scheduler or scaler is kept with all of that."""
    names = {path.rpartition("/")[2] for path in lost.paths}
    above = lost.first.rpartition("/")[0]
    if above and above not in lost.kinds and lost.root not in lost.kinds:
        if names & _OF_SCHEDULER or "sched" in lost.root.lower():
            scheduler = lost.root if "sched" in lost.root.lower() else above
            return whole(lost, scheduler, "Save it after its step(), and load it after the optimizer.")
        if names & _OF_SCALER or "scaler" in lost.root.lower():
            return whole(lost, lost.root if "scaler" in lost.root.lower() else above)
    if names == {"spawned"}:
        return Advice(sentence="Pickle the numpy generator whole: what spawn() gives next is not in its state.")
    at = lost.holder()
    if lost.keyed(at):
        return _by_parameter(lost, at)
    code, key = lost.code(at), lost.key_of_all(at)
    sentence = ""
    if "sampler" in at and names & {"epoch"}:
        sentence = "Set the epoch before the loader's iterator is made: an iterator's order is fixed then."
    if at not in lost.paths or (isinstance(lost.value, (list, dict, set))):
        return Advice((f"{key} = copy.deepcopy({code})",), _refilled(lost, at, code, key), sentence)
    pairs = [(lost.key(path), lost.code(path)) for path in lost.paths]
    if isinstance(lost.value, torch.Tensor) and not lost.without_any:
        return in_place(lost)
    if isinstance(lost.value, torch.Tensor):  # there is none to copy into, and no optimizer holds it
        return Advice(
            tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
            tuple(f"{code} = {key}" for key, code in pairs),
        )
    if isinstance(lost.value, np.ndarray):  # torch.load refuses numpy's by default: as tensors and numbers
        if all(path in lost.kinds for path in lost.paths):  # numpy's scalars
            return Advice(
                tuple(f"{key} = {code}.item()" for key, code in pairs),
                tuple(f"{code} = type({code})({key})" for key, code in pairs),
            )
        return Advice(
            tuple(f"{key} = torch.from_numpy({code}.copy())" for key, code in pairs),
            tuple(f"{code}[...] = torch.as_tensor({key}).numpy()" for key, code in pairs),
        )
    return Advice(
        tuple(f"{key} = {code}" for key, code in pairs), tuple(f"{code} = {key}" for key, code in pairs), sentence
    )


def _by_parameter(lost: Lost, path: str) -> Advice:
    """A dict whose keys are a model's parameters: other objects in the next process, of the same names."""
    if lost.reread:
        pairs = [(lost.code(leaf), lost.key(leaf)) for leaf in lost.paths]
        return Advice((), tuple(f"{code} = {key}" for code, key in pairs))
    model = common(at.rpartition("/")[0] for at in lost.keyed(path).values())
    if not model or f"{model}/training" not in lost.saved:
        return Advice(sentence=f"Keep {lost.code(path)} by names: its keys are objects, others in each process.")
    code, module, key = lost.code(path), lost.code(model), f"state[{quoted(path)}]"
    named = f"for name, p in {module}.named_parameters() if"
    return Advice(
        (f"{key} = {{name: {code}[p] {named} p in {code}}}",),
        (f"{code}.update({{p: {key}[name] {named} name in {key}}})",),
        f"The keys of {code} are parameters: other objects in the next process, under the same names.",
    )


def _refilled(lost: Lost, path: str, code: str, key: str) -> tuple[str, ...]:
    """A container gets what it held; the same one, since something else may have it, as a sampler has its order."""
    name = getattr(lost.kinds.get(path), "name", type(lost.value_of(path)).__name__)
    if lost.without_any or name not in ("list", "dict", "set"):
        return (f"{code} = copy.deepcopy({key})",)
    if name == "list":
        return (f"{code}[:] = copy.deepcopy({key})",)
    return f"{code}.clear()", f"{code}.update(copy.deepcopy({key}))"
