"""The first operator with equal inputs and different output: two logs of one step, aligned.

Where a step differs although all state that can be captured is equal, an operator is nondeterministic, or one side only
ran it. Logs are aligned by what ran and where (difflib), so that one operator more or less does not hide what follows;
entries with the same key are paired in order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import PurePath
from typing import TypeVar

from dora_repro.recording.operators import Operator

Entry = TypeVar("Entry")

_WORDS = {
    "output": "equal inputs, different output",
    "argument": "equal tensors, a different argument, different output",
    "input": "different inputs",
    "missing": "only in the reference",
    "unexpected": "only in the resumed run",
}


@dataclass(frozen=True)
class OperatorDifference:
    """Where two logs differ.

    Attributes:
        kind: `output` (inputs equal, output not), `argument` (tensors equal, a number or another argument not, and the
            output not), `input`, `missing` (only the first ran it), `unexpected` (only the second did), or `replaced`
            (each ran a different one).
        expected: the first log's entry; None where it has none.
        actual: the second log's entry; None where it has none.
    """

    kind: str
    expected: Operator | None
    actual: Operator | None

    @property
    def operator(self) -> Operator:
        """The entry of the first log, or else of the second."""
        entry = self.expected or self.actual
        if entry is None:
            raise ValueError("a difference of two logs has an entry of at least one")
        return entry

    @property
    def module(self) -> str:
        """Path of the module that was running; empty outside of all modules."""
        return self.operator.module

    def __str__(self) -> str:
        """As `model/head: aten.addmm.default: equal inputs, different output, at train.py:41: loss = model(x)`."""
        operator = self.operator
        phase = operator.phase if operator.phase not in ("forward", "other") else ""
        place = f"{operator.module} ({phase})" if operator.module and phase else operator.module or phase
        return f"{place}: {self._what()}{_at(operator)}" if place else f"{self._what()}{_at(operator)}"

    def _what(self) -> str:
        operator, other = self.operator, self.actual
        if self.kind == "replaced" and other is not None:
            return f"{operator.name} in the reference, {other.name} in the resumed run"
        words = _WORDS[self.kind]
        if self.kind == "output" and operator.random:
            words += " (it draws random numbers)"
        elif self.kind == "output" and other is not None and operator.layout != other.layout:
            words += " (the inputs have a different memory layout)"
        return f"{operator.name}: {words}"


def first_operator(expected: Sequence[Operator], actual: Sequence[Operator]) -> OperatorDifference | None:
    """The first operator, in order of execution, with equal inputs and different output, or that only one side ran.

    None where there is none: what differs then came in from outside of torch's operators (see `first_input`).
    """
    return _first(expected, actual, _output_differs)


def first_input(expected: Sequence[Operator], actual: Sequence[Operator]) -> OperatorDifference | None:
    """The first operator with different input tensors: where a difference came in that no operator made."""
    return _first(expected, actual, lambda one, other: "input" if one.inputs != other.inputs else None)


def aligned(
    expected: Sequence[Entry], actual: Sequence[Entry], key: Callable[[Entry], object]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pair the entries of two logs in order: those with equal keys, else one in place of the other, or with None."""
    mine, theirs = [key(entry) for entry in expected], [key(entry) for entry in actual]
    same = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    yield from zip(expected[:same], actual[:same], strict=True)
    matcher = SequenceMatcher(None, mine[same:], theirs[same:], autojunk=False)
    for _, begin, end, other_begin, other_end in matcher.get_opcodes():
        yield from zip_longest(expected[same + begin : same + end], actual[same + other_begin : same + other_end])


def _first(
    expected: Sequence[Operator],
    actual: Sequence[Operator],
    differs: Callable[[Operator, Operator], str | None],
) -> OperatorDifference | None:
    ours, theirs = ([entry for entry in log if entry.kind == "operator"] for log in (expected, actual))
    for one, other in aligned(ours, theirs, _key):
        if kind := _kind(one, other, differs):
            return OperatorDifference(kind, one, other)
    return None


def _kind(
    one: Operator | None, other: Operator | None, differs: Callable[[Operator, Operator], str | None]
) -> str | None:
    if one is None or other is None:
        return "missing" if other is None else "unexpected"
    return differs(one, other) if _key(one) == _key(other) else "replaced"


def _key(entry: Operator) -> tuple[str, str, str]:
    return entry.name, entry.module, entry.phase


def _output_differs(one: Operator, other: Operator) -> str | None:
    if one.inputs != other.inputs or "" in one.inputs:
        return None
    pairs = zip_longest(one.outputs, other.outputs)
    if all(a == b or "" in (a, b) for a, b in pairs):  # an empty digest stands for what is not compared
        return None
    return "output" if one.arguments == other.arguments else "argument"


def _at(operator: Operator) -> str:
    if not operator.file:
        return ""
    return f", at {PurePath(operator.file).name}:{operator.line}: {operator.text}"
