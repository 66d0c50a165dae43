"""Under which name, and from where to where, a function has what it has read of a file."""

import ast


def name_given(statement: ast.stmt, expression: ast.expr) -> str:
    """The one name that an expression is given by a statement, or by a part of it: `x = load(p) if p else None`."""
    for each in ast.walk(statement):
        if isinstance(each, ast.NamedExpr) and each.value is expression:
            return each.target.id
    if isinstance(statement, ast.AnnAssign) and statement.value is expression:
        return statement.target.id if isinstance(statement.target, ast.Name) else ""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return ""
    value = statement.value
    given = value.body if isinstance(value, ast.IfExp) else value
    target = statement.targets[0]
    return target.id if given is expression and isinstance(target, ast.Name) else ""


def last_before_loop(block: list[ast.stmt], statement: ast.stmt, name: str) -> ast.stmt:
    """The last statement of a block, or where a loop follows that does not go through what was read, as that of a
    training, the one before."""
    index = block.index(statement) if statement in block else 0
    for number, each in enumerate(block[index + 1 :], index + 1):
        goes_on = isinstance(each, (ast.For, ast.While))
        if goes_on and not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(each)):
            return block[number - 1]
    return block[-1]


def guard_of(statement: ast.stmt, block: list[ast.stmt], expression: ast.expr, name: str) -> ast.If | None:
    """The `if` in which what was read is there: the statement itself, where it reads in its condition, or the next one
    that asks for its name; None where there is none."""
    if not name:
        return None
    if isinstance(statement, ast.If):
        return statement if _holds_if(statement.test, name) else None
    after = block[block.index(statement) + 1 :]
    return next((each for each in after if isinstance(each, ast.If) and _holds_if(each.test, name)), None)


def _holds_if(test: ast.expr, name: str) -> bool:
    """Whether a condition holds only where a name stands for something: `x`, `x is not None`, `p and (x := …)`."""
    if isinstance(test, ast.BoolOp):
        return isinstance(test.op, ast.And) and any(_holds_if(each, name) for each in test.values)
    if isinstance(test, ast.Compare):
        none = [isinstance(each, ast.Constant) and each.value is None for each in test.comparators]
        return none == [True] and isinstance(test.ops[0], ast.IsNot) and _holds_if(test.left, name)
    if isinstance(test, ast.NamedExpr):
        test = test.target
    return isinstance(test, ast.Name) and test.id == name


def is_conditional(statement: ast.stmt, expression: ast.expr) -> bool:
    """Whether a part of a statement is evaluated on a condition, many times, or later."""
    parts = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    return any(
        isinstance(part, parts) and any(each is expression for each in ast.walk(part)) for part in ast.walk(statement)
    )
