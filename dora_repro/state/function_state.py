"""What a function is, and what it keeps from one call to the next: in its closure, in a default argument that it fills.

Told by its code alone, not by what it holds at the moment: a variable of a module is state from the first step on or
never.
"""

import dis
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

from dora_repro.contracts import Value
from dora_repro.state.attributes import MUTABLE, is_around_runs
from dora_repro.state.digest import digest
from dora_repro.state.source_names import changes_in_place

_CONTAINERS = (list, dict, set, deque)
_MANY = 10_000
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


def itself(function: types.FunctionType) -> types.FunctionType | None:
    """A function without what this kit has put around it to listen; None where it is one of this kit's own.

    A script that imports `save` or `backward` by name holds what listens there. Its closure has all that was recorded.
    """
    while is_around_runs(str(function.__globals__.get("__name__"))):
        within = function.__dict__.get("__wrapped__")
        if not isinstance(within, types.FunctionType):
            return None
        function = within
    return function


def name_of_function(function: types.FunctionType) -> str:
    """What a function is: its name; of one that was made inside another its code, wherever that was."""
    module, name = function.__module__, function.__qualname__
    if "<locals>" not in name and "<lambda>" not in name:
        return f"{module}.{name}"
    return f"{module}.<locals>.{function.__name__} {digest(_code_text(function.__code__)).hex()[:8]}"


def _code_text(code: types.CodeType) -> str:
    """What code does, without where it is written."""
    constants = ", ".join(map(_constant_text, code.co_consts))
    names = (code.co_names, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_freevars)
    return f"{code.co_code.hex()} {names} ({constants})"


def _constant_text(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return _code_text(constant)
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant_text, constant))})"
    if isinstance(constant, frozenset):  # whose order is that of the hash seed
        return f"{{{', '.join(sorted(map(_constant_text, constant)))}}}"
    if isinstance(constant, str) and "<locals>" in constant:  # of a function inside: where it is
        return repr(constant.rpartition(".")[2])
    return repr(constant)


def keeps_something(function: types.FunctionType) -> bool:
    """Whether a function closes over something that it or another may change, or fills a default argument."""
    code, closure = function.__code__, function.__closure__
    if closure:  # of most functions nothing needs to be read
        assigned = _assigned_outside(code)
        for name, cell in zip(code.co_freevars, closure, strict=True):
            if name in assigned or issubclass(type(_content(cell)), MUTABLE):
                return True
    return fills_a_default(function)


def fills_a_default(function: types.FunctionType) -> bool:
    """Whether a default argument is a container or tensor, and the function may write to one."""
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    if not any(issubclass(type(default), MUTABLE) for default in defaults):
        return False
    return any(map(_writes, _with_inner(function.__code__)))


def may_be_changed_by_others(value: Any) -> bool:
    """Whether a function may be given a value to write to it: a container of data, no registry of code."""
    kind = type(value)
    base = next((base for base in _CONTAINERS if issubclass(kind, base)), None)
    if base is None or base.__len__(value) > _MANY:
        return False
    items = dict.values(value) if issubclass(kind, dict) else base.__iter__(value)
    return not any(issubclass(type(item), _CODE) for item in items)


def _assigned_outside(code: types.CodeType) -> set[str]:
    """The names of the functions around it that a function assigns (`nonlocal`)."""
    return {
        str(instruction.argval)
        for one in _with_inner(code)
        for instruction in dis.get_instructions(one)
        if instruction.opname in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in one.co_freevars
    }


def _writes(code: types.CodeType) -> bool:
    if any(map(changes_in_place, code.co_names)):
        return True
    return any(step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE") for step in dis.get_instructions(code))


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _with_inner(inner)


def _content(cell: types.CellType) -> Value:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
