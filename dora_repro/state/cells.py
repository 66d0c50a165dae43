"""Variables that several functions share: the cell that holds one, by the name that it has in a function half done.

`best` of a training loop is one variable with the `best` that a helper inside it sets by `nonlocal`. A frame gives what
its variables hold and not the cells, so those are taken from who else has them.
"""

import gc
import types
from collections.abc import Iterable, Mapping

from dora_repro.contracts import Value


def cells_of(frame: types.FrameType, local: Mapping[str, Value], known: Iterable[Value]) -> dict[str, types.CellType]:
    """The cells of a frame's variables, of those that other functions share, as far as they can be found.

    Args:
        frame: of a function that is half done.
        local: its variables.
        known: where to look, the surest first: the generator or coroutine that it is of, and functions that may be
            made inside it, or be its own.
    """
    found: dict[str, types.CellType] = {}
    for one in known:
        for name, cell in _cells(one, frame.f_code):
            if name in local and _content(cell) is local[name]:
                found.setdefault(name, cell)
    return found


def _cells(one: Value, code: types.CodeType) -> Iterable[tuple[str, types.CellType]]:
    """Names of variables of a code, each with the cell that something has of it."""
    if not isinstance(one, types.FunctionType):
        return _cells_of_generator(one, code)
    if one.__code__ is code or one.__code__ in code.co_consts:
        return zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
    return ()


def _cells_of_generator(one: Value, code: types.CodeType) -> Iterable[tuple[str, types.CellType]]:
    """A suspended generator has its cells in the order of its code: arguments, other variables, those around it."""
    cells = [thing for thing in gc.get_referents(one) if isinstance(thing, types.CellType)]
    names = [name for name in code.co_varnames if name in code.co_cellvars]
    names += [name for name in code.co_cellvars if name not in code.co_varnames]
    names += code.co_freevars
    return zip(names, cells, strict=True) if len(names) == len(cells) else ()


def _content(cell: types.CellType) -> Value:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return cell
