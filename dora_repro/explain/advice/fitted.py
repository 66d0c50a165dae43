"""Lines of advice in the words of the file that they go into: modules under its names for them, and imports it lacks.

Advice is written with `torch`, `np`, `random`, `copy`, `collections`, `dataclasses`, `pathlib` and `decimal`, of a run
`self` and a file at `path`; a file may call any of these otherwise.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dora_repro.explain.advice.expressions import with_own_state
from dora_repro.explain.advice.lost_state import STATE, Advice
from dora_repro.sides.places import RUN, Place
from dora_repro.sides.visible import ALIASES

_IMPORT = ("import ", "from ")
_TEXT_OF_PATH = re.compile(r"\{path\}")  # in f"{path}.more"


def is_import(line: str) -> bool:
    """Whether a line of code imports something."""
    return line.startswith(_IMPORT)


class OutOfReach(Exception):
    """A line names what no name at a place leads to."""


def fitted(advice: Advice, save: Place | None, load: Place | None) -> Advice:
    """The same advice, with lines that can be pasted into the functions at two places.

    Args:
        advice: in the names that advice is written with.
        save: where the lines of save go; None where that is not known.
        load: where those of load go.
    """
    own = load is not None and advice.file  # what it reads is in another file than the one at `path`
    read = replace(load, state="state") if load is not None and own else load
    return replace(advice, save=in_names_of(save, advice.save), load=in_names_of(read, advice.load))


def reached(place: Place | None, lines: Iterable[str]) -> bool:
    """Whether all that lines name can be reached at a place."""
    try:
        in_names_of(place, lines)
    except OutOfReach:
        return False
    return True


def in_names_of(place: Place | None, lines: Iterable[str]) -> tuple[str, ...]:
    """Lines in the names of a place, the imports that it lacks before them.

    Raises:
        OutOfReach: no name there leads to what a line names.
    """
    if place is None:
        return tuple(map(with_own_state, lines))
    imports: list[str] = []
    found = [with_own_state(_renamed(line, place, imports)) for line in lines]
    return (*dict.fromkeys(imports), *found)


def _renamed(line: str, place: Place, imports: list[str]) -> str:
    line = STATE.sub(place.state, line)
    try:
        tree = ast.parse(line)
    except SyntaxError:  # a line with an ellipsis in it, for the reader to fill
        return line
    for node, text in sorted(_replaced(tree, place, imports), key=lambda one: -one[0].col_offset):
        whole = line.encode()  # offsets count bytes
        line = (whole[: node.col_offset] + text.encode() + whole[node.end_col_offset :]).decode()
    return _TEXT_OF_PATH.sub(f"{{{place.path}}}", line)


def _replaced(tree: ast.AST, place: Place, imports: list[str]) -> Iterator[tuple[ast.expr, str]]:
    """The parts of a line that are called otherwise at a place, and what they are called there."""
    if isinstance(tree, ast.JoinedStr):
        return
    if isinstance(tree, (ast.Name, ast.Attribute)) and (parts := _chain(tree)):
        if parts[0] in ALIASES and len(parts) > 1:
            yield tree, _module_as(parts, place, imports)
        elif parts[0] == "self":
            yield tree, _object_as(parts[1:], place, isinstance(tree.ctx, ast.Store))
        elif module := max((name for name in place.modules if _within(parts, name)), key=len, default=""):
            yield tree, _own_module_as(parts, module, place, imports)
        elif parts[0] == "path" and len(parts) == 1 and place.path != "path":
            yield tree, place.path
        return
    for inner in ast.iter_child_nodes(tree):
        yield from _replaced(inner, place, imports)


def _chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c`; none where it begins with something else than a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _chain(node.value)):
        return [*before, node.attr]
    return []


def _object_as(parts: list[str], place: Place, assigned: bool) -> str:
    """`self.trainer.best` as a place has it: by the object of the longest path that it lies in there."""
    if parts and parts[0] in place.attributes:
        own = place.attributes[parts[0]]
        parts = parts[1:] if own == RUN else [own, *parts[1:]]
    found = ""
    longest = -1
    for name, path in place.roots.items():
        above = path.split(".") if path else []
        short = len(parts) - assigned  # a name of its own for it would be assigned, and not it
        if parts[: len(above)] == above and longest < len(above) <= short:
            found, longest = ".".join((name, *parts[len(above) :])), len(above)
    if not found or "" in parts:
        raise OutOfReach
    return found


def _within(parts: list[str], module: str) -> bool:
    """Whether names lead to something in a module."""
    above = module.split(".")
    return len(parts) > len(above) and parts[: len(above)] == above


def _own_module_as(parts: list[str], module: str, place: Place, imports: list[str]) -> str:
    """`helpers.count` as a place has it: a variable of a module of the user's, which is reached through its module."""
    rest = parts[len(module.split(".")) :]
    if name := place.names.get(module):
        return ".".join((name, *rest))
    imports.append(f"import {module}")
    return ".".join(parts)


def _module_as(parts: list[str], place: Place, imports: list[str]) -> str:
    """`np.random.get_state` as a place has it: by the longest part of it that has a name there."""
    dotted = [*ALIASES[parts[0]].split("."), *parts[1:]]
    for count in range(len(dotted), 0, -1):
        if name := place.names.get(".".join(dotted[:count])):
            return ".".join((name, *dotted[count:]))
    module, name = ALIASES[parts[0]], parts[0]
    if name in place.taken:
        name = f"{module}_module"
    imports.append(f"import {module}" if name == module else f"import {module} as {name}")
    return ".".join((name, *parts[1:]))
