"""Lines of code that save and load what a run holds besides its model: objects with a state_dict, tensors, values."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from dora_repro.explain.advice.expressions import common, quoted
from dora_repro.explain.advice.lost_state import (
    Advice,
    LostState,
    expression,
    holder_of,
    keyed_by_objects,
    of_each,
    owner_key,
    saved_value,
    state_key,
)
from dora_repro.explain.advice.units import (
    class_at,
    lost_entries,
    not_assignable,
    owner_with_state_dict,
    schedule_around,
)
from dora_repro.state.snapshot import Snapshot

_OF_SCHEDULER = frozenset(
    {"last_epoch", "base_lrs", "_last_lr", "_step_count", "T_max", "T_cur", "num_bad_epochs", "cooldown_counter"}
    | {"total_steps", "lr_lambdas", "milestones", "step_size"}
)
_WHEN_SCHEDULES = "Save it after scheduler.step(), load it after the optimizer."
_OF_SCALER = frozenset({"growth_tracker", "growth_interval", "growth_factor", "backoff_factor"})


def state_dict_lines(lost: LostState, path: str, sentence: str = "") -> Advice:
    """Advise to save all of an object that has a state_dict."""
    code = expression(lost, path)
    key = owner_key(lost, path)
    return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key})",), sentence)


def tensor_lines(lost: LostState) -> Advice:
    """Advise on tensors of the run itself: their values are copied, so that an optimizer goes on stepping them."""
    pairs = [(state_key(lost, path), expression(lost, path)) for path in lost.paths]
    trained = any(path in lost.saved and lost.saved[path].role == "parameter" for path in lost.paths)
    holder = "an optimizer holds that very tensor" if trained else "something else may hold that very tensor"
    return Advice(
        tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
        tuple(f"{code}.data.copy_({key})" for key, code in pairs),
        f"Copy into the tensor that is there: {holder}.",
    )


def value_lines(lost: LostState) -> Advice:
    """Advise on values that a run keeps for itself; those of a scheduler or scaler are saved with all of it."""
    if iterator := _iterator_around(lost):
        return _of_iterator(lost, iterator)
    names = {path.rpartition("/")[2] for path in lost.paths}
    if not lost.plain and (schedule := schedule_around(lost)):
        return state_dict_lines(lost, schedule, _WHEN_SCHEDULES)
    above = lost.first.rpartition("/")[0]
    if above and above not in lost.kinds and lost.root not in lost.kinds:
        if names & _OF_SCHEDULER or "sched" in lost.root.lower():
            scheduler = lost.root if "sched" in lost.root.lower() else above
            return state_dict_lines(lost, scheduler, _WHEN_SCHEDULES)
        if names & _OF_SCALER or "scaler" in lost.root.lower():
            return state_dict_lines(lost, lost.root if "scaler" in lost.root.lower() else above)
    if names == {"spawned"}:
        return Advice(sentence="Pickle the numpy generator whole: what spawn() gives next is not in its state.")
    if not (lost.keys or lost.plain):
        if owner := owner_with_state_dict(lost):
            return state_dict_lines(lost, owner)
        owners = {path: owner_with_state_dict(replace(lost, paths=(path,))) for path in lost.paths}
        if any(owners.values()):
            return of_each(value_lines, lost, lambda path: owners[path])
    at = _that_takes(lost, holder_of(lost))
    if keyed_by_objects(lost, at):
        return _by_parameter(lost, at)
    code, key = expression(lost, at), owner_key(lost, at)
    sentence = ""
    if names & {"epoch"} and ("sampler" in at or _takes_epochs(lost)):
        sentence = _epoch_of_sampler(lost)
    if at not in lost.paths:
        entries = lost_entries(lost, at)
        if entries and (lost.keys is None or all(entry in lost.paths for entry in entries)):
            return _entries(lost, entries)
    if at in lost.kinds and lost.kinds[at].name == "deque":
        made = f"collections.deque({key}{bound(lost, at)})"  # torch.load refuses a deque by default: as a list
        return Advice((f"{key} = list({code})",), (f"{code} = {made}",), sentence)
    if at not in lost.paths or isinstance(saved_value(lost, lost.first), (list, dict, set)):
        return Advice((f"{key} = copy.deepcopy({code})",), _refilled(lost, at, code, key), sentence)
    if fixed := not_assignable(lost, lost.paths):
        return _not_assigned(lost, fixed)
    return _assigned(lost, sentence)


def _that_takes(lost: LostState, at: str) -> str:
    """What a line can assign: an item's whole sequence, where that is a tuple, or has no such place after loading."""
    while (holder := at.rpartition("/")[0]) in lost.kinds:
        kind = lost.kinds[holder].name
        if kind != "tuple" and not (kind in ("list", "deque") and lost.nothing_there):
            break
        at = holder
    return at


