"""Advised lines in the script's own name for the checkpoint: what the line that reads or writes it calls it.

A line that writes a dict without giving it a name is written in two, with a name, around the lines that fill it.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from dora_repro.explain.advice.expressions import Kinds, of_function
from dora_repro.explain.advice.lost_state import STATE
from dora_repro.explain.explanation import Cause, Named
from dora_repro.scripts.assignment import OTHER
from dora_repro.scripts.calls import MODULE, Call, place
from dora_repro.scripts.trying import RAN, function_of_cause
from dora_repro.sides.reading import name_given
from dora_repro.state.paths import ancestors
from dora_repro.state.rebuild import NO_KIND, VARIABLES

_READ, _WRITE = frozenset({"load", "load_file"}), frozenset({"save", "save_file", "dump"})
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
_SCRIPT = ".py"  # how the variables of a module are called
_READS_FROM = "  # state: "  # a line of several files says which one it reads
_FREE = ("state", "checkpoint", "saved_state", "whole_state")  # names for a dict that has none
_LONG = 60  # characters of a statement that is quoted
_INDEXED = ("dict", "list", "tuple", "deque")  # kinds of variables whose lines look like those of the checkpoint


def beside_own_state(causes: Iterable[Cause], kinds: Kinds) -> tuple[Cause, ...]:
    """Causes whose lines do not call the checkpoint `state` where they name a variable of the script's of that name.

    Args:
        causes: of a script.
        kinds: kinds of what its variables hold.
    """
    found = tuple(causes)
    if not any(_is_own_state(path, kinds) for cause in found for path in cause.restored or cause.leaves):
        return found
    return tuple(_called(cause, OTHER) if cause.filled == "state" else cause for cause in found)


def _called(cause: Cause, name: str) -> Cause:
    save, load = (tuple(STATE.sub(name, line) for line in lines) for lines in (cause.save, cause.load))
    return replace(cause, save=save, load=load, filled=name)


def _is_own_state(path: str, kinds: Kinds) -> bool:
    """Whether a leaf lies in a variable that is called `state`, and is no dict that lines index as they do this one."""
    above = [*sorted(ancestors([path]), key=len), path]
    named = (at for at in above if at.rpartition("/")[2] == "state")
    own = next((at for at in named if kinds.get(at.rpartition("/")[0], NO_KIND).name == VARIABLES), None)
    return own is not None and kinds.get(own, NO_KIND).name not in _INDEXED


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
    named = named_where_written(wrote)
    filled = named.name if named is not None else _name_written(wrote[-1]) if wrote else ""
    loaded = _name_read(read[-1]) if len({(call["file"], call["line"]) for call in read}) == 1 else ""
    found = []
    for cause in causes:
        known = loaded if loaded and _is_known(read[-1], cause, ran) else ""
        found.append(_renamed(cause, filled, known))
    return tuple(found)


def named_where_written(wrote: Sequence[Call]) -> Named | None:
    """How a dict is given a name where it is written without one: `torch.save({"model": …}, path)`.

    Args:
        wrote: the lines that wrote the checkpoint.

    Returns:
        the lines; None where the dict has a name, or none that is known to be free, or where what is written is no dict
        as far as can be seen.
    """
    around = _around(wrote[-1]) if wrote else []
    written = ((node, given) for node in around if isinstance(node, ast.Expr) and (given := _given(node)) is not None)
    statement, given = next(written, (None, None))
    if statement is None or given is None or not _is_made(given) or any(map(_is_long_text, ast.walk(statement))):
        return None
    known = {node.id for node in ast.walk(around[0]) if isinstance(node, ast.Name)}
    name = next((free for free in _FREE if free not in known), "")
    text = _Text(Path(wrote[-1]["file"]))
    quoted = " ".join(text.of(statement).split())
    quoted = quoted if len(quoted) <= _LONG else f"{quoted[: _LONG - 1]}…"
    head, tail = f"{name} = {text.of(given, statement)}", text.with_name(statement, given, name)
    instead = f"`{quoted}` ({place(wrote[-1])})"
    return Named(name, instead, tuple(head.split("\n")), tuple(tail.split("\n"))) if name else None


def ends_its_block(read: Sequence[Call], ran: Sequence[str]) -> bool:
    """Whether lines that ran before a place of the script can stand at the end of the `if` that reads the checkpoint,
    and should: a run that is not resumed has nothing to read from.

    Args:
        read: the lines that read the checkpoint.
        ran: before which places lines of load ran.
    """
    if len(ran) != 1 or not read:
        return False
    around = _around(read[-1])
    for outer, inner in pairwise(sorted(around, key=_lines, reverse=True)):
        body = getattr(outer, "body", [])
        if isinstance(inner, ast.If) and inner in body and inner is not body[-1]:
            following = body[body.index(inner) + 1].lineno
            if place({**read[-1], "line": following}) == ran[0]:
                return _reads(inner.body, read[-1]["line"])
    return False


def _lines(node: ast.Module | ast.stmt) -> float:
    """How many lines a node has; of those of one, each is within the next larger one."""
    return float("inf") if isinstance(node, ast.Module) else (node.end_lineno or node.lineno) - node.lineno


def _reads(block: Sequence[ast.stmt], line: int) -> bool:
    """Whether a line is of a statement of a block itself, so that what it reads is known at the block's end."""
    return any(node.lineno <= line <= (node.end_lineno or 0) and not hasattr(node, "body") for node in block)


