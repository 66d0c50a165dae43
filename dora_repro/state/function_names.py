"""The global names that a function uses, read once: what a check's next process would read anew, it is told.

Reading the source of all functions that a run may call takes longer than a step of a small one, and each side and each
trial of a check is a process of its own. What one of them has read lies in a file for those that come after it.
"""

import json
import os
from pathlib import Path
from types import CodeType, FunctionType

import xxhash

from dora_repro.state.bytecode_names import names_in_bytecode
from dora_repro.state.function_source import with_inner
from dora_repro.state.source_names import Names, names_in_source

_of_code: dict[CodeType, Names] = {}
_told: dict[str, Names] = {}  # what another process has read


def names_of(function: FunctionType) -> Names:
    """The global names of a function and of those inside it, from its source or else from its bytecode."""
    code = function.__code__
    if code not in _of_code:
        names = _told.get(_key(code)) if _told else None
        if names is None:
            names = names_in_source(function)
        _of_code[code] = names_in_bytecode(code) if names is None else names
    return _of_code[code]


def take(path: Path) -> None:
    """Take over what another process of the same check has read, if one has been at its end yet.

    Args:
        path: the file.
    """
    if path.exists():
        _told.update(json.loads(path.read_text(encoding="utf-8")))


def leave(path: Path) -> None:
    """Leave what was read here, and what was taken over, for the next process; nothing where there is nothing new.

    Args:
        path: the file, which is replaced as a whole.
    """
    known = {**_told, **{_key(code): names for code, names in _of_code.items()}}
    if len(known) > len(_told):
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_text(json.dumps(known), encoding="utf-8")
        os.replace(beside, path)


def _key(code: CodeType) -> str:
    """A function's code by its place and by what it does: two cells of a notebook may have one place."""
    does = xxhash.xxh3_128()
    for inner in with_inner(code):
        does.update(inner.co_code)
        does.update(repr((inner.co_names, inner.co_freevars)).encode("utf-8", "surrogatepass"))
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname} {does.hexdigest()}"