def _iterator_around(lost: LostState) -> str:
    """The path of the outermost of Python's own iterators that the first leaf lies in; empty where it lies in none."""
    parts = lost.first.split("/")
    above = ("/".join(parts[:index]) for index in range(1, len(parts)))
    return next((path for path in above if path in lost.forms and _is_iterator(lost.forms[path].name)), "")


def _is_iterator(form: str) -> bool:
    return form in _ITERATORS or form.startswith("itertools.") or (form.endswith("iterator") and "." not in form)


def _of_iterator(lost: LostState, path: str) -> Advice:
    code = expression(lost, path)
    return Advice(
        sentence=f"`{code}` is an iterator, which says to nobody where it stands. Count what is taken from it, save "
        f"that number, and after loading take as many from a new one: for _ in range(taken): next({code})"
    )


_ITERATORS = frozenset({"enumerate", "zip", "map", "filter", "reversed"})


def bound(lost: LostState, path: str) -> str:
    """The bound of a deque as the argument that makes it; empty where it has none."""
    form = lost.forms.get(path)
    return "" if form is None or "maxlen" not in form.name else f", {form.name.partition('(')[2].rstrip(')')}"


def _entries(lost: LostState, entries: list[str]) -> Advice:
    """Advise on entries of a dict that is otherwise as it was."""
    found = []
    for entry in entries:
        if entry in lost.saved and not isinstance(saved_value(lost, entry), (list, dict, set)):
            found.append(_assigned(replace(lost, paths=(entry,)), ""))
        else:
            code, key = expression(lost, entry), f"state[{quoted(entry)}]"
            found.append(Advice((f"{key} = copy.deepcopy({code})",), (f"{code} = copy.deepcopy({key})",)))
    return Advice(tuple(line for one in found for line in one.save), tuple(line for one in found for line in one.load))


def _not_assigned(lost: LostState, fixed: Mapping[str, str]) -> Advice:
    """Advise on what no line can assign: by its object's state_dict, or in words."""
    owner = owner_with_state_dict(lost)
    if owner:
        return state_dict_lines(lost, owner)
    listed = ", ".join(f"{expression(lost, path)} is {what}" for path, what in fixed.items())
    return Advice(sentence=f"{listed}: no line can assign it. Save and restore what it is computed from.")


def _epoch_of_sampler(lost: LostState) -> str:
    """A sentence on a sampler's epoch, with its own way to set it where it has one."""
    sentence = "Set the epoch before the loader's iterator is made: an iterator's order is fixed then."
    if _takes_epochs(lost):
        return f"{sentence} {expression(lost, lost.first.rpartition('/')[0])}.set_epoch(epoch) does it."
    return sentence


def _takes_epochs(lost: LostState) -> bool:
    """Whether the first leaf is the epoch of an object that is told it by `set_epoch`."""
    holder, _, last = lost.first.rpartition("/")
    return last == "epoch" and callable(getattr(class_at(lost, holder), "set_epoch", None))


def _assigned(lost: LostState, sentence: str) -> Advice:
    """Advise on leaves that are assigned, each by itself."""
    value = saved_value(lost, lost.first)
    pairs = [(state_key(lost, path), expression(lost, path)) for path in lost.paths]
    if isinstance(value, torch.Tensor) and not lost.nothing_there:
        return tensor_lines(lost)
    if isinstance(value, torch.Tensor):  # there is none to copy into, and no optimizer holds it
        return Advice(
            tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
            tuple(f"{code} = {key}" for key, code in pairs),
        )
    if isinstance(value, np.ndarray):  # torch.load refuses numpy's by default: as tensors and numbers
        if all(path in lost.kinds for path in lost.paths):  # numpy's scalars
            return Advice(
                tuple(f"{key} = {code}.item()" for key, code in pairs),
                tuple(f"{code} = type({code})({key})" for key, code in pairs),
            )
        save, load = zip(*(_array_lines(lost, path) for path in lost.paths), strict=True)
        return Advice(save, load)
    return Advice(
        tuple(f"{key} = {code}" for key, code in pairs),
        tuple(_assignment(lost, path, key) for path, (key, _) in zip(lost.paths, pairs, strict=True)),
        sentence,
    )


