"""Which global names a function uses, and which of them it changes, read from the syntax tree of its source.

The source (`function_source.py`) may have been edited since, so it counts only where it has the global names of the
code. Without such source (code made by `exec`, a file that is gone, tests that pytest rewrote) `bytecode_names.py`
reads the bytecode.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, TypeAlias

from dora_repro.state.function_source import FUNCTIONS, Function, arguments_of, syntax_of, with_inner

Names: TypeAlias = dict[str, bool]
"""Global name -> whether it is assigned, or what it names is changed in place.

Attributes of names are there, too: `helpers.count`. `OF_CLASS` stands for the class that a function is in
(`type(self).count`), and a name that a function imports for itself is `IMPORTED` and the module's (`!package.helpers`).
What is passed to a function is there once more, after `PASSED`.
"""

OF_CLASS, IMPORTED, PASSED = "__class__", "!", ">"

_CHANGING = frozenset(
    {"append", "appendleft", "extend", "extendleft", "insert", "remove", "pop", "popleft", "popitem", "clear", "add"}
    | {"discard", "update", "setdefault", "sort", "reverse", "rotate", "fill", "put", "resize"}
)


def changes_in_place(method: str) -> bool:
    """Whether a method of this name changes what it is called on: those of containers, and torch's in place."""
    return method in _CHANGING or (method[-1:] == "_" and method[-2:] != "__")


def names_in_source(function: FunctionType) -> Names | None:
    """The global names of a function and of those inside it; None where there is no source that is its own."""
    code, node = function.__code__, syntax_of(function)
    if node is None:
        return None
    names: Names = {}
    _function_scope(node).resolve(frozenset(code.co_freevars), names)
    known = {name for inner in with_inner(code) for name in inner.co_names}
    roots = {name.partition(".")[0] for name in names if not name.startswith((IMPORTED, PASSED))}
    return names if roots - {OF_CLASS} <= known else None


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class _Scope:
    """What one scope does with names: a function, the body of a class, a comprehension.

    Attributes:
        used: names that are read, and whether what they name is changed.
        bound: names that are assigned, imported, defined, caught or deleted.
        declared: names said to be `global`.
        elsewhere: names said to be `nonlocal`.
        inside: the scopes inside it.
        of_class: whether it is the body of a class, whose names the functions in it do not see.
        outer: the scope that a `:=` binds in, where it is a comprehension.
        imports: name -> what it is imported from, with a dot in front for each level of a relative import.
        passed: names that are arguments of a call.
    """

    used: list[tuple[str, bool]] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    inside: list["_Scope"] = field(default_factory=list)
    of_class: bool = False
    outer: "_Scope | None" = None
    imports: dict[str, str] = field(default_factory=dict)

    def resolve(self, local: frozenset[str], names: Names, imports: Mapping[str, str] | None = None) -> None:
        """Add the global names of this scope and of those inside it to `names`.

        Args:
            local: names of the functions around it.
            names: gets the global ones.
            imports: what the functions around it have imported.
        """
        imports = {**(imports or {}), **self.imports}
        if not self.of_class:  # a class reads a global name until it has one of its own
            local |= self.bound - self.declared - self.elsewhere
        for name, changed in self.used:
            root, dot, rest = name.partition(".")
            if root in self.declared or root not in local or root == OF_CLASS:
                names[name] = names.get(name, False) or changed
            elif root in imports:
                name = f"{IMPORTED}{imports[root]}{dot}{rest}"
                names[name] = names.get(name, False) or changed
        for name in self.passed:
            root, dot, rest = name.partition(".")
            if root in self.declared or root not in local or root == OF_CLASS:
                names.setdefault(f"{PASSED}{name}", False)
            elif root in imports:
                names.setdefault(f"{PASSED}{IMPORTED}{imports[root]}{dot}{rest}", False)
        for name in self.bound & self.declared:
            names[name] = True
        for scope in self.inside:
            scope.resolve(local, names, imports)

    def read(self, nodes: Iterable[Any]) -> None:
        """Note what these nodes do, those inside them included."""
        waiting: list[Any] = [*nodes]
        while waiting:
            node = waiting.pop()
            if type(node) is list:
                waiting += node
            elif (note := _NOTES.get(type(node))) is not None:
                waiting += note(self, node)
            elif isinstance(node, ast.AST):
                waiting += node.__dict__.values()  # quicker than `ast.iter_child_nodes`; what is no node is left here


def _function_scope(node: Function) -> _Scope:
    """The body of a function; its decorators, defaults and annotations belong to the scope around it."""
    scope = _Scope(bound=set(arguments_of(node)))
    scope.read([node.body] if isinstance(node, ast.Lambda) else node.body)
    return scope


# What a scope notes of a node, by its type; each returns what is still to be read in this scope.


def _name(scope: _Scope, node: ast.Name) -> Iterable[Any]:
    if isinstance(node.ctx, ast.Load):
        scope.used.append((node.id, False))
    else:
        scope.bound.add(node.id)
    return ()


def _dotted(node: ast.expr) -> str | None:
    """`NAME.attribute.attribute` as text; None where it begins with something else than a name."""
    if isinstance(node, ast.Name):
        return OF_CLASS if node.id in ("cls", OF_CLASS) else node.id
    if isinstance(node, ast.Attribute):
        if node.attr == OF_CLASS:
            return OF_CLASS
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    of_type = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"
    return OF_CLASS if of_type else None


