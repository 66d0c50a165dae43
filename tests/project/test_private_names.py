"""Private names of torch, numpy and Python are used in one room alone, where each is listed and looked up by a test."""

import ast
from pathlib import Path

from dora_repro.private_names import of_cloudpickle, of_cpython, of_numpy, of_torch

ROOM = "private_names"
# Scripts as users write them, with what they reach for in objects of `torch.compile`.
USERS_CODE = "faults"
# Documented, in spite of the underscore: of named tuples, of members of an enum, and of a process.
DOCUMENTED = {"_fields", "_replace", "_asdict", "_make", "_name_", "_value_", "_exit"}

# Not a module's own, even if it gives an attribute of its own the same name.
LISTS = (of_cloudpickle, of_cpython, of_numpy, of_torch)
LISTED = {one.name.rpartition(".")[2] for room in LISTS for one in room.NAMES}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a module defines: functions, classes, methods, fields, and attributes that it sets on self."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.AST) -> bool:
    called_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    return called_super or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


def foreign(source: str) -> list[tuple[int, str]]:
    """Line and name of every private attribute and import that the module does not define itself."""
    tree = ast.parse(source)
    own = own_names(tree) - LISTED | DOCUMENTED
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if is_private(node.attr) and node.attr not in own and not is_self(node.value):
                wrong.append((node.lineno, node.attr))
        elif isinstance(node, ast.Import):
            parts = [part for alias in node.names for part in alias.name.split(".")]
            wrong += [(node.lineno, part) for part in parts if is_private(part)]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("dora_repro"):
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            wrong += [(node.lineno, part) for part in parts if is_private(part)]
    return wrong


def test_private_names_are_used_in_their_room_alone(root):
    package = root / "dora_repro"
    paths = [path for path in sorted(package.rglob("*.py")) if path.relative_to(package).parts[0] != USERS_CODE]
    assert any(ROOM in path.parts for path in paths)
    wrong = [
        f"{path.relative_to(root)}:{line}: {name} is private: use it in dora_repro/{ROOM}, and list it there"
        for path in paths
        if path.relative_to(package).parts[0] != ROOM
        for line, name in foreign(Path(path).read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_one_that_is_used_elsewhere_is_seen_however_it_is_written():
    source = """
import torch, sys
from torch.utils.data import _utils as loader_utils
from torch._ops import OpOverload
import numpy._core.multiarray
x = torch._C._current_autograd_node()
class Mine:
    def __init__(self, module):
        self._parameters = module._parameters
        self._buffers = module._outputs
        sys._getframe(1)
"""
    assert sorted(foreign(source)) == [
        (3, "_utils"), (4, "_ops"), (5, "_core"), (6, "_C"), (6, "_current_autograd_node"), (9, "_parameters"),
        (10, "_outputs"), (11, "_getframe"),
    ]  # fmt: skip


def test_what_a_module_defines_itself_is_not_accused():
    source = """
from dora_repro.state.digest import digest
class Mine:
    _held: int = 0
    def __init__(self, other):
        self._bytes = other._bytes
        super()._begin(type(other)._held, other._helper, other.__dict__)
    def _helper(self):
        return self._fields, cls._unknown, point._replace(x=1), os._exit(1)
"""
    assert foreign(source) == []
