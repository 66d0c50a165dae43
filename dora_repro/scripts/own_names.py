"""Advised lines in the script's own name for the checkpoint, where the line that reads or writes it gives it one."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.lost_state import STATE
from dora_repro.explain.explanation import Cause
from dora_repro.scripts.calls import MODULE, Call
from dora_repro.scripts.trying import function_of_cause
from dora_repro.sides.reading import name_given

_READ, _WRITE = frozenset({"load", "load_file"}), frozenset({"save", "save_file", "dump"})
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
_SCRIPT = ".py"  # how the variables of a module are called
_READS_FROM = "  # state: "  # a line of several files says which one it reads


def in_own_names(
    causes: Iterable[Cause], wrote: Sequence[Call], read: Sequence[Call], ran: Sequence[str] = ()
) -> tuple[Cause, ...]:
    """Causes whose lines read and fill what the script calls its checkpoint; `state` where it has no name there.

    Args:
        causes: of a script, with lines that were tried.
        wrote: the lines that wrote the checkpoint.
        read: the lines that read it.
        ran: before which places of the script the lines of load ran.
    """
    filled = _name_written(wrote[-1]) if wrote else ""
    loaded = _name_read(read[-1]) if len({(call["file"], call["line"]) for call in read}) == 1 else ""
    found = []
    for cause in causes:
        known = loaded if loaded and _is_known(read[-1], cause, ran) else ""
        found.append(_renamed(cause, filled or "state", known or "state"))
    return tuple(found)


def _is_known(read: Call, cause: Cause, ran: Sequence[str]) -> bool:
    """Whether a variable of the function that reads the checkpoint is known where the lines of a cause go."""
    if read["function"] == MODULE:
        return True
    if ran:
        return all(place.endswith(f" {of_function(read['function'])}") for place in ran)
    function = function_of_cause(cause)
    return not function or function.endswith(_SCRIPT) or function == read["function"]


def _renamed(cause: Cause, filled: str, loaded: str) -> Cause:
    if cause.file or any(_READS_FROM in line for line in cause.load) or cause.filled != "state":
        return cause
    save = tuple(STATE.sub(filled, line) for line in cause.save)
    load = tuple(STATE.sub(loaded, line) for line in cause.load)
    return replace(cause, save=save, load=load)


def _name_read(call: Call) -> str:
    """The variable that is given what a line reads of a file; empty where it takes a part of that, or gives it none."""
    around = _around(call)
    statement = around[-1] if around else None
    if not isinstance(statement, ast.stmt):
        return ""
    names = (name_given(statement, part) for part in _calls([statement], _READ))
    return next(filter(None, names), "")


def _name_written(call: Call) -> str:
    """The variable that a line writes to a file, where its function makes it a dict; else empty."""
    around = _around(call)
    first = next((part.args[0] for part in _calls(around[-1:], _WRITE) if part.args), None)
    if not isinstance(first, ast.Name):
        return ""
    function = next(node for node in reversed(around) if isinstance(node, _SCOPES))
    return first.id if any(_makes_dict(node, first.id) for node in ast.walk(function)) else ""


def _makes_dict(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    if name not in [target.id for target in node.targets if isinstance(target, ast.Name)]:
        return False
    value = node.value
    return isinstance(value, ast.Dict) or (isinstance(value, ast.Call) and _name_of(value.func) == "dict")


def _around(call: Call) -> list[ast.Module | ast.stmt]:
    """The module, and the statements that a line is of, the innermost last; none where the file cannot be read."""
    try:
        tree = ast.parse(Path(call["file"]).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.stmt))
    return [tree, *(node for node in statements if node.lineno <= call["line"] <= (node.end_lineno or node.lineno))]


def _calls(nodes: Iterable[ast.AST], names: frozenset[str]) -> list[ast.Call]:
    """The calls of functions of some names."""
    calls = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Call)]
    return [call for call in calls if _name_of(call.func) in names]


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
