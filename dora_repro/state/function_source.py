"""The syntax tree of a function, found in the source of its file.

The source is what `linecache` has of the code's file, notebooks' cells included. It may have been edited since, so it
counts only where the function in it has the name and the arguments of the code.
"""

import ast
import linecache
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, FunctionType
from typing import TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def syntax_of(function: FunctionType) -> Function | None:
    """The syntax tree of a function; None where there is no source that is its own."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    node = _in_its_lines(code, lines) or _in_its_file(code, lines)
    return node if node is not None and tuple(arguments_of(node)) == _compiled_arguments(code) else None


def _in_its_lines(code: CodeType, lines: list[str]) -> Function | None:
    """The function as parsed from its own lines, which takes a part of the time that its file would."""
    last = max(end or first or 0 for inner in with_inner(code) for first, end, _, _ in inner.co_positions())
    block = "".join(lines[code.co_firstlineno - 1 : last])
    body = _parsed(f"if 1:\n{block}" if block[:1].isspace() else block)
    if len(body) == 1 and isinstance(body[0], ast.If):
        body = body[0].body
    node = body[0] if len(body) == 1 else None
    return node if isinstance(node, FUNCTIONS) and _name_of(node) == code.co_name else None


def _in_its_file(code: CodeType, lines: list[str]) -> Function | None:
    """The function as parsed with its whole file: a lambda is a part of a statement, which may begin before it."""
    nodes = _functions_of_file("".join(lines)).get((code.co_name, code.co_firstlineno), [])
    if len(nodes) > 1:  # lambdas of one line
        places = set(code.co_positions())
        nodes = [node for node in nodes if isinstance(node, ast.Lambda) and _place(node.body) in places]
    return nodes[0] if len(nodes) == 1 else None


@lru_cache(maxsize=64)
def _functions_of_file(text: str) -> dict[tuple[str, int], list[Function]]:
    """Functions by name and first line, which is that of the first decorator."""
    nodes: dict[tuple[str, int], list[Function]] = defaultdict(list)
    for node in (inner for statement in _parsed(text) for inner in ast.walk(statement)):
        if isinstance(node, FUNCTIONS):
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            nodes[_name_of(node), min(part.lineno for part in (node, *decorators))].append(node)
    return nodes


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):  # a part of a statement, or a file of something else
        return []


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """A code object and those inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from with_inner(inner)


def _name_of(node: Function) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def arguments_of(node: Function) -> Iterator[str]:
    """The names of a function's arguments, in the order of its code."""
    parts = node.args
    every = (*parts.posonlyargs, *parts.args, *parts.kwonlyargs, parts.vararg, parts.kwarg)
    return (argument.arg for argument in every if argument is not None)


def _compiled_arguments(code: CodeType) -> tuple[str, ...]:
    """As `arguments_of`, of the compiled function."""
    starred = bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + starred]


def _place(node: ast.expr) -> tuple[int | None, int | None, int | None, int | None]:
    """As `code.co_positions()` gives it."""
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