def _attribute(scope: _Scope, node: ast.Attribute) -> Iterable[Any]:
    """`NAME.append`, `NAME.attribute = …`."""
    name, holder = _dotted(node), _dotted(node.value)
    if name is not None and name != OF_CLASS:
        scope.used.append((name, not isinstance(node.ctx, ast.Load)))
    if holder is not None and isinstance(node.ctx, ast.Load) and changes_in_place(node.attr):
        scope.used.append((holder, True))
    return (node.value,)


# Of Python's own functions, those that are given much and write to none of it.
_READING = frozenset(
    {"len", "print", "sum", "min", "max", "sorted", "list", "tuple", "dict", "set", "frozenset", "str", "repr", "bool"}
    | {"enumerate", "zip", "range", "any", "all", "isinstance", "type", "id", "hash", "reversed", "map", "filter"}
)


def _call(scope: _Scope, node: ast.Call) -> Iterable[Any]:
    """`function(NAME)`, `function(out=NAME)`: the function may write to it."""
    if not (isinstance(node.func, ast.Name) and node.func.id in _READING):
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, (ast.Name, ast.Attribute)) and (name := _dotted(argument)) not in (None, OF_CLASS):
                scope.passed.append(str(name))
    return node.func, *node.args, *node.keywords


def _subscript(scope: _Scope, node: ast.Subscript) -> Iterable[Any]:
    """`NAME[key] = …`, `NAME[key][key] += …`, `del NAME[key]`."""
    if not isinstance(node.ctx, ast.Load):
        container: ast.expr = node
        while isinstance(container, ast.Subscript):
            container = container.value
        if (name := _dotted(container)) is not None:
            scope.used.append((name, True))
    return node.value, node.slice


def _annotated(scope: _Scope, node: ast.AnnAssign) -> Iterable[Any]:
    """Without its annotation, which names types. `x: int` alone makes `x` a name of this scope, and assigns nothing."""
    return node.target, node.value


def _declared(scope: _Scope, node: ast.Global) -> Iterable[Any]:
    scope.declared.update(node.names)
    return ()


def _elsewhere(scope: _Scope, node: ast.Nonlocal) -> Iterable[Any]:
    scope.elsewhere.update(node.names)
    return ()


def _import(scope: _Scope, node: ast.Import | ast.ImportFrom) -> Iterable[Any]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            name = alias.asname or alias.name
            scope.imports[name] = f"{'.' * node.level}{node.module or ''}{'.' if node.module else ''}{alias.name}"
        else:
            name = alias.asname or alias.name.partition(".")[0]
            scope.imports[name] = alias.name if alias.asname else name
        scope.bound.add(name)
    return ()


def _named_part(scope: _Scope, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> Iterable[Any]:
    if node.name is not None:
        scope.bound.add(node.name)
    return node.__dict__.values()


def _rest_of_mapping(scope: _Scope, node: ast.MatchMapping) -> Iterable[Any]:
    if node.rest is not None:
        scope.bound.add(node.rest)
    return node.__dict__.values()


def _walrus(scope: _Scope, node: ast.NamedExpr) -> Iterable[Any]:
    """`:=` binds its name in the function around a comprehension."""
    around = scope
    while around.outer is not None:
        around = around.outer
    around.bound.add(node.target.id)
    return (node.value,)


def _function(scope: _Scope, node: Function) -> Iterable[Any]:
    scope.inside.append(_function_scope(node))
    defaults = (*node.args.defaults, *node.args.kw_defaults)
    if isinstance(node, ast.Lambda):
        return defaults
    scope.bound.add(node.name)
    return *node.decorator_list, *defaults


def _class(scope: _Scope, node: ast.ClassDef) -> Iterable[Any]:
    scope.bound.add(node.name)
    body = _Scope(of_class=True)
    body.read(node.body)
    scope.inside.append(body)
    return *node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)


def _comprehension(scope: _Scope, node: Any) -> Iterable[Any]:
    """A scope of its own, but for the first thing that it goes over."""
    inner = _Scope(outer=scope)
    first, *rest = node.generators
    parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    inner.read((*parts, first.target, *first.ifs, *rest))
    scope.inside.append(inner)
    return (first.iter,)


_NOTES: dict[type, Any] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.AnnAssign: _annotated,
    ast.Global: _declared,
    ast.Nonlocal: _elsewhere,
    ast.Import: _import,
    ast.ImportFrom: _import,
    ast.ExceptHandler: _named_part,
    ast.MatchAs: _named_part,
    ast.MatchStar: _named_part,
    ast.MatchMapping: _rest_of_mapping,
    ast.NamedExpr: _walrus,
    **dict.fromkeys(FUNCTIONS, _function),
    ast.ClassDef: _class,
    **dict.fromkeys(_COMPREHENSIONS, _comprehension),
    # The most frequent, for speed: what they hold, without looking at each of their fields.
    ast.Constant: lambda scope, node: (),
    ast.Call: _call,
    ast.keyword: lambda scope, node: (node.value,),
    ast.Expr: lambda scope, node: (node.value,),
    ast.Assign: lambda scope, node: (node.value, *node.targets),
}
