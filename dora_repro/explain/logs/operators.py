"""The first operator, and the first module, that made another thing of the same: two logs of one step, aligned.

Where a step differs although all state that can be captured is equal, an operator is not deterministic, or one of them
was run on one side only. Logs are aligned by what ran and where (difflib), so that one operator more or less does not
hide what follows; what cannot be told apart so is paired in order.
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
    "output": "equal inputs, other output",
    "argument": "equal tensors, another argument, other output",
    "state": "equal inputs, other parameters, buffers or mode, other output",
    "input": "other inputs",
    "missing": "only in the reference",
    "unexpected": "only in the resumed run",
}


@dataclass(frozen=True)
class OperatorDifference:
    """Where two logs differ.

    Attributes:
        kind: `output` (inputs equal, output not), `argument` (tensors equal, but not a number or another argument, and
            not the output), `state` (of a module: as `output`, but its parameters, buffers or mode differ), `input`,
            `missing` (only the first ran it), `unexpected` (only the second did), or `replaced` (each ran another).
        expected, actual: both sides' entries; None on the side that has none.
    """

    kind: str
    expected: Operator | None
    actual: Operator | None

    @property
    def operator(self) -> Operator:
        """The entry of the first log, or else of the second."""
        return self.expected or self.actual

    @property
    def module(self) -> str:
        """Path of the module that was running; empty outside of all."""
        return self.operator.module

    def __str__(self) -> str:
        """As `model/head: aten.addmm.default: equal inputs, other output, at train.py:41: loss = model(x)`."""
        operator = self.operator
        phase = operator.phase if operator.phase not in ("forward", "other") else ""
        place = f"{operator.module} ({phase})" if operator.module and phase else operator.module or phase
        return f"{place}: {self._what()}{_at(operator)}" if place else f"{self._what()}{_at(operator)}"

    def _what(self) -> str:
        operator = self.operator
        if self.kind == "replaced":
            return f"{operator.name} in the reference, {self.actual.name} in the resumed run"
        words = _WORDS[self.kind]
        if self.kind == "output" and operator.random:
            words += " (it draws random numbers)"
        elif self.kind == "output" and self.expected.layout != self.actual.layout:
            words += " (the inputs lie in memory in another order)"
        return f"{operator.name}: {words}"


def first_operator(expected: Sequence[Operator], actual: Sequence[Operator]) -> OperatorDifference | None:
    """The first operator, in order of execution, that made another output of equal inputs, or that one side alone ran.

    None where there is none: what differs then came in from outside of torch's operators (see `first_input`).
    """
    return _first(expected, actual, "operator", _made_otherwise)


def first_module(expected: Sequence[Operator], actual: Sequence[Operator]) -> OperatorDifference | None:
    """The first module to return another output for equal inputs, innermost first, or that one side alone called.

    The kind is `state` where its parameters, buffers or mode were not equal either.
    """
    return _first(expected, actual, "module", _made_otherwise)


def first_input(expected: Sequence[Operator], actual: Sequence[Operator]) -> OperatorDifference | None:
    """The first operator that was given other tensors: where a difference came in that no operator made."""
    return _first(expected, actual, "operator", lambda one, other: "input" if one.inputs != other.inputs else None)


def aligned(
    expected: Sequence[Entry], actual: Sequence[Entry], key: Callable[[Entry], object]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pairs of entries in order: of equal keys; else each as far as the other has none, or in place of the other."""
    mine, theirs = [key(entry) for entry in expected], [key(entry) for entry in actual]
    same = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    yield from zip(expected[:same], actual[:same], strict=True)
    matcher = SequenceMatcher(None, mine[same:], theirs[same:], autojunk=False)
    for _, begin, end, other_begin, other_end in matcher.get_opcodes():
        yield from zip_longest(expected[same + begin : same + end], actual[same + other_begin : same + other_end])


def _first(
    expected: Sequence[Operator],
    actual: Sequence[Operator],
    kind: str,
    differs: Callable[[Operator, Operator], str | None],
) -> OperatorDifference | None:
    logs = ([entry for entry in log if entry.kind == kind] for log in (expected, actual))
    for one, other in aligned(*logs, key=_key):
        if one is None or other is None:
            found = "missing" if other is None else "unexpected"
        else:
            found = differs(one, other) if _key(one) == _key(other) else "replaced"
        if found:
            return OperatorDifference(found, one, other)
    return None


def _key(entry: Operator) -> tuple[str, str, str]:
    return entry.name, entry.module, entry.phase


def _made_otherwise(one: Operator, other: Operator) -> str | None:
    if one.inputs != other.inputs or "" in one.inputs:
        return None
    pairs = zip_longest(one.outputs, other.outputs)
    if all(a == b or "" in (a, b) for a, b in pairs):  # what is not to be compared is empty
        return None
    if one.arguments == other.arguments:
        return "output"
    return "state" if one.kind == "module" else "argument"


def _at(operator: Operator) -> str:
    if not operator.file:
        return ""
    return f", at {PurePath(operator.file).name}:{operator.line}: {operator.text}"
