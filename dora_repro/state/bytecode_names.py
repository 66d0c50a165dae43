"""What a function does with names, read from its bytecode, where there is no source: which global ones it uses, and
which of them it changes; which variables are those of loops alone.

Bytecode differs between versions of Python; what is read here is that of 3.11 to 3.14.
"""

import dis
import inspect
from functools import lru_cache
from types import CodeType

from dora_repro.state.source_names import Names, changes_in_place

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_BETWEEN = ("CACHE", "EXTENDED_ARG", "PUSH_NULL", "NOP")


def names_in_bytecode(code: CodeType) -> Names:
    """The global names of a function and of those inside it."""
    used: Names = {}
    done: list[dis.Instruction] = []
    dotted: str | None = None  # what the instruction before has put on the stack, where that is NAME.attribute
    for instruction in dis.get_instructions(code):
        name, operation = instruction.argval, instruction.opname
        if operation in _LOADS:
            used.setdefault(name, False)
        elif operation in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            used[name] = True
        elif operation in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
            container = _container(done, keys=2 if operation == "STORE_SLICE" else 1)
            used.update({} if container is None else {container: True})
        elif operation in ("LOAD_ATTR", "LOAD_METHOD") and dotted is not None:
            if changes_in_place(str(name)):
                used[dotted] = True
            used.setdefault(f"{dotted}.{name}", False)
        elif operation in ("STORE_ATTR", "DELETE_ATTR"):
            holder = dotted if done[-1].opname != "SWAP" else _copied(done, str(name))
            used.update({} if holder is None else {f"{holder}.{name}": True})
        if operation in _LOADS:
            dotted = str(name)
        elif operation in ("LOAD_ATTR", "LOAD_METHOD"):
            dotted = None if dotted is None else f"{dotted}.{name}"
        elif operation not in _BETWEEN:
            dotted = None
        done.append(instruction)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            for name, changed in names_in_bytecode(inner).items():
                used[name] = used.get(name, False) or changed
    return used


@lru_cache(maxsize=256)
def names_of_loops(code: CodeType) -> frozenset[str]:
    """The variables of a function that its `for` loops set, and nothing else does."""
    by_loops: set[str] = set()
    by_others: set[str] = set()
    setting = False  # what a loop goes on with is being set
    for instruction in dis.get_instructions(code):
        operation, name = instruction.opname, instruction.argval
        if operation.startswith("STORE_") and operation.partition("_")[2].startswith(("FAST", "NAME", "DEREF")):
            names = name if isinstance(name, tuple) else (name,)
            # One that sets a variable and reads another is the last that a loop does.
            (by_loops if setting else by_others).update(names[:1] if "LOAD" in operation else names)
            setting = setting and "LOAD" not in operation
        elif operation == "FOR_ITER":
            setting = True
        elif operation not in ("UNPACK_SEQUENCE", "UNPACK_EX", *_BETWEEN):
            setting = False
    return frozenset(by_loops - by_others - {*code.co_varnames[: _arguments(code)]})


def _arguments(code: CodeType) -> int:
    flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + flags


def _copied(done: list[dis.Instruction], name: str) -> str | None:
    """`NAME` of `NAME.attribute += …`: it was copied before the attribute was read."""
    for index in range(len(done) - 1, 0, -1):
        if done[index].opname == "COPY" and done[index + 1].argval == name:
            return _dotted(done[:index])
    return None


def _dotted(done: list[dis.Instruction]) -> str | None:
    """`NAME.attribute.attribute`, where that is what these instructions have put on top of the stack last."""
    end = len(done)
    attributes: list[str] = []
    while end and done[end - 1].opname == "LOAD_ATTR":
        attributes.insert(0, str(done[end - 1].argval))
        end -= 1
    name = str(done[end - 1].argval) if end and done[end - 1].opname in _LOADS else None
    return None if name is None else ".".join((name, *attributes))


def _container(done: list[dis.Instruction], keys: int) -> str | None:
    """The global name whose item the next instruction sets or deletes: `NAME[key] = …`, `NAME[key][key] += …`.

    Args:
        done: the instructions before it.
        keys: how many values of the stack lie on top of the container: a key, or both ends of a slice.
    """
    end = len(done)
    if done and done[-1].opname == "SWAP":  # of `+=`: container and key were copied before the item was read
        while end and done[end - 1].opname != "COPY":
            end -= 1
        while end and done[end - 1].opname == "COPY":
            end -= 1
    while end:
        pushed = 0  # go back over what put the keys there
        while end and pushed != keys:
            end -= 1
            pushed += dis.stack_effect(done[end].opcode, done[end].arg, jump=False)
        if not end or not _reads_item(done[end - 1]):
            break
        keys = 2 if done[end - 1].opname == "BINARY_SLICE" else 1
        end -= 1
    return _dotted(done[:end])


def _reads_item(instruction: dis.Instruction) -> bool:
    """`BINARY_SUBSCR` until Python 3.13, `BINARY_OP [` from 3.14 on."""
    if instruction.opname == "BINARY_OP":
        return instruction.argrepr.startswith("[")
    return instruction.opname in ("BINARY_SUBSCR", "BINARY_SLICE")
