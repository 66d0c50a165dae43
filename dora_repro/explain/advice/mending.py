"""Lines of code that keep one kind of state: for the user's save and load, in plain torch.

Lines of save fill a dict `state`, lines of load read it; objects have the names that the run gives them.
"""

from dora_repro.explain.advice.expressions import quoted
from dora_repro.explain.advice.lost_state import Advice, Lost
from dora_repro.explain.advice.models import alias, gradients, structure, weights
from dora_repro.explain.advice.rng_and_flags import ARRAYS, flag_lines, generator_lines, has_arrays
from dora_repro.explain.advice.values import memory, whole

LAST = (
    "Restore generators last, after everything that draws: building modules, splitting data, making an iterator of a "
    "loader."
)

_OPTIMIZER = "Load it after the model was built, and into an optimizer over the same parameters in the same order."


def mend(lost: Lost, role: str) -> Advice:
    """What to add for leaves of one role."""
    if lost.root == "flags" or role == "flag":
        return _flags(lost)
    if role == "generator" or lost.root == "rng":
        return _generators(lost)
    if role == "alias":
        return alias(lost)
    if role in ("moment", "option"):
        return whole(lost, lost.optimizer(), _OPTIMIZER)
    if role == "gradient":
        return gradients(lost)
    if role in ("parameter", "buffer"):
        return weights(lost, role)
    if role == "structure":
        return structure(lost)
    return memory(lost)


def _generators(lost: Lost) -> Advice:
    save, load, wide = [], [], False
    for path in lost.paths:
        key = lost.reread.generator(path) if lost.reread else f"state[{quoted(path)}]"
        get, put = generator_lines(path, lost.value_of(path), lost.code(path), key)
        save.append(f"{key} = {get}")
        load.append(put)
        wide = wide or has_arrays(lost.value_of(path), get)
    return Advice(tuple(save), tuple(load), f"{LAST} {ARRAYS}" if wide else LAST)


def _flags(lost: Lost) -> Advice:
    save, load = [], []
    for path in lost.paths:
        flag, key = path.removeprefix("flags/"), lost.key(path)
        get, put = flag_lines(flag, key)
        if put:
            save.append(f"{key} = {get}")
            load.append(put)
    sentence = "Better: set it at the start of the program, the same each time."
    return Advice(tuple(save), tuple(load), sentence if save else f"Set {lost.first} the same in both processes.")