def _is_long_text(node: ast.AST) -> bool:
    """Whether a node is a text of several lines, which says something else once it is set in otherwise."""
    return isinstance(node, (ast.Constant, ast.JoinedStr)) and node.lineno != node.end_lineno


class _Text:
    """The text of nodes of a file, in the indentation of a statement."""

    def __init__(self, file: Path):
        self._lines = file.read_bytes().splitlines()  # columns count bytes

    def of(self, node: ast.expr | ast.stmt, statement: ast.stmt | None = None) -> str:
        """The text of a node, its later lines set in as they are within its statement."""
        end = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._between((node.lineno, node.col_offset), end, (statement or node).col_offset)

    def with_name(self, statement: ast.stmt, part: ast.expr, name: str) -> str:
        """The text of a statement with a name in place of one of its parts."""
        indent, end = statement.col_offset, (statement.end_lineno or 0, statement.end_col_offset or 0)
        before = self._between((statement.lineno, indent), (part.lineno, part.col_offset), indent)
        return before + name + self._between((part.end_lineno or 0, part.end_col_offset or 0), end, indent)

    def _between(self, start: tuple[int, int], end: tuple[int, int], indent: int) -> str:
        lines = self._lines[start[0] - 1 : end[0]]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        rest = (line[indent:] if line[:indent].isspace() else line for line in lines[1:])
        return b"\n".join((lines[0], *rest)).decode()


def _is_known(read: Call, cause: Cause, ran: Sequence[str]) -> bool:
    """Whether a variable of the function that reads the checkpoint is known where the lines of a cause go."""
    if read["function"] == MODULE:
        return True
    if ran:
        return all(place.endswith(f" {of_function(read['function'])}") for place in ran)
    function = function_of_cause(cause)
    return not function or function.endswith(_SCRIPT) or function == read["function"]


def _renamed(cause: Cause, filled: str, loaded: str) -> Cause:
    if cause.file or any(_READS_FROM in line for line in cause.load) or cause.filled not in ("state", OTHER):
        return cause
    dict_of_lines = re.compile(STATE.pattern.replace("state", cause.filled))
    save = tuple(dict_of_lines.sub(filled or cause.filled, line) for line in cause.save)
    load = tuple(dict_of_lines.sub(loaded or cause.filled, line) for line in cause.load)
    told = (dict_of_lines.sub(loaded, each) if loaded and each.startswith(RAN) else each for each in cause.advice)
    return replace(cause, save=save, load=load, advice=tuple(told))


def _name_read(call: Call) -> str:
    """The variable that is given what a line reads of a file; empty where it takes a part of that, or gives it none."""
    statements = (node for node in reversed(_around(call)) if isinstance(node, ast.stmt))
    return next(filter(None, (name_given(node, part) for node in statements for part in _calls([node], _READ))), "")


def _name_written(call: Call) -> str:
    """The variable that a line writes to a file, where its function makes it a dict; else empty."""
    around = _around(call)
    first = next(filter(None, map(_given, reversed(around))), None)
    if not isinstance(first, ast.Name):
        return ""
    function = next(node for node in reversed(around) if isinstance(node, _SCOPES))
    return first.id if any(_makes_dict(node, first.id) for node in ast.walk(function)) else ""


def _given(statement: ast.AST) -> ast.expr | None:
    """What a statement writes to a file."""
    return next((part.args[0] for part in _calls([statement], _WRITE) if part.args), None)


def _makes_dict(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    if name not in [target.id for target in node.targets if isinstance(target, ast.Name)]:
        return False
    return _is_made(node.value)


def _is_made(value: ast.expr) -> bool:
    """Whether an expression makes a dict."""
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