def _array_lines(lost: LostState, path: str) -> tuple[str, str]:
    """The lines of save and of load for one array: by its bytes, where torch lacks its dtype (a record's, a date's).

    What is of another dtype or shape after loading is replaced: it would cast what is written into it.
    """
    key, code, value = state_key(lost, path), expression(lost, path), saved_value(lost, path)
    assert isinstance(value, np.ndarray)
    there = value if lost.loaded is None or path not in lost.loaded else lost.loaded[path].value
    fits = isinstance(there, np.ndarray) and (there.dtype, there.shape) == (value.dtype, value.shape)
    target = f"{code}[...]" if fits else code
    try:
        torch.from_numpy(np.empty(0, value.dtype))
    except (TypeError, ValueError):
        kind = value.dtype.descr if value.dtype.names else value.dtype.str
        form = f"view({code}.dtype).reshape({code}.shape)" if fits else f"view({kind!r}).reshape({value.shape})"
        return (
            f'{key} = torch.from_numpy({code}.reshape(-1).view("u1").copy())',
            f"{target} = np.asarray({key}).{form}",
        )
    return f"{key} = torch.from_numpy({code}.copy())", f"{target} = torch.as_tensor({key}).numpy()"


def _assignment(lost: LostState, path: str, key: str) -> str:
    """A line that assigns a plain value; of a frozen dataclass, which takes none, one that makes it anew with it."""
    owner, _, name = path.rpartition("/")
    kind = class_at(lost, owner) if owner and owner not in lost.kinds else None
    parameters = getattr(kind, "__dataclass_params__", None)
    if kind is None or parameters is None or not parameters.frozen:
        return f"{expression(lost, path)} = {key}"
    code = expression(lost, owner)
    if any(field.name == name and field.init for field in dataclasses.fields(kind)):
        return f"{code} = dataclasses.replace({code}, {name}={key})"
    return f"object.__setattr__({code}, {quoted(name)}, {key})"


def _by_parameter(lost: LostState, path: str) -> Advice:
    """Advise on a dict whose keys are a model's parameters: other objects in the next process, of the same names."""
    if lost.keys:
        pairs = [(expression(lost, leaf), state_key(lost, leaf)) for leaf in lost.paths]
        return Advice((), tuple(f"{code} = {key}" for code, key in pairs))
    model = common(at.rpartition("/")[0] for at in keyed_by_objects(lost, path).values())
    if not model or f"{model}/training" not in lost.saved:
        return Advice(
            sentence=f"Save {expression(lost, path)} by name: its keys are objects, different ones in each process."
        )
    code, module, key = expression(lost, path), expression(lost, model), f"state[{quoted(path)}]"
    named = f"for name, p in {module}.named_parameters() if"
    return Advice(
        (f"{key} = {{name: {code}[p] {named} p in {code}}}",),
        (f"{code}.update({{p: {key}[name] {named} name in {key}}})",),
        f"The keys of {code} are parameters: different objects in the next process, under the same names.",
    )


def _refilled(lost: LostState, path: str, code: str, key: str) -> tuple[str, ...]:
    """Lines that refill a container: the same one, since something else may hold it, as a sampler does its order."""
    name = lost.kinds[path].name if path in lost.kinds else type(saved_value(lost, path)).__name__
    there = isinstance(lost.loaded, Snapshot) and path in lost.loaded.kinds and lost.loaded.kinds[path].name == name
    if (lost.nothing_there and not there) or name not in ("list", "dict", "set"):
        return (f"{code} = copy.deepcopy({key})",)
    if name == "list":
        return (f"{code}[:] = copy.deepcopy({key})",)
    return f"{code}.clear()", f"{code}.update(copy.deepcopy({key}))"
