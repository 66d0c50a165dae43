"""A pickle machine that runs nothing.

A pickle is a program. This machine executes its opcodes over a closed table of constructors, so nothing that the file
says can run (`pickle_machine.py`). Why not `pickle.Unpickler` with `find_class`: its C code still sets attributes
(BUILD), calls `append`, `extend` and `__setstate__`, allocates by lengths and memo numbers that the file claims.
Opcodes and their arguments are decoded by the standard library's `pickletools`, which claims nothing beyond the bytes
present.
"""

import pickletools
from collections.abc import Callable
from pickle import UnpicklingError
from sys import getsizeof
from typing import Any, Protocol, TypeAlias

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.pickle_machine import PLACE_BYTES, STUB_BYTES, Machine, Vocabulary

MAX_INTEGER_BITS = 8192
_OF_AN_OPCODE = 0.3  # work, in about microseconds
# Memory, in bytes, that an opcode makes by itself.
_MADE = {"EMPTY_LIST": 72, "EMPTY_DICT": 80, "EMPTY_SET": 232, "MARK": 80, "FROZENSET": 232, "LIST": 72, "DICT": 80}
_MADE |= {"TUPLE": 56, "TUPLE1": 64, "TUPLE2": 72, "TUPLE3": 80, "PUT": 110, "BINPUT": 110, "LONG_BINPUT": 110}
_MADE |= {"MEMOIZE": 110}
_SETTLED = 4096  # opcodes between two looks at the budget


class Stream(Protocol):
    """What a pickle is read from."""

    def read(self, size: int = ..., /) -> bytes:
        """The next `size` bytes, or as many as there are."""

    def readline(self, size: int | None = ..., /) -> bytes:
        """The bytes up to the end of the line."""


def unpickle(stream: Stream, vocabulary: Vocabulary, budget: Budget) -> FileValue:
    """Execute one pickle.

    Args:
        stream: read from where it stands, and left behind the pickle's STOP.
        vocabulary: what the pickle may name.
        budget: what reading the file may take.

    Raises:
        Exception: The pickle is damaged, hostile or beyond the limits. It may be of any type: `UnpicklingError`,
            `ValueError`, `KeyError`, `IndexError`, `TypeError`, …
    """
    machine = Machine(vocabulary, budget)
    read, take = stream.read, budget.take
    count, memory = 0, 0
    while True:
        code = read(1)
        if not code:
            raise UnpicklingError("it ends before its pickle does")
        decode, operate, made, steps = _OPCODES[code]
        argument = None if decode is None else decode(stream)
        if operate is None:
            if argument is _STOP:
                break
            if type(argument) is int and argument.bit_length() > MAX_INTEGER_BITS:
                raise UnpicklingError(f"an integer of {argument.bit_length()} bits")
            machine.stack.append(argument)
            memory += getsizeof(argument) + PLACE_BYTES
        else:
            operate(machine, argument)
            memory += made
        count += steps
        if count >= _SETTLED or memory > _SETTLED * STUB_BYTES:
            take(_OF_AN_OPCODE * count, memory)
            count, memory = 0, 0
    take(_OF_AN_OPCODE * count, memory)
    if machine.marks or len(machine.stack) != 1:
        raise UnpicklingError("it ends in the middle of a value")
    return machine.stack[0]


_PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)


# What an opcode does, with the argument that pickletools decodes for it: a number, a text or None, so Any.
_Operation: TypeAlias = Callable[[Machine, Any], None]


def _constant(make: Callable[[], FileValue]) -> _Operation:
    return lambda machine, _: machine.stack.append(make())


def _on_marked(method: Callable[[Machine, list[FileValue]], None]) -> _Operation:
    return lambda machine, _: method(machine, machine.since_mark())


_OPERATIONS: dict[str, _Operation] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_SET": _constant(set),
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "POP_MARK": _on_marked(lambda machine, items: None),
    "DUP": Machine.duplicate,
    "GET": Machine.get,
    "BINGET": Machine.get,
    "LONG_BINGET": Machine.get,
    "PUT": Machine.put,
    "BINPUT": Machine.put,
    "LONG_BINPUT": Machine.put,
    "MEMOIZE": Machine.put,
    "TUPLE": Machine.tuple_of_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": Machine.list_of_marked,
    "DICT": Machine.dict_of_marked,
    "FROZENSET": Machine.frozenset_of_marked,
    "APPEND": Machine.append,
    "APPENDS": _on_marked(Machine.append_all),
    "ADDITEMS": _on_marked(Machine.add_all),
    "SETITEM": Machine.set_item,
    "SETITEMS": _on_marked(Machine.set_all),
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": Machine.name_on_stack,
    "REDUCE": Machine.call,
    "NEWOBJ": Machine.call,
    "NEWOBJ_EX": Machine.call_with_keywords,
    "INST": Machine.call_marked,
    "OBJ": Machine.call_marked,
    "BUILD": Machine.build,
    "PERSID": Machine.persistent,
    "BINPERSID": Machine.persistent,
    "EXT1": Machine.refuse,
    "EXT2": Machine.refuse,
    "EXT4": Machine.refuse,
    "NEXT_BUFFER": Machine.refuse,
    "READONLY_BUFFER": Machine.refuse,
}


_Decode: TypeAlias = Callable[[Any], Any]  # of a Stream: pickletools asks for read() and readline() alone
_STOP = object()
# By the byte of an opcode: what decodes its argument, what carries it out (nothing where its argument is a value), and
# the memory and the work that it takes, the latter in opcodes.
_OPCODES: dict[bytes, tuple[_Decode | None, _Operation | None, int, int]] = {
    opcode.code.encode("latin-1"): (
        opcode.arg.reader if opcode.arg is not None else None,
        None if opcode.name in _PUSHES else _OPERATIONS[opcode.name],
        _MADE.get(opcode.name, 2 * PLACE_BYTES),
        2 if opcode.name in _MADE else 1,
    )
    for opcode in pickletools.opcodes
    if opcode.name != "STOP"
}
_OPCODES[b"."] = (lambda _: _STOP, None, 0, 1)
