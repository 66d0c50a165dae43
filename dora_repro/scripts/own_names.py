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
    found = ((statement, part) for statement in _around(call)[-1:] for part in _calls(statement, _READ))
    return next((name for statement, part in found if (name := name_given(statement, part))), "")


def _name_written(call: Call) -> str:
    """The variable that a line writes to a file, where the script makes it a dict; else empty."""
    around = _around(call)
    parts = (part for statement in around[-1:] for part in _calls(statement, _WRITE))
    first = next((part.args[0] for part in parts if part.args), None)
    if not isinstance(first, ast.Name):
        return ""
    return first.id if any(_makes_dict(node, first.id) for node in ast.walk(around[0])) else ""


def _makes_dict(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    if name not in [target.id for target in node.targets if isinstance(target, ast.Name)]:
        return False
    value = node.value
    return isinstance(value, ast.Dict) or (isinstance(value, ast.Call) and _name_of(value.func) == "dict")


def _around(call: Call) -> list[ast.stmt]:
    """The statements around a line, the innermost last; none where the file cannot be read."""
    try:
        tree = ast.parse(Path(call["file"]).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    line = call["line"]
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno <= line <= _end(node)]


def _end(node: ast.stmt) -> int:
    return node.lineno if node.end_lineno is None else node.end_lineno


def _calls(statement: ast.stmt, names: frozenset[str]) -> list[ast.Call]:
    """The calls of functions of some names in a statement."""
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return [node for node in calls if _name_of(node.func) in names]


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
