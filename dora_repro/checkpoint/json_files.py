"""JSON: values of a text, once their memory is taken from the budget of its file."""

import json

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue, Malformed

# Bytes of memory: of a list, a dict with an entry, a value. Work: of a value. Quoted brackets count as well.
_LIST, _DICT, _VALUE = 88, 240, 64
_OF_A_VALUE = 0.15


def json_value(text: bytes, budget: Budget, once: bool = False) -> FileValue:
    """The values of a JSON text.

    Args:
        text: UTF-8.
        budget: what reading the file may take.
        once: refuse a name that stands twice in one object, of which the last counts otherwise.

    Raises:
        Malformed: a name stands twice in one object, or the values take more than is left.
        ValueError: it is no JSON, or no UTF-8.
        RecursionError: it is nested too deep.
    """
    lists, dicts, values = text.count(b"["), text.count(b"{"), text.count(b",") + text.count(b":")
    empty = text.count(b"{}")
    budget.take(
        _OF_A_VALUE * (lists + dicts + values),
        _LIST * lists + _DICT * (dicts - empty) + _LIST * empty + _VALUE * values + 2 * len(text),
    )
    value: FileValue = json.loads(text.decode("utf-8"), object_pairs_hook=_once if once else None)
    return value


def _once(pairs: list[tuple[str, FileValue]]) -> dict[str, FileValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name stands twice in one object of its JSON")
    return found
