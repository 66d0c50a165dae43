"""Paths of leaves as code that reads them: `feed/sampler/epoch` as `self.feed.sampler.epoch`."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

from dora_repro.state.module_variables import PREFIX


class Addresses:
    """Tells the code of a path.

    Args:
        kinds: path -> kind of container (`Snapshot.kinds`): to index lists and dicts; without them a name that is no
            identifier is an item, and any other an attribute.
    """

    def __init__(self, kinds: Mapping[str, object]):
        self._kinds = kinds

    def code(self, path: str) -> str:
        """A path as an expression."""
        code, at = "self", ""
        for part in path.removeprefix("run.").split("/"):
            if not at and part.startswith(PREFIX):
                code, at = part.removeprefix(PREFIX), part  # a variable of a module
                continue
            inside = getattr(self._kinds.get(at), "name", "")
            keys = getattr(self._kinds.get(at), "keys", None) or ()
            keyed = dict(getattr(self._kinds.get(at), "keyed", ()))
            at = f"{at}/{part}" if at else part
            part = part.replace("~1", "/").replace("~0", "~")
            if inside in ("list", "tuple", "deque") or (not inside and part.isdigit()):
                code += f"[{part}]"
            elif held := re.fullmatch(r"group\.(\d+)\.params\.(\d+)", part):
                return f'{code}.param_groups[{held[1]}]["params"][{held[2]}]'  # a tensor that only the optimizer has
            elif part in keyed:
                code += f"[{self.inside(keyed[part])}]"
            elif self._kinds and not inside and "." in part:
                code += _dotted(part)
            elif inside or not part.isidentifier():
                code += f"[{quoted(dict(keys).get(part, part))}]"
            else:
                code += f".{part}"
        return code

    def inside(self, path: str) -> str:
        """The code of a module or tensor by its name in a module, which may have dots."""
        owner, _, last = path.rpartition("/")
        if not owner or owner in self._kinds or "." not in last:
            return self.code(path)
        return self.code(owner) + _dotted(last)


def quoted(key: object) -> str:
    """A key of a dict as it is written in code."""
    return json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)


def dotted(path: str) -> bool:
    """Whether a tensor's name has dots: it lies in a module inside a module."""
    return "." in path.rpartition("/")[2]


def common(paths: Iterable[str]) -> str:
    """The one of these that all others lie in, or else what all have in common; empty where that is nothing."""
    parts = [path.split("/") for path in paths]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))
    return "/".join(names[0] for names in shared)


def _dotted(name: str) -> str:
    """The code of what a module has under a name with dots."""
    module, _, last = name.rpartition(".")
    return f'.get_submodule("{module}")' + (f".{last}" if last.isidentifier() else f"[{last}]")
