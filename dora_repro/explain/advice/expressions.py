"""Paths of leaves as code that reads them: `feed/sampler/epoch` as `self.feed.sampler.epoch`."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

from dora_repro.state.keys import unescaped
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.rebuild import NO_KIND, PARTS, VARIABLES, Kind

_STATE = "state"  # what lines of advice call the dict that they fill and read
_OWN_STATE = f"( {_STATE})"  # a variable of the user's of that name, until the dict has the name that it has there

Kinds = Mapping[str, Kind]
"""Path -> kind of container (`Snapshot.kinds`), to index lists and dicts. Where there are none, a name that is no
identifier is taken for an item, and any other for an attribute."""


def code(path: str, kinds: Kinds) -> str:
    """A path as an expression."""
    expression, at = "self", ""
    for part in path.removeprefix("run.").split("/"):
        if not at and part.startswith(PREFIX):
            expression, at = _variable(part.removeprefix(PREFIX)), part  # of a module
            continue
        holder = kinds.get(at, NO_KIND)
        keyed, coded = dict(holder.keyed), dict(holder.coded)
        at = f"{at}/{part}" if at else part
        if holder.name == PARTS and part in coded:
            expression = coded[part]  # of a library, whatever holds it
            continue
        if part in coded:
            expression += f"[{_coded(coded[part], unescaped(part))}]"
            continue
        part = unescaped(part)
        if holder.name == VARIABLES:
            expression = _variable(part)  # a local one; where it is a function's name, its variables follow
            continue
        if holder.name in ("list", "tuple", "deque") or (not holder.name and part.isdigit()):
            expression += f"[{part}]"
        elif found := re.fullmatch(r"group\.(\d+)\.params\.(\d+)", part):
            # A tensor that only the optimizer has.
            return f'{expression}.param_groups[{found[1]}]["params"][{found[2]}]'
        elif part in keyed:
            expression += f"[{dotted_code(keyed[part], kinds)}]"
        elif kinds and not holder.name and "." in part:
            expression += _submodule(part)
        elif holder.name or not part.isidentifier():
            expression += f"[{quoted(dict(holder.keys or ()).get(part, part))}]"
        else:
            expression += f".{part}"
    return expression


def _variable(name: str) -> str:
    return _OWN_STATE if name == _STATE else name


def with_own_state(text: str) -> str:
    """Lines or sentences in which the dict has the name that it has where they go: the user's own `state` is that."""
    return text.replace(_OWN_STATE, _STATE)


def of_function(function: str) -> str:
    """What code is in, as one names it: `main()`; `train.py` for a script's own module."""
    return function if function.endswith(("()", ".py")) else f"{function}()"


def dotted_code(path: str, kinds: Kinds) -> str:
    """A path to a module or tensor as an expression, where its name in a module may have dots."""
    owner, _, last = path.rpartition("/")
    if not owner or owner in kinds or "." not in last:
        return code(path, kinds)
    return code(owner, kinds) + _submodule(last)


def without_functions(path: str, kinds: Kinds) -> str:
    """A path without the functions that its variable is in: `train/epoch()/total` as `total`."""
    at, last = "", ""
    for part in path.split("/"):
        at = f"{at}/{part}" if at else part
        last = at if kinds.get(at, NO_KIND).name == VARIABLES else last
    return path.removeprefix(f"{last}/") if last else path


def quoted(key: object) -> str:
    """A key of a dict as it is written in code."""
    return json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)


def _coded(kind: str, text: str) -> str:
    """A key that is no plain data, by its type and its text in paths, as it is written in code."""
    if kind.startswith("numpy."):
        return f"np.{kind.removeprefix('numpy.')}({text})"
    if kind.startswith("pathlib."):
        return f"pathlib.Path({quoted(text.partition(' ')[2])})"
    return text  # a member of an enum: `Stream.TRAIN`


def dotted(path: str) -> bool:
    """Whether a tensor's name has dots: it lies in a module inside a module."""
    return "." in path.rpartition("/")[2]


def common(paths: Iterable[str]) -> str:
    """The path that all of these begin with, part by part; empty where they have no part in common."""
    parts = [path.split("/") for path in paths]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))
    return "/".join(names[0] for names in shared)


def _submodule(name: str) -> str:
    """The code that reads what a module has under a name with dots."""
    module, _, last = name.rpartition(".")
    return f'.get_submodule("{module}")' + (f".{last}" if last.isidentifier() else f"[{last}]")
