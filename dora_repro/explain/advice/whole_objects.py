"""Lines of code for objects that the resumed run lacks as a whole: there is nothing to load into.

They are saved as they are, or, where a function makes their class, which no file can name, as what they hold.
"""

import re
import sys
from collections.abc import Iterator

import numpy as np

from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.lost_state import Advice, LostState, dotted_expression, expression, state_key
from dora_repro.explain.advice.values import bound
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot

_SEQUENCES = ("list", "tuple", "deque")
_LOCAL = "<locals>"
_SCRIPT = ".py"  # how the variables of a script's own module are called
_ARRAYS = "torch.load(path, weights_only=False) reads numpy's arrays back."


def whole_object(lost: LostState) -> Advice:
    """Advise on an object that the resumed run does not have at all."""
    at = lost.first
    while "/" in at and lost.kinds.get(holder := at.rpartition("/")[0], NO_KIND).name in _SEQUENCES:
        at = holder  # what has no place for it yet
    made = sorted({name for name in _classes(lost, at) if _is_local(lost, name)})
    if made:
        return _of_local_class(lost, at, made)
    code, key = dotted_expression(lost, at), state_key(lost, at)
    return Advice(
        (f"{key} = {code}",),
        (f"{code} = {key}",),
        f"`{lost.first}` is made while training and not by loading. Saved whole, it needs its class to be there, and "
        "torch.load(path, weights_only=False); or save what it holds as tensors and numbers, and make it in load().",
    )


def _classes(lost: LostState, at: str) -> set[str]:
    """The names of the classes of what is at a path, and of all that it holds."""
    forms = (form for path, form in lost.forms.items() if path == at or path.startswith(f"{at}/"))
    return {form.name.partition("(")[0] for form in forms}


def _is_local(lost: LostState, name: str) -> bool:
    """Whether a class is made by a function, so that no module has it by its name."""
    module, _, last = name.rpartition(".")
    if _LOCAL in name:
        return True
    if not module or hasattr(sys.modules.get(module), last):
        return False
    return (module in sys.modules and module != "__main__") or bool(_variable(lost, name))


def _variable(lost: LostState, name: str) -> str:
    """The path of a function's variable that is the class of a name; empty where there is none."""
    of_functions = (at for at in _places_of(lost, name) if lost.kinds.get(_above(at), NO_KIND).name == VARIABLES)
    return next((at for at in of_functions if not _above(at).endswith(_SCRIPT)), "")


def _places_of(lost: LostState, name: str) -> Iterator[str]:
    """The paths that the class of a name is known by in the run."""
    for path, leaf in lost.saved.items():
        if leaf.role == "structure" and path.endswith("/name") and leaf.value == name:
            yield _above(path)


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _of_local_class(lost: LostState, at: str, made: list[str]) -> Advice:
    """Advise on objects of classes that no file can name."""
    classes = ", ".join(re.split(r"[.>]", name)[-1] for name in made)
    above = made[0].rpartition(f".{_LOCAL}")[0].rpartition(".")[2]
    function = above or _above(_variable(lost, made[0])).rpartition("/")[2]
    by = f" by {of_function(function)}" if function else ""
    why = f"The class {classes} is made{by} while it runs, so no file can name it"
    lines = None if lost.plain or len(made) > 1 else _lines(lost, at, made[0])
    if lines is None:
        return Advice(
            sentence=f"{why}: define it in a module, and save `{expression(lost, at)}` whole; or save what its objects "
            "hold, and make them again."
        )
    arrays = any(isinstance(leaf.value, np.ndarray) for path, leaf in lost.saved.items() if path.startswith(f"{at}/"))
    sentence = f"{why}: save what its objects hold, or define it in a module."
    return Advice(*lines, f"{sentence} {_ARRAYS}" if arrays else sentence)


def _lines(lost: LostState, at: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Lines that save what objects of one class hold, and make them again; None where that takes more than a line."""
    variable = next(_places_of(lost, name), "")
    forms = {path: form for path, form in lost.forms.items() if form.name == name}
    of_class = [path for path in forms if path == at or path.startswith(f"{at}/")]
    if not variable or any(at not in (path, _above(path)) for path in of_class):
        return None
    code, key, kind = expression(lost, at), state_key(lost, at), expression(lost, variable)
    is_tuple = of_class[0] in lost.kinds
    taken, given = ("tuple({0})", "*{0}") if is_tuple else ("dict(vars({0}))", "**{0}")
    if at in of_class:
        return (f"{key} = {taken.format(code)}",), (f"{code} = {kind}({given.format(key)})",)
    if lost.kinds.get(at, NO_KIND).name not in _SEQUENCES or len(of_class) != lost.kinds[at].size:
        return None
    made = f"{kind}({given.format('each')}) for each in {key}"
    save = f"{key} = [{taken.format('each')} for each in {code}]"
    there = isinstance(lost.loaded, Snapshot) and lost.loaded.kinds.get(at) is not None
    if lost.kinds[at].name == "list":
        return (save,), (f"{code}[:] = [{made}]" if there else f"{code} = [{made}]",)
    if lost.kinds[at].name == "tuple":
        return (save,), (f"{code} = tuple({made})",)
    if there:
        return (save,), (f"{code}.clear()", f"{code}.extend({made})")
    return (save,), (f"{code} = collections.deque(({made}){bound(lost, at)})",)
